//! The run that faults are thrown into: small, seeded, on one thread, and the same each time until its fault strikes.
//!
//! It creates a database, commits with all durabilities, steps the upkeep, checkpoints, creates and drops keyspaces, closes, opens again and
//! goes on. After an error it does what a program would: it tries the call again a few times, then goes on; after `Poisoned` it opens again.
//!
//! U1  After a failed sync nothing is acknowledged until the database is opened again.
//! U2  What a read gives is right, or an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use duramen::seams::{ManualClock, ManualExecutor};
use duramen::{
    BackendKind, Builder, Database, Durability, Error, ErrorGroup, Health, Keyspace, KeyspaceOptions, Result,
    TxnOptions,
};
use duramen_base::vfs::sim::SimVfs;
use duramen_tests::dice::Dice;

use super::history::{After, History, NUMBER_KEY, Write, read_all};
use super::watch::Watch;

pub(crate) const FOLDER: &str = "db";
const TRIES: u32 = 3;
const SYNCED: Durability = Durability::Sync;

/// A simulated disk with what a database needs to be opened on it, stepped by hand.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) disk: SimVfs,
    pub(crate) clock: ManualClock,
    pub(crate) jobs: ManualExecutor,
}

impl Machine {
    pub(crate) fn on(disk: SimVfs) -> Machine {
        Machine { disk, clock: ManualClock::default(), jobs: ManualExecutor::new() }
    }

    pub(crate) fn open(&self) -> Result<Database> {
        small(&self.disk).clock(Arc::new(self.clock.clone())).executor(Arc::new(self.jobs.clone())).open(FOLDER)
    }

    /// Background work for a while.
    pub(crate) fn upkeep(&self) {
        self.jobs.run_all(3);
        self.clock.advance(Duration::from_millis(300));
    }
}

/// A database with little memory and small segments.
pub(crate) fn small(disk: &SimVfs) -> Builder {
    Database::builder()
        .vfs(Arc::new(disk.clone()))
        .memory_bytes(2 << 20)
        .log_segment_bytes(32 << 10, 64 << 10)
        .log_bytes_before_checkpoint(24 << 10)
}

/// Small pages and memtables.
pub(crate) fn options(name: &str) -> KeyspaceOptions {
    let backend = if name.ends_with("tree") { BackendKind::BTree } else { BackendKind::Lsm };
    let mut options = KeyspaceOptions::new(backend);
    options.page_bytes = 1 << 10;
    options.memtable_bytes = 4 << 10;
    options
}

/// The writes of transaction `number`.
pub(crate) fn writes(dice: &mut Dice, number: u64, names: &[&'static str]) -> Vec<Write> {
    let mut writes = Vec::new();
    for &name in names {
        if dice.below(9) == 0 {
            let low = dice.below(40);
            writes.push(Write::DeleteRange(name, key(low), key(low + 4)));
        }
        for _ in 0..1 + dice.below(4) {
            let at = key(dice.below(60));
            if dice.below(5) == 0 {
                writes.push(Write::Delete(name, at));
            } else {
                let len = if dice.below(12) == 0 { 900 } else { 20 + dice.below(120) };
                writes.push(Write::Put(name, at, dice.bytes(len as usize)));
            }
        }
        writes.push(Write::Put(name, NUMBER_KEY.to_vec(), number.to_string().into_bytes()));
    }
    writes
}

pub(crate) fn key(number: u64) -> Vec<u8> {
    format!("key {number:03}").into_bytes()
}

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) machine: Machine,
    pub(crate) history: History,
    watch: &'a Watch,
    dice: Dice,
    number: u64,
    open: Option<Open>,
    /// Whether a failed sync drops what was not synced (the kernel's page cache forgets it).
    syncs_drop: bool,
    /// Whether the run must not notice its fault.
    pub(crate) unnoticed: bool,
}

