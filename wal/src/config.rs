//! What a log is opened with, and whom it tells.

use std::path::PathBuf;
use std::sync::Arc;

use duramen_base::clock::Clock;
use duramen_base::vfs::Vfs;
use duramen_base::{Budget, DbUuid, Error, Result, Timestamp};

use crate::header::SEGMENT_BYTES_MAX;

/// Smallest segment: two header blocks and a few records of any size.
const SEGMENT_BYTES_MIN: u64 = 32 << 10;
/// Smallest buffer: a few records of any size.
const BUFFER_BYTES_MIN: u64 = 64 << 10;

/// What a log is opened with.
///
/// ```
/// use std::sync::Arc;
/// use duramen_base::{DbUuid, clock::SystemClock, vfs::MemVfs};
/// use duramen_wal::{Wal, WalConfig};
/// let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
/// let config = WalConfig {
///     segment_bytes_first: 64 << 10,
///     ..WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(()))
/// };
/// assert!(Wal::create(config).is_ok());
/// ```
#[derive(Clone)]
pub struct WalConfig {
    /// The file system.
    pub vfs: Arc<dyn Vfs>,
    /// Folder of the segments.
    pub dir: PathBuf,
    /// The file beside it that says how far the log was durable.
    pub end_path: PathBuf,
    /// The clock: how long syncs take. Decides when the log acts, never what it holds.
    pub clock: Arc<dyn Clock>,
    /// Identity of the database.
    pub db_uuid: DbUuid,
    /// Size of the first segment and of the smallest, in bytes (a multiple of 4096); later ones grow with the log that is kept (R3).
    pub segment_bytes_first: u64,
    /// Size of the largest segments.
    pub segment_bytes_max: u64,
    /// Most bytes of records that are placed and not yet written.
    pub buffer_bytes: u64,
    /// Whether records may be stored to the mapped end of the log, without a call each, where the file system can do that safely.
    pub map_end: bool,
    /// Where the memory of these is counted, if anywhere.
    pub budget: Option<Arc<Budget>>,
    /// Whom it tells.
    pub observer: Arc<dyn WalObserver>,
}

impl WalConfig {
    /// Segments of 1 MiB growing to 64 MiB, a buffer of 4 MiB; `LOG-END` beside the folder of the segments.
    pub fn new(
        vfs: Arc<dyn Vfs>,
        dir: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
        db_uuid: DbUuid,
        observer: Arc<dyn WalObserver>,
    ) -> WalConfig {
        let dir = dir.into();
        WalConfig {
            vfs,
            end_path: dir.with_file_name("LOG-END"),
            dir,
            clock,
            db_uuid,
            segment_bytes_first: 1 << 20,
            segment_bytes_max: 64 << 20,
            buffer_bytes: 4 << 20,
            map_end: true,
            budget: None,
            observer,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let whole_blocks = self.segment_bytes_first.is_multiple_of(4096) && self.segment_bytes_max.is_multiple_of(4096);
        let ordered = (SEGMENT_BYTES_MIN..=self.segment_bytes_max).contains(&self.segment_bytes_first);
        if !whole_blocks || !ordered || self.segment_bytes_max > SEGMENT_BYTES_MAX {
            return Err(Error::InvalidArgument {
                what: "log segments are multiples of 4096 bytes, from 32 KiB to 1 GiB, the first no larger than the largest",
            });
        }
        if self.buffer_bytes < BUFFER_BYTES_MIN {
            return Err(Error::InvalidArgument { what: "the log buffer has at least 64 KiB" });
        }
        Ok(())
    }
}

/// Whom the log tells what happened. Called without a latch that its other calls need; must be short, and may call
/// [`crate::Wal::poisoned`] and [`crate::Wal::stats`] only.
pub trait WalObserver: Send + Sync + 'static {
    /// Every commit up to `ts` is durable. Told before any waiter for it returns. Calls may overtake each other: keep the maximum.
    fn durable_through(&self, ts: Timestamp);
    /// The log failed for good; told once.
    fn poisoned(&self, cause: &Arc<Error>);
    /// The disk has no space for records that are already placed; or has it again.
    fn stalled(&self, stalled: bool);
}

/// Nobody is told.
impl WalObserver for () {
    fn durable_through(&self, _ts: Timestamp) {}
    fn poisoned(&self, _cause: &Arc<Error>) {}
    fn stalled(&self, _stalled: bool) {}
}
