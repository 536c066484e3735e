//! The stores by name: the one place of the engine that knows which backends there are.
//!
//! A backend is taken out, or added, by an arm of [`dispatch!`], of [`AnyBackend::open`] and of [`AnyBackend::create`].

use std::time::Duration;

use duramen_base::values::LargeRef;
use duramen_base::{
    Admission, Admit, Backend, BackendCursor, BackendKind, BuiltIngest, Compression, Deadline, Found, IngestRecord,
    KeyBounds, LoggedOps, OpsOfKeyspace, Pin, Result, ScanOpts, SortedSource, StoreEnv, StoreMark, StoreStats,
    Timestamp, Urgency, Value, VerifyLevel, VerifyReport, WorkBudget, WorkDone,
};
use duramen_btree::{BTree, BTreeCursor};
use duramen_lsm::{Lsm, LsmCursor};

#[cfg(feature = "testing")]
use duramen_base::model::{Model, ModelCursor};

/// Runs the same expression on whichever it is.
macro_rules! dispatch {
    ($kind:ident, $it:expr, $inner:ident => $body:expr) => {
        match $it {
            $kind::BTree($inner) => $body,
            $kind::Lsm($inner) => $body,
            #[cfg(feature = "testing")]
            $kind::Model($inner) => $body,
        }
    };
}

/// A store of any kind.
pub(crate) enum AnyBackend {
    BTree(BTree),
    Lsm(Lsm),
    #[cfg(feature = "testing")]
    Model(Model),
}

