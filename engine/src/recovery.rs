//! Recovery: from the files to the state before the crash.
//!
//! ```text
//! 1 open the stores as their files are
//! 2 scan the log: find its end (torn tail, or damage that refuses), sync what is kept
//! 3 compare: every store with its newest mark; the log with the oldest store
//!   tell the stores which of their files the log names: these are not free (IG3 of `base/src/ingest.rs`)
//! 4 remove what a crash left, finish drops that only the log knows: the first step that changes files
//! 5 apply every commit that a store does not have
//! 6 open the log for writing behind its end
//! ```
//! Any number of crashes in the middle lose nothing: no step removes what an earlier one needs.
//!
//! V1  The log reaches back to min(persisted) + 1 of every store, and no store is older than its newest mark; else `Corruption`.
//! V2  What is shown after recovery is durable: the kept log is synced before it is applied.
//!
//! Next: `recovery/replay.rs` (step 5).

mod lanes;
mod replay;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use duramen_base::clock::Clock;
use duramen_base::pool::FramePool;
use duramen_base::sync::Arc;
use duramen_base::vfs::{FileLock, Vfs};
use duramen_base::{Budget, DbUuid, Error, IngestRecord, KeyspaceId, Result, Timestamp};
use duramen_txn::{Horizons, Snapshots};
use duramen_wal::{Claims, Mark, Recovery, WalConfig};

use crate::any_backend::AnyBackend;
use crate::catalog::Catalog;
use crate::core::{self, Core, Opened, Parts};
use crate::host::Host;
use crate::keyspace;
use crate::keyspaces::{Keyspaces, decode_drop, remove_folder};
use crate::observer::LogObserver;
use crate::open::{log_dir, remove_strangers};
use crate::options::Builder;

/// Part of the memory budget that records may take before they are written, and the least of it.
const LOG_BUFFER_SHARE: u64 = 16;
const LOG_BUFFER_BYTES_MIN: u64 = 128 << 10;

/// A store that is being recovered, and how far its files reach.
#[derive(Clone)]
struct Recovering {
    keyspace: Arc<keyspace::Inner>,
    persisted: Timestamp,
}

type Stores = BTreeMap<KeyspaceId, Recovering>;

/// What the parts of a database share before there is a log.
pub(crate) struct Rooms {
    path: PathBuf,
    vfs: Arc<dyn Vfs>,
    clock: Arc<dyn Clock>,
    horizons: Arc<Horizons>,
    snapshots: Arc<Snapshots>,
    observer: Arc<LogObserver>,
    budget: Arc<Budget>,
    cache_bytes: u64,
    segment_bytes: (u64, u64),
    map_log: bool,
}

impl Rooms {
    pub(crate) fn new(builder: &Builder, path: &Path) -> Rooms {
        let horizons = Arc::new(Horizons::new(Timestamp::ZERO));
        Rooms {
            path: path.to_owned(),
            vfs: Arc::clone(&builder.vfs),
            clock: Arc::clone(&builder.clock),
            observer: Arc::new(LogObserver::new(Arc::clone(&horizons))),
            horizons,
            snapshots: Snapshots::new(),
            budget: Budget::new(builder.memory_bytes),
            cache_bytes: builder.cache_bytes.unwrap_or(builder.memory_bytes / 4 * 3),
            segment_bytes: builder.log_segment_bytes,
            map_log: builder.map_log,
        }
    }

    pub(crate) fn wal_config(&self, db_uuid: DbUuid) -> WalConfig {
        let observer = Arc::clone(&self.observer);
        let clock = Arc::clone(&self.clock);
        let mut config = WalConfig::new(Arc::clone(&self.vfs), log_dir(&self.path), clock, db_uuid, observer);
        (config.segment_bytes_first, config.segment_bytes_max) = self.segment_bytes;
        config.map_end = self.map_log;
        config.buffer_bytes = (self.budget.limit() / LOG_BUFFER_SHARE).clamp(LOG_BUFFER_BYTES_MIN, config.buffer_bytes);
        config.budget = Some(Arc::clone(&self.budget));
        config
    }

