//! Running a script: each session on a thread of its own, in the order in which the script stands.
//!
//! R1  A step begins when all sessions before it are at rest: they returned, or wait for a lock. Whether one waits is what the engine says,
//!     never how long it takes.
//! R2  A step of a session that waits is put off; when the session is free again, its steps run before the script goes on.
//! R3  What the script leaves open is rolled back at its end. Then the facts are judged, and only then those that were aborted run again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use duramen::{Database, Error, Keyspace, Reader, Timestamp};

use super::{Action, Fact, Named, Script, Seen, Step};
use crate::locking;
use crate::session::{Done, Session, number_of};
use crate::setting::Setting;
use crate::target::Target;
use crate::threads::{Patience, Receiver, RecvTimeoutError, Sender, channel, spawn};

/// Labels by session.
const LABELS: [&str; super::parse::SESSIONS_MAX] = ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9"];
/// How often the engine is asked whether a session waits.
const ASK_EVERY: Duration = Duration::from_micros(200);
/// A step that neither returns nor waits for a lock for so long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run of a script came to.
///
/// See [`Script`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The anomaly was seen.
    Shown,
    /// It was not.
    NotSeen,
    /// The engine does not offer the setting, or a call that the script needs at it.
    NotOffered,
    /// The script could not be run to its end; never counted as if it had shown nothing.
    Failed(String),
}

/// Something that happened to a session beside its steps.
///
/// ```
/// use duramen_suite::Event;
/// let event = Event::Aborted { session: 1, at: "commit".into(), error: "write conflict".into(), kind: "WriteConflict".into() };
/// assert_eq!(event.to_string(), "T1 aborted at `commit`: write conflict");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It waited for a lock.
    Waited {
        /// Which, from 1.
        session: usize,
        /// What it wanted to do.
        at: String,
    },
    /// The engine ended its transaction.
    Aborted {
        /// Which, from 1.
        session: usize,
        /// What it wanted to do.
        at: String,
        /// The whole message.
        error: String,
        /// The name of the error.
        kind: String,
    },
    /// It ran again after the end of the others, and committed.
    Retried {
        /// Which, from 1.
        session: usize,
    },
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Waited { session, at } => write!(f, "T{session} waited at `{at}`"),
            Event::Aborted { session, at, error, .. } => write!(f, "T{session} aborted at `{at}`: {error}"),
            Event::Retried { session } => write!(f, "T{session} ran again and committed"),
        }
    }
}

/// A run of a script.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{Outcome, Script, Setting, Target};
/// let target = Target::in_memory(BackendKind::Lsm);
/// let setting = Setting::parse("Snapshot/Optimistic").expect("a setting");
/// let library = Script::library();
/// let skew = library.iter().find(|script| script.name() == "write-skew").expect("it is there");
/// let run = skew.run(&target, setting);
/// assert_eq!(run.outcome, Outcome::Shown);
/// assert!(run.events.is_empty() && run.saw.iter().any(|(name, value)| name == "a" && value == "50"));
/// ```
#[derive(Clone, Debug)]
pub struct ScriptRun {
    /// What it came to.
    pub outcome: Outcome,
    /// Who waited, who was aborted, who ran again, in this order in time.
    pub events: Vec<Event>,
    /// What was read, by name.
    pub saw: Vec<(String, String)>,
    /// What became of each session, and what was there in the end.
    pub(crate) ends: Vec<End>,
    pub(crate) state: BTreeMap<String, i64>,
    /// When each session began its first step, and when it had committed: a number that grows by one with everything that happens.
    pub(crate) moments: Vec<(u64, u64)>,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Committed(Option<Timestamp>),
    RolledBack,
    /// By the engine.
    Aborted,
}

impl Script {
    /// Runs it in a new database, every session at `setting`.
    pub fn run(&self, target: &Target, setting: Setting) -> ScriptRun {
        self.run_mixed(target, &vec![setting; self.session_count()])
    }

    /// Runs it in a new database, each session at a setting of its own; sessions beyond the last given one run as it.
    ///
    /// ```
    /// use duramen::BackendKind;
    /// use duramen_suite::{Outcome, Script, Setting, Target};
    /// let script = Script::parse("s", "T1: get x -> a\nT1: commit\nshown if: a!=nothing")?;
    /// let settings: Vec<Setting> = Setting::parse("Snapshot/Optimistic").into_iter().collect();
    /// let run = script.run_mixed(&Target::in_memory(BackendKind::BTree), &settings);
    /// assert_eq!(run.outcome, Outcome::NotSeen);
    /// # Ok::<(), duramen_suite::ScriptError>(())
    /// ```
    pub fn run_mixed(&self, target: &Target, settings: &[Setting]) -> ScriptRun {
        let mut run = ScriptRun {
            outcome: Outcome::NotSeen,
            events: Vec::new(),
            saw: Vec::new(),
            ends: vec![End::Open; self.session_count()],
            state: BTreeMap::new(),
            moments: Vec::new(),
        };
        run.outcome = match self.try_run(target, settings, &mut run) {
            Ok(true) => Outcome::Shown,
            Ok(false) => Outcome::NotSeen,
            Err(Failure::Engine(_, Error::Unsupported { .. })) => Outcome::NotOffered,
            Err(Failure::Engine(at, error)) => Outcome::Failed(format!("{at}: {error}")),
            Err(Failure::Hangs(who)) => Outcome::Failed(format!("{who} neither returned nor waits for a lock")),
        };
        run
    }