struct Open {
    db: Database,
    keyspaces: BTreeMap<&'static str, Keyspace>,
    poisoned: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(machine: Machine, seed: u64, watch: &'a Watch, syncs_drop: bool) -> Run<'a> {
        let dice = Dice::new(seed);
        Run { machine, history: History::new(), watch, dice, number: 0, open: None, syncs_drop, unnoticed: false }
    }

    /// The whole run. Ends early if the database cannot be opened.
    pub(crate) fn go(&mut self) {
        self.open();
        self.create("tree");
        self.create("lsm");
        for _ in 0..4 {
            self.commits(4);
            self.upkeep();
        }
        self.checkpoint();
        self.create("passing tree");
        self.create("passing lsm");
        self.commits(4);
        self.drop_keyspace("passing tree");
        self.read();
        self.commits(3);
        self.upkeep();
        self.close();
        self.open();
        self.read();
        self.commits(5);
        self.drop_keyspace("passing lsm");
        self.checkpoint();
        self.commits(4);
    }

    /// The end without closing: the process dies.
    pub(crate) fn die(mut self) -> (SimVfs, History) {
        self.forget_buffered();
        let disk = self.machine.disk.kill();
        self.watch.database(None);
        drop(self.open.take());
        (disk, self.history)
    }

    /// The end in order, as far as that is possible.
    pub(crate) fn end(mut self) -> (SimVfs, History) {
        self.close();
        self.watch.database(None);
        (self.machine.disk.clone(), self.history)
    }

    fn note(&self, error: &Error) {
        assert!(!self.unnoticed, "this fault must not be noticed: {error}");
        assert!(
            !matches!(error, Error::Corruption { .. } | Error::UnsupportedFormat { .. }),
            "a failed call is no damage: {error}"
        );
    }

    fn open(&mut self) {
        for _ in 0..TRIES {
            match self.machine.open() {
                Ok(db) => {
                    self.watch.database(Some(&db));
                    self.opened(db);
                    return;
                }
                Err(error) => {
                    self.note(&error);
                    assert_eq!(error.group(), ErrorGroup::MendTheEnvironment, "opening: {error}");
                }
            }
        }
    }

    fn opened(&mut self, db: Database) {
        let keyspaces = db.keyspaces().into_iter().filter_map(|info| {
            let name = *super::history::NAMES.iter().find(|name| **name == info.name)?;
            Some((name, db.open_keyspace(name).expect("listed")))
        });
        let keyspaces = keyspaces.collect();
        for _ in 0..TRIES {
            match self.history.try_check(&db, After::ProcessDeath) {
                Ok(at) => {
                    self.history.settle(at);
                    self.open = Some(Open { db, keyspaces, poisoned: false });
                    return;
                }
                Err(error) => self.note(&error),
            }
        }
        // Which state it is in could not be read: the run ends here.
        self.watch.database(None);
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.watch.database(None);
        let closed = open.db.close();
        if let Err(error) = &closed {
            self.note(error);
        }
        if open.poisoned {
            assert!(closed.is_err(), "closing a poisoned database tells of it");
        }
        self.forget_buffered();
    }

    fn forget_buffered(&mut self) {
        if self.syncs_drop && self.machine.disk.faults_struck() > 0 {
            self.history.forget_buffered();
        }
    }

    /// Opens again if the database is poisoned.
    fn mend(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.poisoned) {
            self.close();
            self.open();
        }
    }

    /// Looks at an error; whether trying again makes sense.
    fn failed(&mut self, error: &Error) -> bool {
        self.note(error);
        let Some(open) = &mut self.open else { return false };
        match error.group() {
            ErrorGroup::Reopen | ErrorGroup::FindOut => {
                open.poisoned = true;
                assert!(
                    matches!(open.db.health(), Health::Poisoned { .. }),
                    "{error}, but health says {:?}",
                    open.db.health()
                );
                assert!(matches!(open.db.begin(), Err(Error::Poisoned { .. })), "{error}, but a transaction begins");
                false
            }
            ErrorGroup::MendTheEnvironment => true,
            group => panic!("{group:?}: {error}"),
        }
    }

