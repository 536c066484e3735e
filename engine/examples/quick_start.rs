//! The README in a file: two keyspaces, one transaction over both, one snapshot. Not a tour: the API is shown in the documentation of the crate.

use duramen::{BackendKind, Database, Reader};

fn main() -> duramen::Result<()> {
    let db = Database::open(std::env::temp_dir().join("duramen-quick-start"))?;
    let people = db.keyspace("people", BackendKind::BTree)?; // made if it is not there
    let visits = db.keyspace("visits", BackendKind::Lsm)?;

    // Both writes become visible and durable together. Runs again by itself if another transaction was faster.
    db.update(|tx| {
        tx.put(&people, "ada", "London")?;
        tx.put(&visits, "2026-11-21/ada", "first visit")
    })?;

    let snapshot = db.snapshot()?;
    assert_eq!(snapshot.get(&people, "ada")?.as_deref(), Some(&b"London"[..]));
    for entry in snapshot.prefix(&visits, "2026-")? {
        let entry = entry?;
        println!("{}: {}", entry.key.escape_ascii(), entry.value.escape_ascii());
    }
    db.close()
}
