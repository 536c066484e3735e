//! The model backend: a locked `BTreeMap`, obviously right. The oracle of every test; feature `testing` only.
//!
//! It has no files and persists nothing: after a reopen it is empty until every commit of its keyspace has been applied again, so a keyspace
//! of this kind never lets the log be truncated. It shares no code with the other backends but the words of this crate. No operation is
//! fast; none needs to be.
//!
//! O1  Every version ever applied is kept under its own timestamp, range tombstones as such: applying again changes nothing.
//! O2  Only a pruning model ([`Model::open_pruning`]) drops anything, only in `work`, and only what [`Pruner`] allows.
//!
//! Next: `backend.rs` (the contract that this follows literally), `content.rs` (reading and pruning), `cursor.rs`.

mod content;
mod cursor;
#[cfg(test)]
mod tests;

pub use cursor::ModelCursor;

use content::Content;

use crate::backend::LoggedOps;
use crate::backend::{
    Admission, Admit, Backend, Deadline, Found, Hit, Pin, ScanOpts, StoreEnv, StoreMark, StoreStats, Urgency, ValueRef,
    VerifyLevel, VerifyReport, WorkBudget, WorkDone,
};
use crate::batch::OpsOfKeyspace;
use crate::bounds::KeyBounds;
use crate::error::{Error, Result};
use crate::ids::Timestamp;
use crate::options::KeyspaceOptions;
use crate::pruner::Pruner;
use crate::sync::{Arc, RwLock};

/// What a batch is reckoned to need beside its encoded bytes, for each operation.
const OP_OVERHEAD_BYTES: u64 = 64;

/// The model of a store: what the other backends must answer, and nothing else.
///
/// ```
/// use duramen_base::{Backend, StoreEnv, Timestamp, model::Model};
/// fn newest(env: StoreEnv, key: &[u8]) -> duramen_base::Result<Option<Timestamp>> {
///     Model::create(&env)?;
///     Model::open(env)?.newer_than(key, Timestamp::ZERO)
/// }
/// ```
pub struct Model {
    env: StoreEnv,
    prunes: bool,
    content: Arc<RwLock<Content>>,
}

impl Model {
    /// Prepares an empty store: nothing to do.
    pub fn create(_env: &StoreEnv) -> Result<()> {
        Ok(())
    }

    /// An empty store that keeps every version.
    pub fn open(env: StoreEnv) -> Result<Model> {
        Ok(Model { env, prunes: false, content: Arc::default() })
    }

    /// An empty store that drops in `work` what nobody can read any more (O2), to be compared with one that does not.
    pub fn open_pruning(env: StoreEnv) -> Result<Model> {
        Ok(Model { prunes: true, ..Model::open(env)? })
    }
}

fn bytes_to_reserve(ops: &OpsOfKeyspace<'_>) -> u64 {
    ops.encoded_bytes() as u64 + ops.len() as u64 * OP_OVERHEAD_BYTES
}

impl Backend for Model {
    type Cursor = ModelCursor;

    fn get<'p>(&self, _pin: &'p Pin, key: &[u8], at: Timestamp) -> Result<Found<'p>> {
        let content = self.content.read();
        let hit = match content.newest_change(key, at) {
            None => Hit::Absent,
            Some((ts, None)) => Hit::Deleted(ts),
            Some((ts, Some(value))) => Hit::Value { bytes: ValueRef::Owned(value.clone()), ts },
        };
        Ok(Found { hit, newer: content.newer_than(key, at).is_some() })
    }

    fn newer_than(&self, key: &[u8], since: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.content.read().newer_than(key, since))
    }

    fn cursor(&self, at: Timestamp, bounds: KeyBounds<'_>, _opts: ScanOpts) -> Result<ModelCursor> {
        Ok(ModelCursor::new(Arc::clone(&self.content), at, bounds))
    }

    fn admit(&self, ops: &OpsOfKeyspace<'_>, _deadline: Deadline) -> Result<Admit> {
        let (needed, budget) = (bytes_to_reserve(ops), self.env.host.budget().limit());
        if needed > budget {
            return Err(Error::TxnTooLarge { needed, budget });
        }
        // It never gives memory back, so there is nothing to wait for.
        self.admit_logged(&[(Timestamp::MAX, *ops)]).map(Admit::Granted)
    }

    fn admit_logged(&self, commits: &[LoggedOps<'_>]) -> Result<Admission> {
        let bytes = commits.iter().map(|(_, ops)| bytes_to_reserve(ops)).sum();
        Ok(Admission { reservation: self.env.host.budget().reserve_anyway(bytes), token: None })
    }

    fn apply_logged(&self, admission: Admission, commits: &[LoggedOps<'_>]) {
        let mut content = self.content.write();
        for (at, ops) in commits {
            debug_assert_eq!(ops.keyspace(), self.env.keyspace, "the batch of this keyspace");
            ops.iter().for_each(|op| content.apply(op, *at));
        }
        content.hold(admission.reservation);
    }

    fn persisted(&self) -> Timestamp {
        Timestamp::ZERO
    }

    fn mark(&self) -> StoreMark {
        StoreMark { seq: 0, persisted: Timestamp::ZERO, contains: Timestamp::ZERO }
    }

    fn persist_to(&self, _target: Timestamp, _urgency: Urgency) {}

    fn compact(&self, _bounds: KeyBounds<'_>) -> u64 {
        0
    }

    fn stop_compaction(&self, _request: u64) {}

    fn pause_compaction(&self, _is_paused: bool) {}

    fn compacted(&self) -> u64 {
        0
    }

    fn work(&self, _budget: WorkBudget) -> Result<WorkDone> {
        if self.prunes {
            let snaps = self.env.host.snapshots();
            self.content.write().prune(&Pruner::new(&snaps));
        }
        Ok(WorkDone::default())
    }

    fn verify(&self, _level: VerifyLevel, report: &mut VerifyReport) -> Result<()> {
        let content = self.content.read();
        let keys = content.keys(KeyBounds::ALL);
        report.keys +=
            keys.filter(|key| matches!(content.newest_change(key, Timestamp::MAX), Some((_, Some(_))))).count() as u64;
        Ok(())
    }

    fn options(&self) -> &KeyspaceOptions {
        &self.env.options
    }

    fn stats(&self) -> StoreStats {
        let memory_bytes = self.content.read().held_bytes();
        // Nothing of it will ever be saved, so nobody need wait for that.
        StoreStats { memory_bytes, ..StoreStats::default() }
    }
}