    fn parts(&self, db_uuid: DbUuid) -> Parts {
        let host = Host::new(Arc::clone(&self.horizons), Arc::clone(&self.snapshots), Arc::clone(&self.budget));
        Parts {
            path: self.path.clone(),
            vfs: Arc::clone(&self.vfs),
            clock: Arc::clone(&self.clock),
            db_uuid,
            host,
            snapshots: Arc::clone(&self.snapshots),
            budget: Arc::clone(&self.budget),
            pool: FramePool::new(&self.budget, self.cache_bytes),
        }
    }
}

/// Steps 1 to 6.
pub(crate) fn recover(
    rooms: Rooms,
    builder: &Builder,
    mut catalog: Catalog,
    db_uuid: DbUuid,
    dir_lock: Box<dyn FileLock>,
) -> Result<Arc<Core>> {
    let parts = rooms.parts(db_uuid);
    let instance = core::next_instance();
    let mut stores = open_stores(&parts, &catalog, instance)?;

    let contains = stores.values().map(|store| store.persisted.max(store.keyspace.store.mark().contains)).max();
    let claims = Claims { contains: contains.unwrap_or(Timestamp::ZERO) };
    let log = Recovery::scan(rooms.wal_config(db_uuid), claims)?;
    parts.host.set_recovered(log.last_ts());

    let dropped = take_dropped(&parts, &mut catalog, &mut stores, &log)?;
    compare_with_marks(&parts, &mut stores, &log)?;
    compare_with_log(&rooms, &parts, &stores, &log)?;
    expect_ingests(&rooms, &catalog, &stores, &log)?;
    // Everything agrees: from here on files may change.
    remove_strangers(&*parts.vfs, &parts.path, &catalog, &dropped)?;
    finish_drops(&parts, &mut catalog, &dropped)?;

    replay::replay(&rooms, &parts, &catalog, &stores, &log, &*builder.executor)?;
    rooms.horizons.raise_visible(log.last_ts());
    rooms.horizons.raise_durable(log.last_ts());
    parts.host.refresh_snap_set();

    let wal = log.finish()?;
    parts.host.set_wal(Arc::clone(&wal));
    let open = stores.into_iter().map(|(id, store)| (id, store.keyspace)).collect();
    let opened = Opened {
        wal,
        horizons: rooms.horizons,
        observer: rooms.observer,
        keyspaces: Keyspaces::new(catalog, open),
        durability: builder.durability,
        isolation: builder.isolation,
        concurrency: builder.concurrency,
        dirty_reads: builder.dirty_reads,
        snapshot_age_max: builder.snapshot_age_max,
        lock_timeout: builder.lock_timeout,
        lock_options: builder.lock_options,
        log_bytes_before_checkpoint: builder.log_bytes_before_checkpoint,
        dir_lock,
        instance,
    };
    Ok(Core::new(parts, opened))
}

fn open_stores(parts: &Parts, catalog: &Catalog, instance: u64) -> Result<Stores> {
    let open = |(&id, entry): (&KeyspaceId, &crate::catalog::CatalogEntry)| {
        let store = AnyBackend::open(parts.store_env(id, &entry.options))?;
        let persisted = store.mark().persisted.max(entry.first_persisted);
        let keyspace = keyspace::Inner::new(instance, id, entry.name.clone(), entry.options.clone(), store);
        Ok((id, Recovering { keyspace, persisted }))
    };
    catalog.keyspaces.iter().map(open).collect()
}

/// Takes out what was dropped in the log and not in the catalog. Changes no file yet: what is compared next may refuse.
fn take_dropped(parts: &Parts, catalog: &mut Catalog, stores: &mut Stores, log: &Recovery) -> Result<Vec<KeyspaceId>> {
    let mut dropped = Vec::new();
    for event in log.events() {
        let known = decode_drop(&event.payload).filter(|id| id.get() < catalog.next_id);
        let Some(id) = known else {
            return Err(Error::corruption(log_dir(&parts.path), event.lsn.get(), "an event of an unknown keyspace"));
        };
        if stores.remove(&id).is_some() {
            catalog.keyspaces.remove(&id);
            dropped.push(id);
        }
    }
    Ok(dropped)
}

