//! What the tests share: a log on a memory disk, and reading it back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use duramen_base::clock::ManualClock;
use duramen_base::vfs::Vfs;
use duramen_base::{DbUuid, Error, Result, Timestamp};

use crate::{Claims, Placed, Recovery, Wal, WalConfig, WalObserver};

pub(super) const UUID: DbUuid = DbUuid::from_bytes([0xd0; 16]);

/// Remembers what it was told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) durable: AtomicU64,
    pub(super) poisoned: AtomicUsize,
    pub(super) stalled: AtomicUsize,
    pub(super) resumed: AtomicUsize,
}

impl WalObserver for Told {
    fn durable_through(&self, ts: Timestamp) {
        self.durable.fetch_max(ts.get(), Ordering::SeqCst);
    }
    fn poisoned(&self, _cause: &Arc<Error>) {
        self.poisoned.fetch_add(1, Ordering::SeqCst);
    }
    fn stalled(&self, stalled: bool) {
        if stalled { &self.stalled } else { &self.resumed }.fetch_add(1, Ordering::SeqCst);
    }
}

/// Small segments, so that a test passes many of them.
pub(super) fn config_on(vfs: Arc<dyn Vfs>) -> WalConfig {
    WalConfig {
        segment_bytes_first: 32 << 10,
        segment_bytes_max: 64 << 10,
        buffer_bytes: 64 << 10,
        ..WalConfig::new(vfs, PathBuf::from("log"), Arc::new(ManualClock::default()), UUID, Arc::new(()))
    }
}

/// The payload of commit `ts`: `bytes` long and different for each.
pub(super) fn payload(ts: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|index| (index.wrapping_mul(31) ^ ts.wrapping_mul(0x9e37_79b9)) as u8).collect()
}

/// Places the next commit.
pub(super) fn commit(wal: &Wal, bytes: usize) -> Result<Placed> {
    let ts = wal.stats().last_ts.next();
    let payload = payload(ts.get(), bytes);
    Ok(wal.stage(&payload)?.place_commit(ts))
}

pub(super) fn commit_sync(wal: &Wal, bytes: usize) -> Placed {
    let placed = commit(wal, bytes).unwrap();
    wal.sync_through(placed.end).unwrap();
    placed
}

pub(super) fn scan(config: &WalConfig) -> Result<Recovery> {
    Recovery::scan(config.clone(), Claims::default())
}

/// Commits after `from` as (timestamp, length), each checked to be what `commit` wrote.
pub(super) fn replayed(recovery: &Recovery, from: u64) -> Vec<(u64, usize)> {
    let mut all = Vec::new();
    recovery
        .replay(Timestamp::new(from), &mut |ts, bytes| {
            assert_eq!(bytes, payload(ts.get(), bytes.len()), "{ts}");
            all.push((ts.get(), bytes.len()));
            Ok(())
        })
        .unwrap();
    all
}
