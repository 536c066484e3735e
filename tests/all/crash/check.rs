//! The checker: opens what a crash left and compares it with the history.
//!
//! It answers with a text and never panics, so that a test can show that it does find what is wrong.
//!
//! CC1  Both lasting keyspaces hold the same prefix of commit order, whole.
//! CC2  The prefix contains every commit that was promised to survive this kind of crash.
//! CC3  A keyspace is there from the note of its creation to that of its drop, and what is there has its content.
//! CC4  It verifies clean; a new commit works and survives a clean reopen.

use std::collections::BTreeSet;

use duramen::{Database, KeyspaceId, Reader, VerifyLevel};
use duramen_base::vfs::sim::{Image, Note, SimVfs};

use super::run::{PATH, Run, builder, note, scan};

/// What notes up to a position of the journal promise.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    synced: u64,
    written: u64,
    created: BTreeSet<u64>,
    dropping: BTreeSet<u64>,
    dropped: BTreeSet<u64>,
}

/// What kind of crash: whether all completed calls are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Process,
    Power,
}

/// What a database was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) prefix: u64,
    pub(super) present: BTreeSet<u64>,
}

impl Promise {
    /// Adds what `note` promises.
    pub(super) fn add(&mut self, note: Note) {
        let Note { tag, payload } = note;
        match tag {
            note::SYNCED => self.synced = self.synced.max(payload),
            note::WRITTEN => self.written = self.written.max(payload),
            note::CREATED => drop(self.created.insert(payload)),
            note::DROPPING => drop(self.dropping.insert(payload)),
            note::DROPPED => drop(self.dropped.insert(payload)),
            _ => unreachable!("no such note: {tag}"),
        }
    }

    /// That everything in `found` stays.
    pub(super) fn all_of(found: &Found) -> Promise {
        Promise { synced: found.prefix, created: found.present.clone(), ..Promise::default() }
    }

    /// Whether `found` keeps it (CC2, CC3).
    pub(super) fn check(&self, found: &Found, loss: Loss) -> Result<(), String> {
        let needed = match loss {
            Loss::Process => self.synced.max(self.written),
            Loss::Power => self.synced,
        };
        if found.prefix < needed {
            return Err(format!("CC2: {} commits are there, {needed} were promised", found.prefix));
        }
        let needed: BTreeSet<u64> = self.created.difference(&self.dropping).copied().collect();
        if !needed.is_subset(&found.present) {
            return Err(format!("CC3: keyspaces {needed:?} were created, {:?} are there", found.present));
        }
        if !self.dropped.is_disjoint(&found.present) {
            return Err(format!("CC3: keyspaces {:?} were dropped, {:?} are there", self.dropped, found.present));
        }
        Ok(())
    }
}

/// How deep to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) verify: bool,
    pub(super) go_on: bool,
}

impl Depth {
    /// Everything on a share of the states: the `number`-th of them.
    pub(super) fn of(number: u64) -> Depth {
        Depth { verify: number.is_multiple_of(8), go_on: number.is_multiple_of(24) }
    }

    pub(super) const ALL: Depth = Depth { verify: true, go_on: true };
}

/// Opens `image` and finds out what it holds (CC1, CC3, CC4).
pub(super) fn look(run: &Run, image: Image, depth: Depth) -> Result<Found, String> {
    look_on(run, &SimVfs::on(image), depth)
}

/// Opens what is on `disk`, which may have faults and goes on journalling.
pub(super) fn look_on(run: &Run, disk: &SimVfs, depth: Depth) -> Result<Found, String> {
    let db = builder(disk).open(PATH).map_err(|error| format!("opening: {error}"))?;
    let found = read(run, &db)?;
    if depth.verify {
        verify(&db)?;
    }
    if depth.go_on {
        go_on(run, db, disk, &found)?;
    } else {
        // Closing in order costs more than looking, and shows nothing here.
        disk.kill();
    }
    Ok(found)
}