/// Finishes drops that were logged and did not reach the catalog: the catalog first, then the folders.
fn finish_drops(parts: &Parts, catalog: &mut Catalog, dropped: &[KeyspaceId]) -> Result<()> {
    if dropped.is_empty() {
        return Ok(());
    }
    catalog.write_next(&*parts.vfs, &parts.path, parts.db_uuid)?;
    dropped.iter().try_for_each(|&id| remove_folder(&*parts.vfs, &parts.keyspaces_dir(), &parts.keyspace_dir(id)))
}

/// V1, second half: a store that is older than its mark was rolled back behind our back. One that is not has all that the mark says.
fn compare_with_marks(parts: &Parts, stores: &mut Stores, log: &Recovery) -> Result<()> {
    for (id, store) in stores {
        let Some(mark) = log.marks().get(id.get()) else { continue };
        let older = || {
            let what = "the files are older than the log's newest mark of them";
            Error::corruption(parts.keyspace_dir(*id), 0, what)
        };
        let seq = store.keyspace.store.mark().seq;
        store.persisted = with_mark(store.persisted, seq, mark).ok_or_else(older)?;
    }
    Ok(())
}

/// What is in files of number `seq` that say of themselves `persisted`, when the log has this mark of them; `None` if they are older than it.
///
/// Files that are newer than the mark have all that those had of which it speaks, even if they say less: a checkpoint or an edit says what was settled
/// when it began, and a store that had nothing unsaved may have been asked, and the log been cut behind its answer, while it was being written.
fn with_mark(persisted: Timestamp, seq: u64, mark: Mark) -> Option<Timestamp> {
    (seq >= mark.seq).then(|| persisted.max(mark.persisted))
}

/// V1, first half.
fn compare_with_log(rooms: &Rooms, parts: &Parts, stores: &Stores, log: &Recovery) -> Result<()> {
    for (id, store) in stores {
        if store.persisted > log.last_ts() {
            return Err(Error::corruption(
                log_dir(&rooms.path),
                0,
                "the log ends before what the files of a keyspace contain",
            ));
        }
        if log.first_ts() > store.persisted.next() {
            return Err(Error::corruption(
                parts.keyspace_dir(*id),
                0,
                "the files are older than where the log (in the folder log) begins",
            ));
        }
    }
    Ok(())
}

/// What records of the log name, above what the stores have, must be there, and must not be taken for something that a crash left.
fn expect_ingests(rooms: &Rooms, catalog: &Catalog, stores: &Stores, log: &Recovery) -> Result<()> {
    for ingest in log.ingests() {
        let damage = |what| Error::corruption(log_dir(&rooms.path), ingest.lsn.get(), what);
        let record = IngestRecord::decode(&ingest.payload).ok_or_else(|| damage("a record of an ingest"))?;
        match stores.get(&record.keyspace) {
            Some(store) if ingest.ts > store.persisted => store.keyspace.store.expect_ingest(&record)?,
            Some(_) => {}
            None if catalog.is_dropped(record.keyspace) => {}
            None => return Err(damage("an ingest into a keyspace that never was")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by kills under load: opening was refused, because the log was cut behind what the mark said and the files did not.
    #[test]
    fn what_a_mark_says_is_true_of_later_files_too() {
        let [early, late] = [Timestamp::new(450), Timestamp::new(500)];
        let mark = Mark { seq: 3, persisted: late };
        assert_eq!(with_mark(early, 3, mark), Some(late));
        assert_eq!(with_mark(early, 4, mark), Some(late));
        assert_eq!(with_mark(late.next(), 4, mark), Some(late.next()));
        assert_eq!(with_mark(late, 2, mark), None);
    }
}
