//! What docs/isolation.md promises of each level and mode, in fixed interleavings on each backend, and in threads where an interleaving inside the
//! engine decides.
//!
//! Each test is one script, in the order in which it stands. A permitted anomaly is shown, or a promise would say less than it seems to. The
//! scripts of the suite, run by `anomalies.rs`, make the whole table; here stands what the API of each level does.
//!
//! Next: `snapshot.rs` for the plainest scripts.

mod anomalies;
mod dirty;
mod histories;
mod levels;
mod locking_reads;
mod pessimistic;
mod reports;
mod serializable;
mod snapshot;
mod storms;
mod threads;

use duramen::{BackendKind, Database, Error, IsolationLevel, Keyspace, Reader, Transaction, TxnOptions};

const KINDS: [BackendKind; 3] = [BackendKind::BTree, BackendKind::Lsm, BackendKind::Model];

/// Levels that every database offers.
const CLEAN_LEVELS: [IsolationLevel; 4] = [
    IsolationLevel::ReadCommitted,
    IsolationLevel::RepeatableRead,
    IsolationLevel::Snapshot,
    IsolationLevel::Serializable,
];

/// Runs `script` on each backend, with x and y at 50, in a database that shows pending writes to who asks for them.
fn on_each_backend(script: impl Fn(&Database, &Keyspace)) {
    for kind in KINDS {
        let vfs = std::sync::Arc::new(duramen::seams::MemVfs::new());
        let db = Database::builder().vfs(vfs).dirty_reads(true).open("db").unwrap();
        let ks = db.keyspace("accounts", kind).unwrap();
        db.update(|tx| ["x", "y"].iter().try_for_each(|key| tx.put(&ks, key, "50"))).unwrap();
        script(&db, &ks);
    }
}

fn read(reader: &impl Reader, ks: &Keyspace, key: &str) -> String {
    let value = reader.get(ks, key).unwrap().map(|value| value.to_vec()).unwrap_or_default();
    String::from_utf8(value).unwrap()
}

/// An optimistic transaction at `level`.
fn at(db: &Database, level: IsolationLevel) -> Transaction {
    db.begin_with(TxnOptions::default().isolation(level)).unwrap()
}

/// Keys of a scan from `low` up to `high`.
fn keys(reader: &impl Reader, ks: &Keyspace, low: &str, high: &str) -> String {
    let keys = reader.range(ks, low..high).unwrap().map(|entry| entry.unwrap().key.escape_ascii().to_string());
    keys.collect::<Vec<_>>().join(" ")
}

/// What became of a commit, in a word.
fn word<T>(outcome: Result<T, Error>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(Error::WriteConflict(_)) => "conflict",
        Err(Error::SerializationFailure(_)) => "not serializable",
        Err(Error::SnapshotTooOld) => "too old",
        Err(Error::Deadlock(_)) => "deadlock",
        Err(Error::TxnAborted) => "aborted",
        Err(other) => panic!("{other}"),
    }
}