/// What is there (CC1, CC3).
pub(super) fn read(run: &Run, db: &Database) -> Result<Found, String> {
    let reading = |error: duramen::Error| format!("reading: {error}");
    let snapshot = db.snapshot().map_err(reading)?;
    let mut found = Vec::new();
    for info in db.keyspaces() {
        let keyspace = db.open_keyspace(&info.name).map_err(reading)?;
        if run.keyspaces.get(&info.id) != Some(&(info.name.clone(), info.options.backend)) {
            return Err(format!("CC3: keyspace {} is {:?}, on {}", info.id, info.name, info.options.backend));
        }
        let digest = scan(&snapshot, &keyspace).map_err(reading)?;
        let lasting = info.name != "passing";
        found.push((keyspace, lasting.then_some(digest.markers), digest.finish()));
    }
    let prefix = found.iter().filter_map(|(_, markers, _)| *markers).max().unwrap_or(0);
    if prefix > run.history.len() {
        return Err(format!("CC1: {prefix} commits are there, {} were made", run.history.len()));
    }
    for (keyspace, _, digest) in &found {
        if *digest != run.history.digest(prefix, keyspace.id()) {
            return Err(format!(
                "CC1: behind {prefix} commits, {keyspace:?} {}",
                differences(run, &snapshot, keyspace, prefix)
            ));
        }
    }
    let visible = db.stats().visible.get();
    if visible != prefix {
        return Err(format!("CC1: {prefix} commits are there, {visible} are said to be"));
    }
    Ok(Found { prefix, present: found.iter().map(|(keyspace, ..)| u64::from(keyspace.id().get())).collect() })
}

/// Where a keyspace is not what it should be.
fn differences(run: &Run, reader: &impl Reader, keyspace: &duramen::Keyspace, prefix: u64) -> String {
    let mut expected = run.history.rows(prefix, keyspace.id());
    let mut text = String::new();
    let show = |value: &[u8]| format!("{} bytes {:02x?}", value.len(), &value[..value.len().min(6)]);
    let entries = reader.iter(keyspace).and_then(|entries| entries.collect::<duramen::Result<Vec<_>>>());
    for entry in entries.unwrap_or_default() {
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        match expected.remove(&*entry.key) {
            Some(value) if value == *entry.value => {}
            Some(value) => text += &format!("\n  {key}: {} instead of {}", show(&entry.value), show(&value)),
            None => text += &format!("\n  {key}: {} should not be there", show(&entry.value)),
        }
    }
    for (key, value) in expected {
        text += &format!("\n  {}: {} is missing", String::from_utf8_lossy(&key), show(&value));
    }
    text
}

fn verify(db: &Database) -> Result<(), String> {
    let report = db.verify(VerifyLevel::Full).map_err(|error| format!("verifying: {error}"))?;
    if report.is_clean() { Ok(()) } else { Err(format!("CC4: {:?}", report.problems)) }
}

/// CC4: one more commit, a checkpoint, a clean end, and everything is there again.
fn go_on(run: &Run, db: Database, disk: &SimVfs, found: &Found) -> Result<(), String> {
    let failed = |what: &'static str| move |error: duramen::Error| format!("CC4: {what}: {error}");
    let new_key = b"\xffnew";
    for info in db.keyspaces() {
        let keyspace = db.open_keyspace(&info.name).map_err(failed("opening a keyspace"))?;
        db.update(|tx| tx.put(&keyspace, new_key, "new")).map_err(failed("a new commit"))?;
    }
    db.checkpoint().map_err(failed("a checkpoint"))?;
    db.close().map_err(failed("closing"))?;
    let db = builder(disk).open(PATH).map_err(failed("opening again"))?;
    for info in db.keyspaces() {
        let keyspace = db.open_keyspace(&info.name).map_err(failed("opening a keyspace again"))?;
        db.update(|tx| {
            if tx.get(&keyspace, new_key)?.as_deref() != Some(b"new") {
                return Err(duramen::Error::InvalidArgument { what: "the new commit is gone" });
            }
            tx.delete(&keyspace, new_key)
        })
        .map_err(failed("taking the new commit back"))?;
    }
    let snapshot = db.snapshot().map_err(failed("a snapshot"))?;
    for id in &found.present {
        let id = KeyspaceId::new(*id as u32);
        let keyspace = db.open_keyspace(&run.keyspaces[&id].0).map_err(failed("opening a keyspace again"))?;
        let digest = scan(&snapshot, &keyspace).map_err(failed("reading again"))?.finish();
        if digest != run.history.digest(found.prefix, id) {
            return Err(format!(
                "CC4: after going on, {keyspace:?} {}",
                differences(run, &snapshot, &keyspace, found.prefix)
            ));
        }
    }
    verify(&db)?;
    drop(snapshot);
    db.close().map_err(failed("closing again"))
}
