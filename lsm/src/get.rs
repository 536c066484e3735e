//! Looking for one key: memtables, then runs, until nothing further can matter.
//!
//! A pure function of a superversion and a source of blocks. It trusts timestamps and not the order of the sources (Z2).
//!
//! B1  A source is passed over only if none of its versions could be the answer or tell more about `newer`.

use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::key_hash::key_hash;
use duramen_base::{Found, Hit, Result, Timestamp, ValueRef};

use crate::source::{Stored, StoredVersion};
use crate::superversion::SuperVersion;
use crate::table::blocks::{Block, BlockSource, Loading};

/// What a key is at a timestamp, as far as the sources asked so far know.
#[derive(Debug)]
pub(crate) struct Answer<B = Counted<Image>> {
    version: Option<StoredVersion<B>>,
    tomb: Timestamp,
    newer: bool,
}

impl<B> Default for Answer<B> {
    fn default() -> Answer<B> {
        Answer { version: None, tomb: Timestamp::ZERO, newer: false }
    }
}

impl<B> Answer<B> {
    /// Takes in what one more source knows.
    pub(crate) fn add(&mut self, version: Option<StoredVersion<B>>, tomb: Timestamp, newer: bool) {
        self.tomb = self.tomb.max(tomb);
        self.newer |= newer;
        if let Some(version) = version
            && self.version.as_ref().is_none_or(|best| best.ts < version.ts)
        {
            self.version = Some(version);
        }
    }

    /// B1, for a source whose timestamps lie between these. A version of the same commit as a range tombstone survives it.
    fn is_settled(&self, min_ts: Timestamp, max_ts: Timestamp, at: Timestamp) -> bool {
        let cannot_win = self.version.as_ref().is_some_and(|best| max_ts <= best.ts) || max_ts < self.tomb;
        cannot_win || (min_ts > at && self.newer)
    }

    /// Whether anything newer changed the key.
    pub(crate) fn newer(&self) -> bool {
        self.newer
    }

    /// The value, if the key has one.
    pub(crate) fn into_value(self) -> Option<(Stored<B>, Timestamp)> {
        let version = self.version.filter(|version| version.ts >= self.tomb)?;
        version.value.map(|value| (value, version.ts))
    }

    fn into_found<'p>(self) -> Found<'p>
    where
        B: Block + 'p,
    {
        let newer = self.newer;
        let deleted = self.version.as_ref().map_or(Timestamp::ZERO, |version| version.ts).max(self.tomb);
        let hit = match self.into_value() {
            Some((Stored::Owned(value), ts)) => Hit::Value { bytes: ValueRef::Owned(value), ts },
            Some((Stored::InImage(block, range), ts)) => Hit::Value { bytes: block.lend(range), ts },
            Some((Stored::Large(large), ts)) => Hit::Large { large, ts },
            None if deleted > Timestamp::ZERO => Hit::Deleted(deleted),
            None => Hit::Absent,
        };
        Found { hit, newer }
    }
}

/// What `key` is at `at`; `None`: a block would have to be read that `blocks` does not read.
pub(crate) fn get<'p, S: BlockSource>(
    sv: &SuperVersion,
    key: &[u8],
    at: Timestamp,
    blocks: &S,
) -> Result<Option<Found<'p>>>
where
    S::Data: 'p,
{
    let mut answer = Answer::<S::Data>::default();
    let (tomb, newer) = sv.version.tombs.at(key, at);
    answer.add(None, tomb, newer);
    for memtable in sv.memtables() {
        let max_ts = memtable.max_ts();
        if max_ts > Timestamp::ZERO && !answer.is_settled(memtable.min_ts(), max_ts, at) {
            let found = memtable.get(key, at);
            answer.add(found.version.map(StoredVersion::from), found.tomb, found.newer);
        }
    }
    let mut hash = None;
    for run in sv.runs() {
        let Some(table) = run.table_of(key) else { continue };
        if answer.is_settled(table.meta().min_ts, table.meta().max_ts, at) {
            continue;
        }
        let hash = *hash.get_or_insert_with(|| key_hash(key));
        let Some(found) = table.get(key, hash, at, blocks)? else { return Ok(None) };
        let newer = found.newest > at;
        answer.add(found.version.map(StoredVersion::from), Timestamp::ZERO, newer);
    }
    Ok(Some(answer.into_found()))
}

/// The newest change of `key` if it is newer than `since`.
pub(crate) fn newer_than(sv: &SuperVersion, key: &[u8], since: Timestamp) -> Result<Option<Timestamp>> {
    let mut newest = sv.version.tombs.covering(key).first().copied().unwrap_or(Timestamp::ZERO).max(since);
    for memtable in sv.memtables() {
        if memtable.max_ts() > newest {
            newest = newest.max(memtable.newest(key));
        }
    }
    for run in sv.runs() {
        if let Some(table) = run.table_of(key).filter(|table| table.meta().max_ts > newest) {
            let found = table.get(key, key_hash(key), Timestamp::MAX, &Loading::KEEP)?;
            newest = newest.max(found.map_or(Timestamp::ZERO, |found| found.newest));
        }
    }
    Ok((newest > since).then_some(newest))
}
