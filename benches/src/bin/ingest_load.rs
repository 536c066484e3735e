//! Sorted ingest on a real disk, until everything is settled: entries a second, bytes written for each byte given, and beside it the same pairs
//! by puts, a thousand a commit.
//!
//! `ingest_load [entries] [folder]`. Settled: named by the manifest or in the tree, with a superblock behind it, and the log let go.

use std::path::Path;
use std::time::{Duration, Instant};

use duramen::{BackendKind, Database, Durability, Keyspace, Reader, TxnOptions};
use duramen_benches::keys::{key, value};

/// Pairs of one commit, where they are put.
const BATCH: u64 = 1_000;
const MEMORY_BYTES: u64 = 256 << 20;

fn main() {
    duramen_benches::guard::refuse_unfit_build();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let entries = args.first().and_then(|text| text.parse().ok()).unwrap_or(3_000_000);
    let folder = args.get(1).map_or_else(std::env::temp_dir, Into::into);
    for kind in [BackendKind::BTree, BackendKind::Lsm] {
        measure(&folder, kind, entries, "ingest", ingest);
        measure(&folder, kind, entries, "puts in order", put);
    }
}

fn ingest(db: &Database, ks: &Keyspace, entries: u64) -> duramen::Result<()> {
    db.ingest(
        ks,
        (0..entries).map(|n| (n.to_be_bytes().iter().chain(&key(n)[..8]).copied().collect::<Vec<u8>>(), value(n))),
    )
    .map(drop)
}

fn put(db: &Database, ks: &Keyspace, entries: u64) -> duramen::Result<()> {
    let options = TxnOptions::default().durability(Durability::Buffered);
    for start in (0..entries).step_by(BATCH as usize) {
        db.update_with(options.clone(), |tx| {
            (start..entries.min(start + BATCH)).try_for_each(|n| {
                let own: Vec<u8> = n.to_be_bytes().iter().chain(&key(n)[..8]).copied().collect();
                tx.put(ks, own, value(n))
            })
        })?;
    }
    Ok(())
}

fn measure(
    folder: &Path,
    kind: BackendKind,
    entries: u64,
    name: &str,
    load: impl Fn(&Database, &Keyspace, u64) -> duramen::Result<()>,
) {
    let dir = tempfile::tempdir_in(folder).expect("a folder");
    let db = Database::builder().memory_bytes(MEMORY_BYTES).open(dir.path().join("db")).expect("an empty folder");
    let ks = db.create_keyspace("ks", kind).expect("a new name");
    let begun = Instant::now();
    load(&db, &ks, entries).expect("room");
    let loaded = begun.elapsed();
    db.checkpoint().expect("room");
    let settled = begun.elapsed();
    let stats = db.stats();
    let (_, store) = stats.keyspaces.iter().find(|(name, _)| name == "ks").expect("it is open");
    let given = entries * (16 + value(0).len() as u64);
    let per_second = |time: Duration| entries as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{kind} {name}: {:.2} M entries/s until the commit returned, {:.2} until settled; {:.3} bytes written and {:.3} kept for each given; {:.1} MB of memory held",
        per_second(loaded),
        per_second(settled),
        store.written_bytes as f64 / given as f64,
        store.disk_bytes as f64 / given as f64,
        stats.memory_bytes as f64 / 1e6,
    );
    let last = (entries - 1).to_be_bytes();
    let there = db.snapshot().and_then(|snapshot| Ok(snapshot.prefix(&ks, last)?.count())).expect("readable");
    assert_eq!(there, 1, "the last entry is there");
}
