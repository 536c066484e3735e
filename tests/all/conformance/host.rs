//! The engine as the stores of this suite see it: every horizon can be set, every question is answered at once and remembered.
//!
//! H1  `make_durable` is asked only for commits that were handed out.
//! H2  A snapshot begins at the horizon or later, as `SnapSet` promises.

use std::sync::Arc;

use duramen_base::sync::Mutex;
use duramen_base::{Budget, Error, Result, SnapSet, StoreHost, Timestamp};

/// A host under control.
pub(crate) struct TestHost {
    budget: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sequenced: Timestamp,
    visible: Timestamp,
    durable: Timestamp,
    /// `Some`: the horizon stays here; otherwise it follows `visible`.
    horizon_held: Option<Timestamp>,
    active: Vec<Timestamp>,
    /// `Some`: stores keep getting this set, as they would between two rebuilds.
    stale: Option<Arc<SnapSet>>,
    refuses: bool,
    asked_durable: Vec<Timestamp>,
    on_durable: Option<Box<dyn Fn(Timestamp) + Send>>,
    wakes: u64,
}

impl State {
    fn horizon(&self) -> Timestamp {
        self.horizon_held.unwrap_or(self.visible)
    }

    fn snap_set(&self) -> Arc<SnapSet> {
        Arc::new(SnapSet::new(self.horizon(), self.active.clone()))
    }
}

impl TestHost {
    /// A host at timestamp zero.
    pub(crate) fn new(budget_bytes: u64) -> Arc<TestHost> {
        Arc::new(TestHost { budget: Budget::new(budget_bytes), state: Mutex::default() })
    }

    /// Hands out the next timestamp.
    pub(crate) fn sequence(&self) -> Timestamp {
        let mut state = self.state.lock();
        state.sequenced = state.sequenced.next();
        state.sequenced
    }

    /// The newest timestamp handed out.
    pub(crate) fn sequenced(&self) -> Timestamp {
        self.state.lock().sequenced
    }

    /// All commits through `ts` are applied.
    pub(crate) fn publish(&self, ts: Timestamp) {
        let mut state = self.state.lock();
        state.visible = state.visible.max(ts);
    }

    /// The log is durable through `ts`.
    pub(crate) fn log_synced(&self, ts: Timestamp) {
        let mut state = self.state.lock();
        state.durable = state.durable.max(ts);
    }

    /// Keeps the horizon where it is: nothing newer loses a version.
    pub(crate) fn hold_horizon(&self) {
        let mut state = self.state.lock();
        state.horizon_held = Some(state.horizon());
    }

    /// Lets the horizon follow `visible` again.
    pub(crate) fn follow_horizon(&self) {
        self.state.lock().horizon_held = None;
    }

    /// Where a snapshot that begins now may read at the earliest.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.state.lock().horizon()
    }

    /// Registers a snapshot at `visible`.
    pub(crate) fn begin_snapshot(&self) -> Timestamp {
        let mut state = self.state.lock();
        let at = state.visible;
        state.active.push(at);
        at
    }

    /// Registers a snapshot at `at`, which is the horizon or later, or registered already (H2).
    pub(crate) fn register(&self, at: Timestamp) {
        let mut state = self.state.lock();
        assert!(at >= state.horizon() || state.active.contains(&at), "H2: nobody begins at {at}");
        state.active.push(at);
    }

    /// Ends one snapshot at `at`.
    pub(crate) fn end_snapshot(&self, at: Timestamp) {
        let mut state = self.state.lock();
        let index = state.active.iter().position(|&ts| ts == at).expect("a registered snapshot");
        state.active.swap_remove(index);
    }

    /// The set as it is now, stale or not.
    pub(crate) fn snap_set(&self) -> Arc<SnapSet> {
        self.state.lock().snap_set()
    }

    /// From now on stores get the set as it is now; false: fresh ones again.
    pub(crate) fn answer_stale(&self, stale: bool) {
        let mut state = self.state.lock();
        state.stale = stale.then(|| state.snap_set());
    }

    /// From now on `make_durable` fails, as with a poisoned log; false: works again.
    pub(crate) fn refuse_durable(&self, refuses: bool) {
        self.state.lock().refuses = refuses;
    }

    /// What `make_durable` was asked for, in order.
    pub(crate) fn asked_durable(&self) -> Vec<Timestamp> {
        self.state.lock().asked_durable.clone()
    }

    /// From now on `tell` hears each time how far the log is durable.
    pub(crate) fn on_durable(&self, tell: impl Fn(Timestamp) + Send + 'static) {
        self.state.lock().on_durable = Some(Box::new(tell));
    }

    /// The process died and comes back: the kept log is synced, no snapshot is left, nothing is replayed yet.
    pub(crate) fn restart(&self) {
        self.restart_at(self.sequenced());
    }

    /// The same, with a log that ends at `end`.
    pub(crate) fn restart_at(&self, end: Timestamp) {
        *self.state.lock() = State { sequenced: end, durable: end, ..State::default() };
    }
}

impl StoreHost for TestHost {
    fn visible(&self) -> Timestamp {
        self.state.lock().visible
    }

    fn durable(&self) -> Timestamp {
        self.state.lock().durable
    }

    fn snapshots(&self) -> Arc<SnapSet> {
        let state = self.state.lock();
        state.stale.clone().unwrap_or_else(|| state.snap_set())
    }

    fn make_durable(&self, through: Timestamp) -> Result<()> {
        let mut state = self.state.lock();
        assert!(through <= state.sequenced, "H1: {through} was never handed out");
        state.asked_durable.push(through);
        if state.refuses {
            return Err(Error::Poisoned { cause: Arc::new(Error::Closed) });
        }
        state.durable = state.durable.max(through);
        if let Some(tell) = &state.on_durable {
            tell(state.durable);
        }
        Ok(())
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn wake_upkeep(&self) {
        self.state.lock().wakes += 1;
    }
}
