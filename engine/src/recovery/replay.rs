//! Applying every commit that a store does not have: one after the other, or by several threads at once.
//!
//! The log is read here, commit by commit. A short log is applied here too; of a long one each operation goes to the lane of its key (`lanes.rs`).
//!
//! RP1  Operations on one key are applied in the order of their commits: the lane of a key is a function of the key, and a lane keeps its order.
//! RP2  What touches keys of several lanes at once (a range delete, an ingest) is applied alone, after all before it and before all behind it.
//! RP3  `visible` is raised only to a commit up to which everything was applied, so files written meanwhile contain no more than they say (K5).

use duramen_base::executor::Executor;
use duramen_base::sync::Arc;
use duramen_base::{
    Admission, BatchView, Budget, Error, IngestRecord, LoggedOps, OpKind, OpsOfKeyspace, Result, StoreHost, Timestamp,
    Urgency, WorkBudget, mutant,
};
use duramen_wal::Recovery;

use super::lanes::Lanes;
use super::{Recovering, Rooms, Stores};
use crate::catalog::Catalog;
use crate::core::Parts;
use crate::keyspace;
use crate::open::log_dir;

/// Upkeep of one store at a time, while replay is over the memory budget.
const STEP: WorkBudget = WorkBudget { bytes: 4 << 20 };

/// A shorter log is replayed before threads are at work.
const LANES_FROM_BYTES: u64 = 2 << 20;

/// After a range delete so many commits are applied here: others may follow, and to wait for the lanes each time would cost more than they gain.
const ALONE_AFTER_RANGE: u32 = 256;

pub(super) fn replay(
    rooms: &Rooms,
    parts: &Parts,
    catalog: &Catalog,
    stores: &Stores,
    log: &Recovery,
    executor: &dyn Executor,
) -> Result<()> {
    // A store may answer for commits that were applied; before the first, for those that every store has.
    let from = stores.values().map(|store| store.persisted).min().unwrap_or(log.last_ts());
    let lanes = (log.log_bytes() >= LANES_FROM_BYTES).then(|| start_lanes(parts, stores, executor)).flatten();
    let mut replay = Replay { rooms, parts, catalog, stores, log, lanes, alone: 0 };
    replay.raise(from);
    log.replay(from, &mut |ts, payload| replay.take(ts, payload))?;
    replay.settle(log.last_ts())
}

/// Lanes that apply to these stores; none where nobody would run them.
fn start_lanes(parts: &Parts, stores: &Stores, executor: &dyn Executor) -> Option<Lanes> {
    let (stores, budget) = (stores.clone(), Arc::clone(&parts.budget));
    let apply = move |commits: &[LoggedOps<'_>]| match commits {
        [(_, first), ..] => stores[&first.keyspace()].apply(commits, &budget),
        [] => Ok(()),
    };
    Lanes::start(executor, Arc::new(apply))
}

impl Recovering {
    fn apply(&self, commits: &[LoggedOps<'_>], budget: &Arc<Budget>) -> Result<()> {
        let admission = admit(&self.keyspace, commits, budget)?;
        self.keyspace.store.apply_logged(admission, commits);
        Ok(())
    }
}

/// A replay that goes on.
struct Replay<'a> {
    rooms: &'a Rooms,
    parts: &'a Parts,
    catalog: &'a Catalog,
    stores: &'a Stores,
    log: &'a Recovery,
    lanes: Option<Lanes>,
    /// So many commits from now on are applied here.
    alone: u32,
}

