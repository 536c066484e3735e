//! What errors say about conflicts: between whom, and about which keys.
//!
//! Words only. Who is in conflict is decided by the crate of transactions and by the engine.

use std::fmt;
use std::panic::Location;

use crate::ids::{KeyspaceId, Timestamp};

/// Which transaction, in words that mean something in the program: its label, and where it was begun.
///
/// ```
/// use duramen_base::TxnOrigin;
/// let audit = TxnOrigin::here(Some("audit"));
/// assert!(audit.to_string().starts_with("\"audit\" begun at "));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnOrigin {
    /// The label it was given.
    pub label: Option<&'static str>,
    /// Where in the program it was begun.
    pub begun_at: &'static Location<'static>,
}

impl TxnOrigin {
    /// A transaction begun where this is called.
    #[track_caller]
    #[inline]
    pub fn here(label: Option<&'static str>) -> TxnOrigin {
        TxnOrigin { label, begun_at: Location::caller() }
    }
}

impl fmt::Display for TxnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = self.label {
            write!(f, "{label:?} ")?;
        }
        write!(f, "begun at {}:{}", self.begun_at.file(), self.begun_at.line())
    }
}

/// A key, or a range of keys, that a conflict is about.
///
/// ```
/// use duramen_base::{ConflictPlace, KeyspaceId};
/// let place = ConflictPlace { keyspace: KeyspaceId::new(1), key: b"a".to_vec(), range_end: Some(b"c".to_vec()) };
/// assert_eq!(place.to_string(), "keyspace 1 key \"a\"..\"c\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictPlace {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// The key, or the low end of the range.
    pub key: Vec<u8>,
    /// The high end (exclusive), if it is a range; empty: to the end of the keyspace.
    pub range_end: Option<Vec<u8>>,
}

impl fmt::Display for ConflictPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key \"{}\"", self.keyspace, self.key.escape_ascii())?;
        match &self.range_end {
            Some(end) => write!(f, "..\"{}\"", end.escape_ascii()),
            None => Ok(()),
        }
    }
}

/// What two transactions disagreed about.
///
/// ```
/// use duramen_base::{ConflictInfo, KeyspaceId, Timestamp};
/// let conflict = ConflictInfo {
///     keyspace: KeyspaceId::new(1),
///     key: b"alice".to_vec(),
///     range_end: None,
///     snapshot_ts: Timestamp::new(7),
///     newer_ts: Some(Timestamp::new(9)),
///     other: None,
/// };
/// assert_eq!(conflict.to_string(), "keyspace 1 key \"alice\" read at ts 7, written at ts 9");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictInfo {
    /// Keyspace of the conflict.
    pub keyspace: KeyspaceId,
    /// The key, or the low end of the range.
    pub key: Vec<u8>,
    /// The high end (exclusive), if it is about a range; empty: to the end of the keyspace.
    pub range_end: Option<Vec<u8>>,
    /// Snapshot of the transaction that failed.
    pub snapshot_ts: Timestamp,
    /// The newer commit it met, where one is known.
    pub newer_ts: Option<Timestamp>,
    /// The transaction in the way, where it is known: a commit is remembered for some thousand commits after it.
    pub other: Option<TxnOrigin>,
}

impl fmt::Display for ConflictInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key \"{}\"", self.keyspace, self.key.escape_ascii())?;
        if let Some(end) = &self.range_end {
            write!(f, "..\"{}\"", end.escape_ascii())?;
        }
        write!(f, " read at {}", self.snapshot_ts)?;
        if let Some(newer) = self.newer_ts {
            write!(f, ", written at {newer}")?;
        }
        match &self.other {
            Some(other) => write!(f, " by transaction {other}"),
            None => Ok(()),
        }
    }
}

/// One transaction of an [`SsiReport`].
///
/// See [`SsiReport`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsiParty {
    /// Which one; not known if only its number was kept.
    pub origin: Option<TxnOrigin>,
    /// What it read at, if that is known.
    pub snapshot_ts: Option<Timestamp>,
    /// When it committed; `None`: it is the one that failed.
    pub commit_ts: Option<Timestamp>,
}

impl fmt::Display for SsiParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commit_ts {
            None => f.write_str("this transaction")?,
            Some(ts) => write!(f, "the commit at {ts}")?,
        }
        match &self.origin {
            Some(origin) if self.commit_ts.is_some() => write!(f, " ({origin})"),
            _ => Ok(()),
        }
    }
}

/// Why a serializable transaction could not commit: three transactions, of which the first read what the second overwrote and the second read
/// what the third overwrote, while the third committed first. The first and the third may be one. (Cahill, Röhm and Fekete, 2008.)
///
/// ```
/// use duramen_base::{SsiParty, SsiReport, Timestamp, TxnOrigin};
/// let me = SsiParty { origin: Some(TxnOrigin::here(Some("on call"))), snapshot_ts: Some(Timestamp::new(4)), commit_ts: None };
/// let other = SsiParty { commit_ts: Some(Timestamp::new(5)), ..me };
/// let report = SsiReport { reader: other, pivot: me, writer: other, read: None, overwritten: None };
/// assert!(report.to_string().starts_with("this transaction read what the commit at ts 5"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsiReport {
    /// Read something before the pivot's write to it.
    pub reader: SsiParty,
    /// Stands between the two.
    pub pivot: SsiParty,
    /// Overwrote what the pivot read, and committed first of the three.
    pub writer: SsiParty,
    /// What the reader read and the pivot wrote, if it is known.
    pub read: Option<ConflictPlace>,
    /// What the pivot read and the writer wrote, if it is known.
    pub overwritten: Option<ConflictPlace>,
}

impl fmt::Display for SsiReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} read what {} overwrote", self.pivot, self.writer)?;
        if let Some(place) = &self.overwritten {
            write!(f, " ({place})")?;
        }
        write!(f, ", and overwrote what {} read", self.reader)?;
        match &self.read {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}
