//! What a run has committed, and what may be found after it: one of its states, none older than what was acknowledged.
//!
//! Shares nothing with the engine: a state is a plain map. Each transaction writes its number under [`NUMBER_KEY`] into every keyspace it
//! touches, so a state found is first recognised by its number, then compared whole.
//!
//! H1  The states are those after each commit that was sequenced, in order; one whose commit failed before that is none of them.
//! H2  Floors only rise: the oldest state that may be found after the death of the process, and after a loss of power.

use std::collections::{BTreeMap, BTreeSet};

use duramen::{Database, Durability, Error, Keyspace, Reader, Result, VerifyLevel};

/// Content of all keyspaces: keyspace, key, value.
pub(crate) type Content = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// Under it each transaction writes its own number.
pub(crate) const NUMBER_KEY: &[u8] = b"#";

/// The keyspaces of a run.
pub(crate) const NAMES: [&str; 4] = ["tree", "lsm", "passing tree", "passing lsm"];

/// One write of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put(&'static str, Vec<u8>, Vec<u8>),
    Delete(&'static str, Vec<u8>),
    DeleteRange(&'static str, Vec<u8>, Vec<u8>),
}

impl Write {
    pub(crate) fn keyspace(&self) -> &'static str {
        match self {
            Write::Put(name, ..) | Write::Delete(name, _) | Write::DeleteRange(name, ..) => name,
        }
    }

    /// The same write to a database.
    pub(crate) fn send(&self, tx: &duramen::Transaction, keyspace: &Keyspace) -> Result<()> {
        match self {
            Write::Put(_, key, value) => tx.put(keyspace, key, value),
            Write::Delete(_, key) => tx.delete(keyspace, key),
            Write::DeleteRange(_, low, high) => tx.delete_range(keyspace, low, high),
        }
    }

    pub(crate) fn apply(&self, content: &mut Content) {
        match self {
            Write::Put(name, key, value) => {
                content.insert((name, key.clone()), value.clone());
            }
            Write::Delete(name, key) => {
                content.remove(&(*name, key.clone()));
            }
            Write::DeleteRange(name, low, high) => {
                content.retain(|(of, key), _| of != name || key < low || key >= high);
            }
        }
    }
}

/// Where the run ended, as far as the disk is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Every completed write is there.
    ProcessDeath,
    /// Only what was synced is sure.
    PowerLoss,
}

/// What a run did.
#[derive(Clone, Debug)]
pub(crate) struct History {
    states: Vec<Content>,
    process_floor: usize,
    power_floor: usize,
    /// The newest state whose commit was acknowledged: what a snapshot shows at least.
    seen_floor: usize,
    created: BTreeSet<&'static str>,
    may_be_dropped: BTreeSet<&'static str>,
    dropped: BTreeSet<&'static str>,
    /// Commits that were acknowledged.
    pub(crate) acknowledged: u64,
}

impl History {
    pub(crate) fn new() -> History {
        History {
            states: vec![Content::new()],
            process_floor: 0,
            power_floor: 0,
            seen_floor: 0,
            created: BTreeSet::new(),
            may_be_dropped: BTreeSet::new(),
            dropped: BTreeSet::new(),
            acknowledged: 0,
        }
    }

    /// The state that the running database is in.
    fn newest(&self) -> &Content {
        self.states.last().expect("the empty state is there")
    }

    /// Notes how a commit ended (H1).
    pub(crate) fn committed(&mut self, writes: &[Write], durability: Durability, outcome: &Result<()>) {
        if !matches!(outcome, Ok(()) | Err(Error::Indeterminate { .. })) {
            return;
        }
        let mut state = self.newest().clone();
        writes.iter().for_each(|write| write.apply(&mut state));
        self.states.push(state);
        if outcome.is_err() {
            return;
        }
        self.acknowledged += 1;
        let newest = self.states.len() - 1;
        self.seen_floor = newest;
        match durability {
            Durability::None => {}
            Durability::Buffered => self.process_floor = newest,
            Durability::Sync => (self.process_floor, self.power_floor) = (newest, newest),
        }
    }

    /// The operating system dropped what was written and not synced: from here on only syncs count.
    pub(crate) fn forget_buffered(&mut self) {
        self.process_floor = self.power_floor;
    }

    pub(crate) fn created(&mut self, name: &'static str) {
        self.created.insert(name);
    }

    pub(crate) fn dropping(&mut self, name: &'static str) {
        self.may_be_dropped.insert(name);
    }

    pub(crate) fn dropped(&mut self, name: &'static str) {
        self.dropped.insert(name);
    }