impl Replay<'_> {
    /// The next commit of the log.
    fn take(&mut self, ts: Timestamp, payload: &[u8]) -> Result<()> {
        if self.log.ingests().binary_search_by_key(&ts, |ingest| ingest.ts).is_ok() {
            self.settle(ts.prev())?;
            self.attach_expected(payload, ts);
            self.raise(ts);
            return Ok(());
        }
        let batch = BatchView::parse(payload).ok_or_else(|| self.damage(ts, "a commit's content"))?;
        match self.lanes.is_some() && !self.goes_alone(&batch) {
            true => self.give(ts, &batch),
            false => self.apply_alone(ts, &batch),
        }
    }

    /// RP2, for operations.
    fn goes_alone(&mut self, batch: &BatchView<'_>) -> bool {
        let has_range = |ops: &OpsOfKeyspace<'_>| ops.iter().next().is_some_and(|op| op.kind == OpKind::DeleteRange);
        if batch.sections().any(|ops| has_range(&ops)) && !mutant!("range_delete_beside_lanes") {
            self.alone = ALONE_AFTER_RANGE;
        }
        let alone = self.alone > 0;
        self.alone = self.alone.saturating_sub(1);
        alone
    }

    fn give(&mut self, ts: Timestamp, batch: &BatchView<'_>) -> Result<()> {
        for ops in batch.sections() {
            if self.store_of(ts, &ops)?.is_some()
                && let Some(lanes) = &mut self.lanes
            {
                lanes.give(ts, &ops)?;
            }
        }
        if self.parts.budget.is_over() {
            self.settle(ts)?;
            self.keep_to_budget()?;
        }
        Ok(())
    }

    fn apply_alone(&mut self, ts: Timestamp, batch: &BatchView<'_>) -> Result<()> {
        self.settle(ts.prev())?;
        for ops in batch.sections() {
            if let Some(store) = self.store_of(ts, &ops)? {
                store.apply(&[(ts, ops)], &self.parts.budget)?;
            }
        }
        self.raise(ts);
        self.keep_to_budget()
    }

    /// Waits until everything through `through` is applied; it was all given before.
    fn settle(&mut self, through: Timestamp) -> Result<()> {
        if let Some(lanes) = &mut self.lanes {
            lanes.settle()?;
        }
        self.raise(through);
        Ok(())
    }

    /// RP3.
    fn raise(&self, through: Timestamp) {
        self.rooms.horizons.raise_visible(through);
        self.rooms.horizons.raise_durable(through);
    }

    /// The store that has not these operations yet; `None` if it has them, or is no more.
    fn store_of(&self, ts: Timestamp, ops: &OpsOfKeyspace<'_>) -> Result<Option<&Recovering>> {
        match self.stores.get(&ops.keyspace()) {
            Some(store) => Ok((ts > store.persisted).then_some(store)),
            None if self.catalog.is_dropped(ops.keyspace()) => Ok(None),
            None => Err(self.damage(ts, "a commit to a keyspace that never was")),
        }
    }

    /// Attaches what an expected record names.
    fn attach_expected(&self, payload: &[u8], ts: Timestamp) {
        let record = IngestRecord::decode(payload).expect("it was decoded before");
        if let Some(store) = self.stores.get(&record.keyspace).filter(|store| ts > store.persisted) {
            store.keyspace.store.attach_expected(&record, ts);
        }
    }

    /// Stores persist in the middle of a long replay rather than grow over the budget. One commit alone may be larger than all of it: what was accepted
    /// once, under whatever budget, is taken again (K7), and goes into files before the next.
    fn keep_to_budget(&self) -> Result<()> {
        if !self.parts.budget.is_over() {
            return Ok(());
        }
        self.parts.host.refresh_snap_set();
        let visible = self.parts.host.visible();
        for store in self.stores.values() {
            store.keyspace.store.persist_to(visible, Urgency::Now);
        }
        let mut more = true;
        while more && self.parts.budget.is_over() {
            more = false;
            for store in self.stores.values().filter(|store| store.keyspace.damage().is_none()) {
                match store.keyspace.store.work(STEP) {
                    Ok(done) => more |= done.more,
                    Err(error) if store.keyspace.note_damage(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn damage(&self, ts: Timestamp, what: &'static str) -> Error {
        Error::corruption(log_dir(&self.rooms.path), ts.get(), what)
    }
}

/// A store that meets damage while it makes room takes the rest of its commits into memory: its damage keeps no other keyspace from being opened.
fn admit(keyspace: &keyspace::Inner, commits: &[LoggedOps<'_>], budget: &Arc<Budget>) -> Result<Admission> {
    if keyspace.damage().is_none() {
        match keyspace.store.admit_logged(commits) {
            Err(error) if keyspace.note_damage(&error) => {}
            admitted => return admitted,
        }
    }
    // What applying takes beyond this is held when it is known.
    Ok(Admission { reservation: budget.reserve_anyway(0), token: None })
}
