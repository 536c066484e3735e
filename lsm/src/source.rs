//! The sources a cursor merges: a memtable, or a run. Both show keys in order, each with its newest version at the cursor's timestamp.
//!
//! A memtable is copied from in pieces, because it changes under the cursor; what was copied stays right at the cursor's timestamp (T4).
//! Range tombstones are not seen here; the cursor asks for them itself.

use std::cmp::Ordering;
use std::ops::{Bound, Range};
use std::sync::Arc;

use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::values::LargeRef;
use duramen_base::{KeyBounds, Result, Timestamp, Value};

use crate::run_cursor::RunCursor;
use crate::table::BlockVersion;
use duramen_base::memtable::{KeyVersion, MemPiece, Memtable};

/// Keys copied from a memtable at once: few at first, so that a short scan costs little.
const PIECE_KEYS: Range<usize> = 8..256;

/// A value, in memory of its own or in a block.
#[derive(Clone, Debug)]
pub(crate) enum Stored<B = Counted<Image>> {
    /// Its own.
    Owned(Value),
    /// In a block.
    InImage(B, Range<usize>),
    /// In a value file.
    Large(LargeRef),
}

/// A version from any source; without a value it is a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct StoredVersion<B = Counted<Image>> {
    pub(crate) ts: Timestamp,
    pub(crate) value: Option<Stored<B>>,
}

impl<B> From<KeyVersion> for StoredVersion<B> {
    fn from(version: KeyVersion) -> StoredVersion<B> {
        StoredVersion { ts: version.ts, value: version.value.map(Stored::Owned) }
    }
}

impl<B> From<BlockVersion<B>> for StoredVersion<B> {
    fn from(version: BlockVersion<B>) -> StoredVersion<B> {
        StoredVersion { ts: version.ts, value: version.value }
    }
}

/// Which way a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

impl Direction {
    /// Which key comes first this way; a source without a key comes last.
    #[inline]
    pub(crate) fn cmp(self, a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) => match self {
                Direction::Forward => a.cmp(b),
                Direction::Backward => b.cmp(a),
            },
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }
}

/// One source, standing on a key or past the last in its direction.
#[derive(Debug)]
pub(crate) enum Source {
    Mem(MemSource),
    Run(RunCursor),
}

impl Source {
    /// Goes to the key nearest to `from`, in this direction.
    pub(crate) fn seek(&mut self, from: Bound<&[u8]>, direction: Direction, at: Timestamp) -> Result<()> {
        match self {
            Source::Mem(source) => {
                source.seek(from, direction, at);
                Ok(())
            }
            Source::Run(run) => seek_run(run, from, direction),
        }
    }

    /// The key it stands on.
    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Mem(source) => source.key(),
            Source::Run(run) => run.key(),
        }
    }

    /// The newest version with `ts <= at` of the key it stands on, and whether a newer one is there.
    pub(crate) fn version_at(&self, at: Timestamp) -> Result<(Option<StoredVersion>, bool)> {
        match self {
            Source::Mem(MemSource { piece, index, .. }) => Ok(match *index < piece.len() {
                true => (piece.version(*index).map(StoredVersion::from), piece.newer(*index)),
                false => (None, false),
            }),
            Source::Run(run) => Ok((run.version_at(at)?.map(StoredVersion::from), run.newest_ts() > at)),
        }
    }

    /// Goes on to the next key in this direction.
    #[inline]
    pub(crate) fn advance(&mut self, direction: Direction, at: Timestamp) -> Result<()> {
        match self {
            Source::Mem(source) => {
                source.advance(direction, at);
                Ok(())
            }
            Source::Run(run) => match direction {
                Direction::Forward => run.next(),
                Direction::Backward => run.prev(),
            },
        }
    }
}

fn seek_run(run: &mut RunCursor, from: Bound<&[u8]>, direction: Direction) -> Result<()> {
    match (direction, from) {
        (Direction::Forward, Bound::Included(key) | Bound::Excluded(key)) => run.seek(key)?,
        (Direction::Forward, Bound::Unbounded) => run.seek(b"")?,
        (Direction::Backward, Bound::Included(key) | Bound::Excluded(key)) => run.seek_for_prev(key)?,
        (Direction::Backward, Bound::Unbounded) => run.last()?,
    }
    match (direction, from) {
        (_, Bound::Excluded(key)) if run.key() != Some(key) => Ok(()),
        (Direction::Forward, Bound::Excluded(_)) => run.next(),
        (Direction::Backward, Bound::Excluded(_)) => run.prev(),
        (_, Bound::Included(_) | Bound::Unbounded) => Ok(()),
    }
}

/// A memtable as a source.
#[derive(Debug)]
pub(crate) struct MemSource {
    memtable: Arc<Memtable>,
    piece: MemPiece,
    /// The key of the piece that it stands on; behind all: it stands on none.
    index: usize,
    piece_keys: usize,
    copied_bytes: u64,
    copied_deleted: u64,
}

impl MemSource {
    pub(crate) fn new(memtable: &Arc<Memtable>) -> MemSource {
        let piece = MemPiece::default();
        MemSource {
            memtable: Arc::clone(memtable),
            piece,
            index: 0,
            piece_keys: PIECE_KEYS.start,
            copied_bytes: 0,
            copied_deleted: 0,
        }
    }

    /// What was copied last.
    #[inline]
    pub(crate) fn piece(&self) -> &MemPiece {
        &self.piece
    }

    /// What was copied in all, in about as many bytes as it takes in the memtable.
    pub(crate) fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// How many keys of that were deleted.
    pub(crate) fn copied_deleted(&self) -> u64 {
        self.copied_deleted
    }

    /// Where in it it stands.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Goes to a key of the piece, or to the first behind it.
    pub(crate) fn go_to(&mut self, index: usize, direction: Direction, at: Timestamp) {
        self.index = index;
        if index == self.piece.len() {
            self.index -= 1;
            self.advance(direction, at);
        }
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        (self.index < self.piece.len()).then(|| self.piece.key(self.index))
    }

    fn seek(&mut self, from: Bound<&[u8]>, direction: Direction, at: Timestamp) {
        self.piece_keys = PIECE_KEYS.start;
        self.copy(from, direction, at);
    }

    fn advance(&mut self, direction: Direction, at: Timestamp) {
        self.index += 1;
        if self.index == self.piece.len() {
            let last = self.piece.key(self.index - 1).to_vec();
            self.copy(Bound::Excluded(&last), direction, at);
        }
    }

    fn copy(&mut self, from: Bound<&[u8]>, direction: Direction, at: Timestamp) {
        let (bounds, backward) = match direction {
            Direction::Forward => (KeyBounds { lower: from, upper: Bound::Unbounded }, false),
            Direction::Backward => (KeyBounds { lower: Bound::Unbounded, upper: from }, true),
        };
        self.memtable.copy_piece(bounds, backward, at, self.piece_keys, &mut self.piece);
        self.copied_bytes += self.piece.memory_bytes();
        self.copied_deleted += self.piece.deleted();
        self.index = 0;
        self.piece_keys = (self.piece_keys * 2).min(PIECE_KEYS.end);
    }
}
