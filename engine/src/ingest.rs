//! Sorted ingest: one commit of any size, whose content a store builds in files of its own while others go on.
//!
//! ```text
//! 1 pull pairs, checked; few of them, or a store that takes puts alone: an ordinary commit
//! 2 build: the store writes and syncs its files, beside everybody             -- whatever fails up to here gives them back
//! 3 lock the keys from the first to the last; enter the gate; stage the record in the log
//! 4 sequence alone; the record names what was built; attach it; ratchet       -- as in commit.rs, steps 3 to 5
//! 5 wait as the durability asks
//! ```
//! The locks are taken when everything is built, for as long as a commit takes; the pairs need not be known before. What was in the range stays, but
//! for keys that the pairs name: an ingest puts.
//!
//! I1  What is attached finds every earlier commit applied (`sequence_alone`): so what a store keeps in order, buffers and tables, needs one place for
//!     it and no comparison of timestamps.
//! I2  For serializable transactions it is one that wrote every key from the first to the last, and locked them.

use std::collections::VecDeque;

use duramen_base::memtable::successor;
use duramen_base::options::VALUE_BYTES_MAX;
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{BuiltIngest, Error, LockMode, Result, SortedSource, StoreHost, TxnOrigin, mutant};
use duramen_txn::{Claim, Concurrency, Footprint, IsolationLevel, Key, LockItem, OwnerSpec, Wait};

use crate::commit::{CommitInfo, Held, Sequenced};
use crate::core::Core;
use crate::database::Database;
use crate::keyspace::{Inner, Keyspace};
use crate::options::TxnOptions;
use crate::transaction::{Transaction, check_key};

/// Level of an ingest, in reports.
const NAME: &str = "ingest";

/// Pairs as they are pulled, each checked once.
struct Pairs<'a, I, K, V> {
    core: &'a Core,
    keyspace: &'a Inner,
    source: I,
    /// Pulled and not yet given.
    ahead: VecDeque<(K, V)>,
    /// Given last.
    current: Option<(K, V)>,
    first: Vec<u8>,
}

impl<I, K, V> Pairs<'_, I, K, V>
where
    I: Iterator<Item = Result<(K, V)>>,
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    /// The next pair of the source, if it may follow.
    fn pull(&mut self) -> Result<Option<(K, V)>> {
        self.core.check_writable()?;
        self.keyspace.check()?;
        let Some(pair) = self.source.next().transpose()? else { return Ok(None) };
        let (key, value) = (pair.0.as_ref(), pair.1.as_ref());
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::ValueTooLarge { bytes: value.len() });
        }
        match self.ahead.back().or(self.current.as_ref()) {
            Some((before, _)) if before.as_ref() >= key => {
                return Err(Error::InvalidArgument { what: "the keys of an ingest ascend, each once" });
            }
            Some(_) => {}
            None => self.first = key.to_vec(),
        }
        Ok(Some(pair))
    }

    /// Pulls pairs of so many bytes; whether there are as many.
    fn look_ahead(&mut self, bytes: u64) -> Result<bool> {
        let mut found = 0;
        while found < bytes {
            let Some(pair) = self.pull()? else { return Ok(false) };
            found += (pair.0.as_ref().len() + pair.1.as_ref().len()) as u64;
            self.ahead.push_back(pair);
        }
        Ok(true)
    }

    /// What it gave: from the first key up to the one behind the last.
    fn range(&self) -> (Key, Key) {
        let last = self.current.as_ref().map_or(&[][..], |(last, _)| last.as_ref());
        (Key::from(&self.first[..]), Key::from(&successor(last)[..]))
    }
}

impl<I, K, V> SortedSource for Pairs<'_, I, K, V>
where
    I: Iterator<Item = Result<(K, V)>>,
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    fn next_pair(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let next = match self.ahead.pop_front() {
            None => self.pull()?,
            ahead => ahead,
        };
        if next.is_none() {
            return Ok(None);
        }
        self.current = next;
        Ok(self.current.as_ref().map(|(key, value)| (key.as_ref(), value.as_ref())))
    }
}

impl Database {
    /// Puts all `pairs` in one commit, however many they are: visible together, durable together, or not at all. Their keys ascend strictly. What the
    /// keyspace held stays, but for the keys named. `None`: there were no pairs, so there is no commit.
    ///
    /// Made for loading much at once: the store builds its own files of the pairs, each byte once, and the log only names them; memory stays bounded.
    /// Few pairs are an ordinary commit. Meanwhile others read and write as if nothing happened; at the end the keys from the first to the last are
    /// locked for as long as a commit takes, and whoever read or wrote among them conflicts with it as with any other commit.
    ///
    /// It commits with the durability of the database; see [`Database::ingest_with`] for others, and for sources that can fail. `pairs` must not drop
    /// the keyspace while it is asked for the next pair.
    ///
    /// # Errors
    /// Nothing is visible, and the space is given back:
    /// * [`Error::InvalidArgument`]: a key is not above the one before it; [`Error::KeyTooLarge`], [`Error::ValueTooLarge`].
    /// * [`Error::TxnTooLarge`]: more than this store can take in one commit.
    /// * [`Error::LockTimeout`], [`Error::Deadlock`]: somebody else kept the keys locked. Ingest again.
    /// * [`Error::DiskFull`], [`Error::Io`], [`Error::Poisoned`], [`Error::Corruption`] (the keyspace is damaged), [`Error::NoSuchKeyspace`],
    ///   [`Error::Closed`].
    ///
    /// [`Error::Indeterminate`]: the outcome is unknown until the database is reopened.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("squares", BackendKind::Lsm)?;
    /// let squares = (0..20_000_u64).map(|n| (n.to_be_bytes(), (n * n).to_string()));
    /// let commit = db.ingest(&ks, squares)?.expect("there were some");
    /// let snapshot = db.snapshot()?;
    /// assert_eq!(snapshot.get(&ks, 12_u64.to_be_bytes())?.as_deref(), Some(&b"144"[..]));
    /// assert_eq!(snapshot.iter(&ks)?.count(), 20_000);
    /// assert!(commit.ts > duramen::Timestamp::ZERO);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    #[track_caller]
    pub fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<CommitInfo>> {
        self.ingest_with(keyspace, TxnOptions::default(), pairs.into_iter().map(Ok))
    }