    fn create(&mut self, name: &'static str) {
        for _ in 0..TRIES {
            let Some(open) = &mut self.open else { return };
            match open.db.keyspace(name, options(name)) {
                Ok(keyspace) => {
                    open.keyspaces.insert(name, keyspace);
                    self.history.created(name);
                    return;
                }
                Err(error) => {
                    self.failed(&error);
                    self.mend();
                }
            }
        }
    }

    fn drop_keyspace(&mut self, name: &'static str) {
        for _ in 0..TRIES {
            let Some(open) = &mut self.open else { return };
            if open.keyspaces.remove(name).is_none() {
                return;
            }
            self.history.dropping(name);
            match open.db.drop_keyspace(name) {
                Ok(()) => return self.history.dropped(name),
                Err(error) => {
                    if self.failed(&error)
                        && let Some(open) = &mut self.open
                        && let Ok(keyspace) = open.db.open_keyspace(name)
                    {
                        // Not dropped after all.
                        open.keyspaces.insert(name, keyspace);
                    }
                    self.mend();
                }
            }
        }
    }

    fn checkpoint(&mut self) {
        for _ in 0..TRIES {
            let Some(open) = &self.open else { return };
            match open.db.checkpoint() {
                Ok(()) => return,
                Err(error) => {
                    self.failed(&error);
                    self.mend();
                }
            }
        }
    }

    fn upkeep(&mut self) {
        self.machine.upkeep();
        if let Some(open) = &mut self.open
            && let Health::Poisoned { cause } = open.db.health()
        {
            open.poisoned = true;
            let cause = cause.to_string();
            assert!(!self.unnoticed, "this fault must not be noticed: {cause}");
        }
        self.mend();
    }

    fn read(&mut self) {
        let Some(open) = &self.open else { return };
        match read_all(&open.db) {
            // U2
            Ok(found) => self.history.check_seen(&found, |name| open.keyspaces.contains_key(name)),
            Err(error) => self.note(&error),
        }
    }

    fn commits(&mut self, count: u64) {
        (0..count).for_each(|_| self.commit());
    }

    /// One transaction, tried again with the same writes after an error that left nothing behind.
    fn commit(&mut self) {
        self.number += 1;
        let Some(open) = &self.open else { return };
        let names: Vec<&'static str> = open.keyspaces.keys().copied().collect();
        let writes = writes(&mut self.dice, self.number, &names);
        let durability = [Durability::None, Durability::Buffered, Durability::Sync][self.dice.below(3) as usize];
        for _ in 0..TRIES {
            let Some(open) = &self.open else { return };
            if writes.iter().any(|write| !open.keyspaces.contains_key(write.keyspace())) {
                return;
            }
            let outcome = send(&open.db, &open.keyspaces, &writes, durability);
            assert!(!(open.poisoned && outcome.is_ok()), "U1: acknowledged on a poisoned database");
            self.history.committed(&writes, durability, &outcome);
            let Err(error) = outcome else { return };
            let again = self.failed(&error);
            if !again {
                self.check_refusal();
                self.mend();
                return;
            }
        }
    }

    /// U1: a poisoned database acknowledges nothing, whatever is asked.
    fn check_refusal(&mut self) {
        let Some(open) = &self.open else { return };
        for durability in [Durability::None, Durability::Buffered, SYNCED] {
            let outcome = open.db.begin_with(TxnOptions::default().durability(durability));
            assert!(matches!(outcome, Err(Error::Poisoned { .. })), "U1: a transaction begins on a poisoned database");
        }
        assert!(open.db.checkpoint().is_err(), "U1: a checkpoint of a poisoned database");
        self.read();
    }
}

/// One transaction.
pub(crate) fn send(
    db: &Database,
    keyspaces: &BTreeMap<&'static str, Keyspace>,
    writes: &[Write],
    durability: Durability,
) -> Result<()> {
    let tx = db.begin_with(TxnOptions::default().durability(durability))?;
    for write in writes {
        write.send(&tx, &keyspaces[write.keyspace()])?;
    }
    tx.commit().map(drop)
}
