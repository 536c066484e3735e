//! Write skew, shown at Snapshot and prevented in two ways: by the level `Serializable`, and by reads that lock.
//!
//! Two doctors are on call. Each goes home if the other stays: both look, both see two names, both take their own off.
//!
//! `cargo run -p duramen --example write_skew`

use duramen::{BackendKind, Database, IsolationLevel, Keyspace, Reader, Result, Transaction, TxnOptions};

fn main() -> Result<()> {
    let db = Database::in_memory()?;
    let on_call = db.keyspace("on call", BackendKind::BTree)?;
    for level in [IsolationLevel::Snapshot, IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        both_go_home(&db, &on_call, level, |tx, name| tx.get(&on_call, name).map(|value| value.is_some()))?;
    }
    println!("\nAt Snapshot, reading for share what is not written:");
    let for_share = |tx: &Transaction, name: &str| tx.get_for_share(&on_call, name).map(|value| value.is_some());
    both_go_home(&db, &on_call, IsolationLevel::Snapshot, for_share)
}

/// Two transactions at once, each of which takes its doctor's name off if `is_there` the other one's.
fn both_go_home(
    db: &Database,
    on_call: &Keyspace,
    level: IsolationLevel,
    is_there: impl Fn(&Transaction, &str) -> Result<bool>,
) -> Result<()> {
    db.update(|tx| ["alice", "bob"].iter().try_for_each(|name| tx.put(on_call, name, "on call")))?;
    let options = |label| TxnOptions::default().isolation(level).label(label);
    let alice = db.begin_with(options("alice goes home"))?;
    let bob = db.begin_with(options("bob goes home"))?;
    for (tx, own, other) in [(&alice, "alice", "bob"), (&bob, "bob", "alice")] {
        if is_there(tx, other)? {
            tx.delete(on_call, own)?;
        }
    }
    println!("{level}:");
    for (name, tx) in [("alice", alice), ("bob", bob)] {
        match tx.commit() {
            Ok(_) => println!("  {name} went home"),
            Err(error) if error.is_retryable() => println!("  {name} has to look again: {error}"),
            Err(error) => return Err(error),
        }
    }
    println!("  {} on call", db.snapshot()?.iter(on_call)?.count());
    Ok(())
}