    /// [`Database::ingest`] from a source that can fail, with options. Of these count durability, lock timeout, label, priority and `retry_of`; an ingest
    /// reads nothing, so its level and concurrency make no difference.
    ///
    /// # Errors
    /// The first that `pairs` gives, and as [`Database::ingest`]. [`Error::ReadOnly`]: the options say so.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Durability, Error, Reader, TxnOptions};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let buffered = TxnOptions::default().durability(Durability::Buffered);
    /// let pairs = [Ok(("a", "1")), Ok(("b", "2")), Err(Error::InvalidArgument { what: "the third line" })];
    /// assert!(matches!(db.ingest_with(&ks, buffered, pairs), Err(Error::InvalidArgument { .. })));
    /// assert!(!db.snapshot()?.contains(&ks, "a")?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn ingest_with<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        options: TxnOptions,
        pairs: impl IntoIterator<Item = Result<(K, V)>>,
    ) -> Result<Option<CommitInfo>> {
        self.core.ingest(keyspace, options, TxnOrigin::here(None), pairs.into_iter())
    }
}

impl Core {
    /// Steps 1 to 5.
    pub(crate) fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        self: &Arc<Core>,
        keyspace: &Keyspace,
        options: TxnOptions,
        origin: TxnOrigin,
        source: impl Iterator<Item = Result<(K, V)>>,
    ) -> Result<Option<CommitInfo>> {
        self.check_writable()?;
        self.check_keyspace(&keyspace.inner)?;
        if options.read_only {
            return Err(Error::ReadOnly);
        }
        let inner = &*keyspace.inner;
        let (ahead, current, first) = (VecDeque::new(), None, Vec::new());
        let mut pairs = Pairs { core: self, keyspace: inner, source, ahead, current, first };
        match inner.store.ingest_bytes_min() {
            Some(bytes) if pairs.look_ahead(bytes)? => {}
            Some(_) | None => return self.put_all(keyspace, options, origin, &mut pairs),
        }
        self.throttle_writer(inner, 0)?;
        let durability = options.durability.unwrap_or(self.durability);
        let sequenced = {
            let _building = inner.build()?;
            let built = inner.store.ingest(&mut pairs)?;
            self.commit_built(inner, built, pairs.range(), &options, origin)?
        };
        self.wait(&sequenced, durability)?;
        self.parts.host.wake_upkeep(); // from now on nobody begins to read before it
        Ok(Some(sequenced.info))
    }

    /// An ingest by puts.
    fn put_all(
        self: &Arc<Core>,
        keyspace: &Keyspace,
        options: TxnOptions,
        origin: TxnOrigin,
        pairs: &mut dyn SortedSource,
    ) -> Result<Option<CommitInfo>> {
        // I2: it is serializable; having read nothing it is never refused.
        let options = options.isolation(IsolationLevel::Serializable).concurrency(Concurrency::Optimistic);
        let tx = Transaction::new(self, options, origin)?;
        while let Some((key, value)) = pairs.next_pair()? {
            tx.put(keyspace, key, value)?;
        }
        tx.commit()
    }

    /// Steps 3 and 4.
    fn commit_built(
        &self,
        keyspace: &Inner,
        built: BuiltIngest,
        (low, high): (Key, Key),
        options: &TxnOptions,
        origin: TxnOrigin,
    ) -> Result<Sequenced> {
        self.check_writable()?;
        let origin = TxnOrigin { label: options.label, ..origin };
        let spec = OwnerSpec {
            origin,
            isolation: NAME,
            priority: options.priority,
            begun_at: None,
            retry_of: options.retry_of,
        };
        let mut locks = self.locks.owner(spec);
        let item = LockItem::range(keyspace.id, low, Some(high));
        let wait = Wait::For(options.lock_timeout.unwrap_or(self.lock_timeout));
        locks.lock_items([(item.clone(), LockMode::Exclusive)], wait)?;
        locks.seal()?;

        let gate = keyspace.enter()?;
        keyspace.check_whole()?;
        let record = built.record.encode();
        let staged = self.wal.stage_ingest(&record);
        self.set_log_full(matches!(staged, Err(Error::DiskFull { .. })));
        let staged = staged?;

        let writes = if mutant!("ingest_without_facts") { Footprint::default() } else { Footprint::of_items([item]) };
        let claim = Claim { snapshot_ts: None, reads: Footprint::default(), writes, origin, enlisted: None };
        let sequence = || self.order.sequence_alone(|ts| staged.place_commit(ts));
        let (ts, placed) = self.ssi.enter_locked(claim, sequence); // I1, I2
        keyspace.store.attach(built, ts);
        drop(gate);
        self.order.applied(ts, Some(Held { _locks: locks.into_held(), _posted: None, origin }));
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.ssi.prune_sometimes(|| self.horizons.acked());
        let info = CommitInfo { ts, lsn: placed.lsn, log_epoch: self.wal.log_epoch() };
        Ok(Sequenced { info, end: placed.end })
    }
}
