//! A deadlock, told as it was: the report of the victim, and the circle as a graph.
//!
//! Two transfers lock the same two accounts in different orders. One of them is given up at once and run again; the other goes on.
//!
//! `cargo run -p duramen --example deadlock` writes `deadlock.dot` into the folder for temporary files; `dot -Tsvg` draws it.

use std::sync::Barrier;

use duramen::{BackendKind, Concurrency, Database, Keyspace, Reader, Result, Transaction, TxnOptions};

fn main() -> Result<()> {
    let db = Database::in_memory()?;
    let accounts = db.keyspace("accounts", BackendKind::BTree)?;
    db.update(|tx| ["alice", "bob"].iter().try_for_each(|name| tx.put(&accounts, name, "50")))?;

    // Both have locked their first account before either asks for its second.
    let first_locked = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| transfer(&db, &accounts, "rent", "alice", "bob", &first_locked));
        scope.spawn(|| transfer(&db, &accounts, "refund", "bob", "alice", &first_locked));
    });

    for report in db.deadlocks() {
        println!("{report}\n");
        let path = std::env::temp_dir().join("deadlock.dot");
        match std::fs::write(&path, report.to_dot()) {
            Ok(()) => println!("the graph is in {}", path.display()),
            Err(error) => println!("the graph could not be written to {}: {error}", path.display()),
        }
    }
    let snapshot = db.snapshot()?;
    for entry in snapshot.iter(&accounts)? {
        let entry = entry?;
        println!("{}: {}", entry.key.escape_ascii(), entry.value.escape_ascii());
    }
    Ok(())
}

/// Moves 1 from one account to the other, locking them in that order.
fn transfer(db: &Database, accounts: &Keyspace, label: &'static str, from: &str, to: &str, first_locked: &Barrier) {
    let options = TxnOptions::default().concurrency(Concurrency::Pessimistic).label(label);
    let mut is_first_run = true;
    let outcome = db.update_with(options, |tx| {
        add(tx, accounts, from, -1)?;
        if std::mem::take(&mut is_first_run) {
            first_locked.wait();
        }
        add(tx, accounts, to, 1)
    });
    match outcome {
        Ok(()) => println!("{label} is done"),
        Err(error) => println!("{label} failed: {error}"),
    }
}

fn add(tx: &Transaction, accounts: &Keyspace, name: &str, amount: i64) -> Result<()> {
    tx.modify(accounts, name, |old| {
        let old: i64 = old.and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0);
        Some((old + amount).to_string().into_bytes())
    })
}
