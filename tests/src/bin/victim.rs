//! A program that is there to be killed: it commits from several threads and tells each commit that was acknowledged. `tests/all/kill.rs` runs it.
//!
//! ```text
//!   victim count <folder> <seed>   opens (or creates) the database, then counts up for ever
//!   victim hold <folder>           opens the database and keeps it
//! ```
//! It prints `open`, then a line for each commit that returned: thread, number, durability (`n`, `b` or `s`), timestamp. A line is written whole, and
//! only after the commit returned: what the reader of the pipe has seen was acknowledged before the kill.
//!
//! Each thread writes its own number into both keyspaces, and beside it the last [`FILLERS`] of its numbers.

use std::io::{Read, Write};

use duramen::{BackendKind, Database, Durability, Keyspace, KeyspaceOptions, Reader, Result, TxnOptions};

const FILLERS: u64 = 64;
const THREADS_MAX: u64 = 8;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count", folder, seed] => count(folder, seed.parse().expect("the seed is a number")),
        ["hold", folder] => hold(folder),
        _ => panic!("victim count <folder> <seed> | victim hold <folder>"),
    }
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // The reader is gone: so are we, soon.
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

fn hold(folder: &str) -> Result<()> {
    let db = Database::open(folder)?;
    tell("open");
    let _ = std::io::stdin().read(&mut [0]);
    db.close()
}

fn count(folder: &str, seed: u64) -> Result<()> {
    let db = Database::builder()
        .memory_bytes(8 << 20)
        .log_segment_bytes(64 << 10, 256 << 10)
        .log_bytes_before_checkpoint(192 << 10)
        .open(folder)?;
    let mut options = KeyspaceOptions::new(BackendKind::Lsm);
    options.memtable_bytes = 64 << 10;
    let keyspaces = [db.keyspace("tree", BackendKind::BTree)?, db.keyspace("lsm", options)?];
    tell("open");
    let threads = 1 + seed % THREADS_MAX;
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..threads)
            .map(|thread| {
                let (db, keyspaces) = (&db, &keyspaces);
                scope.spawn(move || count_up(db, keyspaces, thread, seed))
            })
            .collect();
        counting.into_iter().try_for_each(|thread| thread.join().expect("it counts until it is killed"))
    })
}

fn count_up(db: &Database, keyspaces: &[Keyspace; 2], thread: u64, seed: u64) -> Result<()> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (thread << 40) | 1;
    let mut draw = |end: u64| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    let key = format!("thread {thread}");
    let old = db.snapshot()?.get(&keyspaces[0], &key)?;
    let first = old.map_or(1, |value| number_of(&value) + 1);
    for number in first.. {
        // Every second child syncs seldom: then the log is stored to where it is mapped.
        let (durability, letter) = match draw(if seed.is_multiple_of(2) { 3 } else { 12 }) {
            0 => (Durability::None, 'n'),
            1 => (Durability::Sync, 's'),
            _ => (Durability::Buffered, 'b'),
        };
        let tx = db.begin_with(TxnOptions::default().durability(durability))?;
        let filler = vec![b'x'; draw(400) as usize];
        for keyspace in keyspaces {
            tx.put(keyspace, &key, number.to_be_bytes())?;
            let value = [&number.to_be_bytes()[..], &filler].concat();
            tx.put(keyspace, format!("thread {thread} filler {:02}", number % FILLERS), value)?;
        }
        let info = tx.commit()?.expect("it wrote something");
        tell(&format!("{thread} {number} {letter} {}", info.ts.get()));
        if thread == 0 && number % 50 == 0 {
            db.checkpoint()?;
        }
        if thread == 0 && number % 40 == 7 {
            let backend = if number % 80 == 7 { BackendKind::BTree } else { BackendKind::Lsm };
            let passing = format!("passing {backend}");
            let passing = db.keyspace(&passing, backend)?;
            db.update(|tx| tx.put(&passing, "a", "1"))?;
            db.drop_keyspace(passing.name())?;
        }
    }
    Ok(())
}

/// The number at the start of a value.
fn number_of(value: &[u8]) -> u64 {
    let first = value.first_chunk().expect("a value begins with its number");
    u64::from_be_bytes(*first)
}