    fn try_run(&self, target: &Target, settings: &[Setting], run: &mut ScriptRun) -> Result<bool, Failure> {
        let (db, keyspace) = target.open().map_err(at("open"))?;
        let fill = |tx: &duramen::Transaction| {
            self.start.iter().try_for_each(|(key, value)| tx.put(&keyspace, key, value.to_string()))
        };
        db.update(fill).map_err(at("start"))?;
        let sessions: Vec<Session> = (0..self.session_count())
            .map(|index| {
                let setting = settings.get(index).or(settings.last()).copied();
                let options = setting.map(Setting::options).unwrap_or_default().label(LABELS[index]);
                Session::new(&db, &keyspace, options)
            })
            .collect();
        let mut stage = Stage::new(&db, sessions);
        let played = stage.play(&self.steps);
        run.saw = stage.saw.iter().map(|(name, (_, seen))| (name.clone(), seen.to_string())).collect();
        run.ends.clone_from(&stage.ends);
        run.moments.clone_from(&stage.moments);
        run.events = std::mem::take(&mut stage.events);
        played?;
        run.state = read_all(&db, &keyspace).map_err(at("final"))?;
        let shown = self.shown.iter().any(|facts| facts.iter().all(|fact| stage.holds(fact, &run.state)));
        for index in 0..self.session_count() {
            if stage.ends[index] == End::Aborted {
                stage.run_again(index, &self.steps)?;
                run.events.push(Event::Retried { session: index + 1 });
            }
        }
        Ok(shown)
    }
}

enum Failure {
    Engine(String, Error),
    Hangs(&'static str),
}

fn at(what: &str) -> impl FnOnce(Error) -> Failure {
    let what = what.to_owned();
    move |error| Failure::Engine(what, error)
}

fn read_all(db: &Database, keyspace: &Keyspace) -> duramen::Result<BTreeMap<String, i64>> {
    let snapshot = db.snapshot()?;
    let rows = snapshot.iter(keyspace)?;
    rows.map(|row| row.map(|row| (String::from_utf8_lossy(&row.key).into_owned(), number_of(&row.value)))).collect()
}

/// The sessions on their threads.
struct Stage {
    db: Database,
    orders: Vec<Sender<Step>>,
    replies: Receiver<(usize, Done)>,
    /// The step a session is in, and whether it was seen waiting.
    busy: Vec<Option<(Step, bool)>>,
    put_off: Vec<VecDeque<Step>>,
    ends: Vec<End>,
    saw: BTreeMap<String, (usize, Seen)>,
    events: Vec<Event>,
    /// See [`ScriptRun`].
    moments: Vec<(u64, u64)>,
    now: u64,
}

impl Stage {
    fn new(db: &Database, sessions: Vec<Session>) -> Stage {
        let count = sessions.len();
        let (reply, replies) = channel();
        let orders = sessions.into_iter().enumerate().map(|(index, mut session)| {
            let (order, orders) = channel::<Step>();
            let reply: Sender<(usize, Done)> = reply.clone();
            spawn(move || {
                for step in orders {
                    if reply.send((index, session.perform(&step))).is_err() {
                        break;
                    }
                }
            });
            order
        });
        Stage {
            db: db.clone(),
            orders: orders.collect(),
            replies,
            busy: vec![None; count],
            put_off: vec![VecDeque::new(); count],
            ends: vec![End::Open; count],
            saw: BTreeMap::new(),
            events: Vec::new(),
            moments: vec![(0, u64::MAX); count],
            now: 0,
        }
    }

    fn play(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            self.offer(step.clone())?;
        }
        // R3: who waits still, waits for one of these.
        for session in 0..self.ends.len() {
            if self.ends[session] == End::Open {
                self.offer(Step { session, actions: vec![Named { action: Action::Rollback, name: None }] })?;
            }
        }
        match self.busy.iter().position(Option::is_some) {
            Some(session) => Err(Failure::Hangs(LABELS[session])),
            None => Ok(()),
        }
    }

