//! The main job: index a folder of text into both kinds of keyspace, then answer queries from a snapshot.
//!
//! ```text
//! cargo run --release -p duramen --example index_files                      # the documentation of the installed Rust toolchain, or seeded text
//! cargo run --release -p duramen --example index_files -- DIR               # the text files under DIR
//! cargo run --release -p duramen --example index_files -- --query 'lock*'   # ask the index: WORD, PREFIX* or FROM..TO
//! cargo run --release -p duramen --example index_files -- --check           # prove that both keyspaces agree
//! ```
//! Each file is one transaction over three keyspaces: its text in chunks (LSM), a posting for each of its words (B-tree), and the record that
//! says it is done (B-tree). So whenever the job is killed, a file is in the index whole or not at all, and the next run goes on with those that
//! have no record. Files are known by their paths: one that changed after it was indexed is not indexed again.
//!
//! The job asks for `Buffered` durability, which survives the death of the process without a sync for each file; a power loss takes back the
//! newest files whole, and the next run indexes them again. The sync comes once, at the end.
//!
//! Where to read: `layout.rs` (keys and values), `words.rs` (what a word is), `source.rs` (where text comes from), `ingest.rs` (the threads),
//! `query.rs`, `check.rs`; `arguments.rs` and `progress.rs` talk to the terminal.

mod arguments;
mod check;
mod ingest;
mod layout;
mod progress;
mod query;
mod source;
mod words;

use std::error::Error;
use std::path::Path;

use arguments::{Arguments, Task};
use duramen::{Database, Durability};
use layout::Index;
use source::Source;

/// What everything here returns; errors go to the terminal, so their text is all that counts.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Asked after indexing, to show what can be asked.
const SAMPLE_QUERIES: [&str; 3] = ["iterator", "serial*", "lock..log"];

fn main() -> Outcome<()> {
    let arguments = Arguments::from_command_line()?;
    let db = Database::builder()
        .durability(Durability::Buffered)
        .memory_bytes(arguments.memory_bytes)
        .create_if_missing(arguments.task == Task::Index)
        .open(&arguments.db)?;
    let index = Index::open(&db)?;
    match &arguments.task {
        Task::Index => {
            ingest::run(&index, &Source::find(&arguments)?, arguments.thread_count)?;
            db.checkpoint()?;
            report(&db, &arguments.db);
            let snapshot = db.snapshot()?;
            SAMPLE_QUERIES.iter().try_for_each(|text| query::answer(&index, &snapshot, text))?;
        }
        Task::Query(text) => query::answer(&index, &db.snapshot()?, text)?,
        Task::Check => check::run(&index, arguments.thread_count)?,
    }
    db.close()?;
    Ok(())
}

/// What the job left on disk, and what it took.
fn report(db: &Database, path: &Path) {
    let stats = db.stats();
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!("database     {} in {}", progress::megabytes(bytes_under(path)), path.display());
    for (name, store) in &stats.keyspaces {
        println!(
            "  {name:<10} {:8.1} MB on disk, {:8.1} MB written, {:6.1} MB in memory, depth {}, {} persists",
            megabytes(store.disk_bytes),
            megabytes(store.written_bytes),
            megabytes(store.memory_bytes),
            store.depth,
            store.persists,
        );
    }
    println!(
        "  log        {:8.1} MB kept, {} syncs",
        megabytes(stats.log.end.get() - stats.log.start.get()),
        stats.log.syncs
    );
    println!(
        "memory       {} peak of the process, {} of {} budget held",
        progress::peak_memory(),
        progress::megabytes(stats.memory_bytes),
        progress::megabytes(stats.memory_budget_bytes)
    );
}

/// Bytes of all files under a folder; what cannot be read counts nothing.
fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes_of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes_of).sum()
}