impl AnyBackend {
    /// Writes and syncs the first files of a store.
    pub(crate) fn create(env: &StoreEnv) -> Result<()> {
        match env.options.backend {
            BackendKind::BTree => BTree::create(env),
            BackendKind::Lsm => Lsm::create(env),
            #[cfg(feature = "testing")]
            BackendKind::Model => Model::create(env),
            #[allow(
                unreachable_patterns,
                reason = "the kind of the tests is known to base even if this crate is built without it"
            )]
            _ => Err(duramen_base::Error::Unsupported { what: "the model backend, outside tests" }),
        }
    }

    /// Opens a store.
    pub(crate) fn open(env: StoreEnv) -> Result<AnyBackend> {
        Ok(match env.options.backend {
            BackendKind::BTree => AnyBackend::BTree(BTree::open(env)?),
            BackendKind::Lsm => AnyBackend::Lsm(Lsm::open(env)?),
            #[cfg(feature = "testing")]
            BackendKind::Model => AnyBackend::Model(Model::open(env)?),
            #[allow(unreachable_patterns, reason = "as in create")]
            _ => return Err(duramen_base::Error::Unsupported { what: "the model backend, outside tests" }),
        })
    }

    /// Whether it has files of its own to persist to.
    pub(crate) fn has_files(&self) -> bool {
        match self {
            AnyBackend::BTree(_) | AnyBackend::Lsm(_) => true,
            #[cfg(feature = "testing")]
            AnyBackend::Model(_) => false,
        }
    }

    pub(crate) fn get<'p>(&self, pin: &'p Pin, key: &[u8], at: Timestamp) -> Result<Found<'p>> {
        dispatch!(AnyBackend, self, store => store.get(pin, key, at))
    }

    pub(crate) fn load_large(&self, key: &[u8], at: Timestamp, large: LargeRef) -> Result<Option<Value>> {
        dispatch!(AnyBackend, self, store => store.load_large(key, at, large))
    }

    pub(crate) fn newer_than(&self, key: &[u8], since: Timestamp) -> Result<Option<Timestamp>> {
        dispatch!(AnyBackend, self, store => store.newer_than(key, since))
    }

    pub(crate) fn cursor(&self, at: Timestamp, bounds: KeyBounds<'_>, opts: ScanOpts) -> Result<AnyCursor> {
        Ok(match self {
            AnyBackend::BTree(store) => AnyCursor::BTree(Box::new(store.cursor(at, bounds, opts)?)),
            AnyBackend::Lsm(store) => AnyCursor::Lsm(Box::new(store.cursor(at, bounds, opts)?)),
            #[cfg(feature = "testing")]
            AnyBackend::Model(store) => AnyCursor::Model(Box::new(store.cursor(at, bounds, opts)?)),
        })
    }

    pub(crate) fn admit(&self, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admit> {
        dispatch!(AnyBackend, self, store => store.admit(ops, deadline))
    }

    pub(crate) fn throttle(&self, bytes: u64, wait_max: Duration) -> Result<()> {
        dispatch!(AnyBackend, self, store => store.throttle(bytes, wait_max))
    }

    pub(crate) fn admit_logged(&self, commits: &[LoggedOps<'_>]) -> Result<Admission> {
        dispatch!(AnyBackend, self, store => store.admit_logged(commits))
    }

    pub(crate) fn apply_logged(&self, admission: Admission, commits: &[LoggedOps<'_>]) {
        dispatch!(AnyBackend, self, store => store.apply_logged(admission, commits));
    }

    pub(crate) fn apply(&self, admission: Admission, ops: &OpsOfKeyspace<'_>, at: Timestamp) {
        dispatch!(AnyBackend, self, store => store.apply(admission, ops, at));
    }

    pub(crate) fn ingest_bytes_min(&self) -> Option<u64> {
        dispatch!(AnyBackend, self, store => store.ingest_bytes_min())
    }

    pub(crate) fn ingest(&self, source: &mut dyn SortedSource) -> Result<BuiltIngest> {
        dispatch!(AnyBackend, self, store => store.ingest(source))
    }

    pub(crate) fn attach(&self, built: BuiltIngest, at: Timestamp) {
        dispatch!(AnyBackend, self, store => store.attach(built, at));
    }

    pub(crate) fn expect_ingest(&self, record: &IngestRecord) -> Result<()> {
        dispatch!(AnyBackend, self, store => store.expect_ingest(record))
    }

    pub(crate) fn attach_expected(&self, record: &IngestRecord, at: Timestamp) {
        dispatch!(AnyBackend, self, store => store.attach_expected(record, at));
    }

    pub(crate) fn persisted(&self) -> Timestamp {
        dispatch!(AnyBackend, self, store => store.persisted())
    }

    pub(crate) fn mark(&self) -> StoreMark {
        dispatch!(AnyBackend, self, store => store.mark())
    }

    pub(crate) fn persist_to(&self, target: Timestamp, urgency: Urgency) {
        dispatch!(AnyBackend, self, store => store.persist_to(target, urgency));
    }

    pub(crate) fn compact(&self, bounds: KeyBounds<'_>) -> u64 {
        dispatch!(AnyBackend, self, store => store.compact(bounds))
    }

    pub(crate) fn set_compression(&self, compression: Compression) {
        dispatch!(AnyBackend, self, store => store.set_compression(compression));
    }

    pub(crate) fn stop_compaction(&self, request: u64) {
        dispatch!(AnyBackend, self, store => store.stop_compaction(request));
    }

    pub(crate) fn pause_compaction(&self, is_paused: bool) {
        dispatch!(AnyBackend, self, store => store.pause_compaction(is_paused));
    }

    pub(crate) fn compacted(&self) -> u64 {
        dispatch!(AnyBackend, self, store => store.compacted())
    }

    pub(crate) fn work(&self, budget: WorkBudget) -> Result<WorkDone> {
        dispatch!(AnyBackend, self, store => store.work(budget))
    }

    pub(crate) fn verify(&self, level: VerifyLevel, report: &mut VerifyReport) -> Result<()> {
        dispatch!(AnyBackend, self, store => store.verify(level, report))
    }

    pub(crate) fn stats(&self) -> StoreStats {
        dispatch!(AnyBackend, self, store => store.stats())
    }
}

/// A cursor of any kind.
pub(crate) enum AnyCursor {
    BTree(Box<BTreeCursor>),
    Lsm(Box<LsmCursor>),
    #[cfg(feature = "testing")]
    Model(Box<ModelCursor>),
}

impl AnyCursor {
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<bool> {
        dispatch!(AnyCursor, self, cursor => cursor.seek(key))
    }

    pub(crate) fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        dispatch!(AnyCursor, self, cursor => cursor.seek_for_prev(key))
    }

    #[inline]
    pub(crate) fn next_is_at_hand(&self) -> bool {
        dispatch!(AnyCursor, self, cursor => cursor.next_is_at_hand())
    }

    #[inline]
    pub(crate) fn prev_is_at_hand(&self) -> bool {
        dispatch!(AnyCursor, self, cursor => cursor.prev_is_at_hand())
    }

    #[inline]
    pub(crate) fn next_at_hand(&mut self) -> (&[u8], &[u8]) {
        dispatch!(AnyCursor, self, cursor => cursor.next_at_hand())
    }

    #[inline]
    pub(crate) fn prev_at_hand(&mut self) -> (&[u8], &[u8]) {
        dispatch!(AnyCursor, self, cursor => cursor.prev_at_hand())
    }

    pub(crate) fn next(&mut self) -> Result<bool> {
        dispatch!(AnyCursor, self, cursor => cursor.next())
    }

    pub(crate) fn prev(&mut self) -> Result<bool> {
        dispatch!(AnyCursor, self, cursor => cursor.prev())
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        dispatch!(AnyCursor, self, cursor => cursor.key())
    }

    #[inline]
    pub(crate) fn load_value(&mut self) -> Result<()> {
        dispatch!(AnyCursor, self, cursor => cursor.load_value())
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        dispatch!(AnyCursor, self, cursor => cursor.value())
    }

    #[inline]
    pub(crate) fn value_owned(&self) -> Value {
        dispatch!(AnyCursor, self, cursor => cursor.value_owned())
    }

    pub(crate) fn newer_seen(&self) -> bool {
        dispatch!(AnyCursor, self, cursor => cursor.newer_seen())
    }
}