    /// R2: does the step now, or puts it off.
    fn offer(&mut self, step: Step) -> Result<(), Failure> {
        let session = step.session;
        if self.busy[session].is_some() {
            self.put_off[session].push_back(step);
            return Ok(());
        }
        self.begin(step)?;
        loop {
            self.come_to_rest()?;
            let free = |session: &usize| self.busy[*session].is_none() && !self.put_off[*session].is_empty();
            let Some(session) = (0..self.put_off.len()).find(free) else { return Ok(()) };
            let step = self.put_off[session].pop_front().expect("it has one");
            self.begin(step)?;
        }
    }

    fn begin(&mut self, step: Step) -> Result<(), Failure> {
        let session = step.session;
        if self.ends[session] != End::Open {
            return Ok(());
        }
        self.busy[session] = Some((step.clone(), false));
        self.now += 1;
        if self.moments[session].0 == 0 {
            self.moments[session].0 = self.now;
        }
        self.orders[session].send(step).map_err(|_| Failure::Hangs(LABELS[session]))
    }

    /// R1: returns when every session has returned or waits for a lock.
    fn come_to_rest(&mut self) -> Result<(), Failure> {
        let patience = Patience::of(PATIENCE);
        while let Some(first) = self.busy.iter().position(Option::is_some) {
            match self.replies.recv_timeout(ASK_EVERY) {
                Ok((session, done)) => self.note(session, done)?,
                Err(RecvTimeoutError::Timeout) if self.all_busy_wait() => return Ok(()),
                Err(RecvTimeoutError::Timeout) if !patience.is_over() => {}
                Err(_) => return Err(Failure::Hangs(LABELS[first])),
            }
        }
        Ok(())
    }

    /// Whether the engine says of every busy session that it waits, all at one moment.
    fn all_busy_wait(&mut self) -> bool {
        let waiting = locking::waiting(&self.db);
        let waits = |session: usize| waiting.contains(&LABELS[session]);
        if (0..self.busy.len()).any(|session| self.busy[session].is_some() && !waits(session)) {
            return false;
        }
        for (session, busy) in self.busy.iter_mut().enumerate() {
            if let Some((step, seen @ false)) = busy {
                *seen = true;
                self.events.push(Event::Waited { session: session + 1, at: text_of(step) });
            }
        }
        true
    }

    fn note(&mut self, session: usize, done: Done) -> Result<(), Failure> {
        let Some((step, _)) = self.busy[session].take() else { return Ok(()) };
        self.saw.extend(done.seen.into_iter().map(|(name, seen)| (name, (session, seen))));
        match done.failed {
            Some((action, error)) if error.is_retryable() => {
                self.ends[session] = End::Aborted;
                let kind = kind_of(&error);
                let (at, error) = (action.to_string(), error.to_string());
                self.events.push(Event::Aborted { session: session + 1, at, error, kind });
            }
            Some((action, error)) => {
                return Err(Failure::Engine(format!("T{}: {action}", session + 1), error));
            }
            None => match step.actions.last().map(|named| &named.action) {
                Some(Action::Commit) => {
                    self.now += 1;
                    self.moments[session].1 = self.now;
                    self.ends[session] = End::Committed(done.commit_ts);
                }
                Some(Action::Rollback) => self.ends[session] = End::RolledBack,
                _ => {}
            },
        }
        Ok(())
    }

    /// Runs all steps of a session again, alone.
    fn run_again(&mut self, session: usize, steps: &[Step]) -> Result<(), Failure> {
        self.ends[session] = End::Open;
        let (saw, events) = (self.saw.clone(), self.events.len());
        for step in steps.iter().filter(|step| step.session == session) {
            self.begin(step.clone())?;
            self.come_to_rest()?;
        }
        self.saw = saw;
        match self.events.get(events) {
            None => Ok(()),
            Some(event) => {
                let what = Error::InvalidArgument { what: "a transaction that runs alone must succeed" };
                Err(Failure::Engine(event.to_string(), what))
            }
        }
    }

    fn holds(&self, fact: &Fact, state: &BTreeMap<String, i64>) -> bool {
        let commits = |session: usize| matches!(self.ends[session], End::Committed(_));
        match fact {
            Fact::Commits(session) => commits(*session),
            Fact::Aborts(session) => self.ends[*session] == End::Aborted,
            Fact::Final { key, value } => state.get(key) == value.as_ref(),
            // N1: what was read counts if its reader committed.
            Fact::Saw { name, equal, seen } => self
                .saw
                .get(name)
                .is_some_and(|(session, real)| commits(*session) && (real.to_string() == *seen) == *equal),
        }
    }
}

fn text_of(step: &Step) -> String {
    step.actions.iter().map(|named| named.action.to_string()).collect::<Vec<_>>().join("; ")
}

/// The name of an error's variant.
pub(crate) fn kind_of(error: &Error) -> String {
    format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_called_by_their_variants() {
        assert_eq!(kind_of(&Error::SnapshotTooOld), "SnapshotTooOld");
        assert_eq!(kind_of(&Error::KeyTooLarge { bytes: 1 }), "KeyTooLarge");
    }
}