    /// The number of the newest state among `states` whose own transaction wrote `number`.
    fn state_with(&self, found: &Content) -> Option<usize> {
        let numbers = |content: &Content| -> Vec<Option<Vec<u8>>> {
            ["tree", "lsm"].map(|name| content.get(&(name, NUMBER_KEY.to_vec())).cloned()).to_vec()
        };
        let wanted = numbers(found);
        self.states.iter().rposition(|state| numbers(state) == wanted)
    }

    /// [`History::try_check`] where nothing fails any more.
    pub(crate) fn check(&self, db: &Database, after: After) -> usize {
        self.try_check(db, after).expect("nothing fails any more")
    }

    /// Holds what an opened database shows against the history; the number of the state it is in.
    pub(crate) fn try_check(&self, db: &Database, after: After) -> Result<usize> {
        let found = read_all(db)?;
        let there: BTreeSet<String> = db.keyspaces().into_iter().map(|info| info.name).collect();
        for name in &self.created {
            assert!(there.contains(*name) || self.may_be_dropped.contains(name), "the keyspace {name} is lost");
        }
        for name in &self.dropped {
            assert!(!there.contains(*name), "the keyspace {name} was dropped and is back");
        }
        let at = self.state_with(&found).unwrap_or_else(|| {
            panic!(
                "a transaction in part: {:?}",
                found.iter().filter(|((_, key), _)| key == NUMBER_KEY).collect::<Vec<_>>()
            )
        });
        let floor = match after {
            After::ProcessDeath => self.process_floor,
            After::PowerLoss => self.power_floor,
        };
        assert!(
            at >= floor,
            "{after:?}: acknowledged up to state {floor}, found state {at} of {}",
            self.states.len() - 1
        );
        let mut expected = self.states[at].clone();
        expected.retain(|(name, _), _| there.contains(*name));
        assert!(expected == found, "state {at}: {}", difference(&expected, &found));
        let report = db.verify(VerifyLevel::Full)?;
        assert!(report.is_clean(), "verify: {:?}", report.problems);
        Ok(at)
    }

    /// An opened database shows state `at`, so that is durable, and what was behind it is gone.
    pub(crate) fn settle(&mut self, at: usize) {
        self.states.truncate(at + 1);
        (self.process_floor, self.power_floor, self.seen_floor) = (at, at, at);
    }

    /// Holds what a running database shows against the history: a state not older than what was acknowledged.
    pub(crate) fn check_seen(&self, found: &Content, there: impl Fn(&str) -> bool) {
        let at = self.state_with(found).expect("a transaction in part");
        assert!(at >= self.seen_floor, "a snapshot shows state {at}, and {} was acknowledged", self.seen_floor);
        let mut expected = self.states[at].clone();
        expected.retain(|(name, _), _| there(name));
        assert!(expected == *found, "state {at}: {}", difference(&expected, found));
    }
}

/// Everything a fresh snapshot shows, read forwards, and the same read backwards and by key.
pub(crate) fn read_all(db: &Database) -> Result<Content> {
    let snapshot = db.snapshot()?;
    let mut found = Content::new();
    for name in NAMES {
        let keyspace = match db.open_keyspace(name) {
            Ok(keyspace) => keyspace,
            Err(Error::NoSuchKeyspace { .. }) => continue,
            Err(error) => return Err(error),
        };
        let mut forwards = Vec::new();
        for entry in snapshot.iter(&keyspace)? {
            let entry = entry?;
            let got = snapshot.get(&keyspace, &entry.key)?;
            assert!(got.as_ref() == Some(&entry.value), "{name}: a scan and a get of {:?} differ", entry.key);
            forwards.push(entry);
        }
        let mut backwards = snapshot.iter(&keyspace)?.rev().collect::<Result<Vec<_>>>()?;
        backwards.reverse();
        assert!(forwards == backwards, "{name}: reading forwards and backwards differ");
        found.extend(forwards.into_iter().map(|entry| ((name, entry.key.to_vec()), entry.value.to_vec())));
    }
    Ok(found)
}

/// The first few differences of two contents.
pub(crate) fn difference(expected: &Content, found: &Content) -> String {
    let show = |(name, key): &(&str, Vec<u8>)| format!("{name}/{}", key.escape_ascii());
    let missing = expected.keys().filter(|key| !found.contains_key(key)).map(|key| format!("missing {}", show(key)));
    let extra = found.keys().filter(|key| !expected.contains_key(key)).map(|key| format!("extra {}", show(key)));
    let wrong = expected
        .iter()
        .filter(|(key, value)| found.get(key).is_some_and(|found| found != *value))
        .map(|(key, _)| format!("wrong {}", show(key)));
    missing.chain(extra).chain(wrong).take(6).collect::<Vec<_>>().join(", ")
}
