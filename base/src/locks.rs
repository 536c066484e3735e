//! Words about row locks: modes, what is locked, who waits for whom. Values for errors, reports and statistics.
//!
//! No rule stands here (which modes go together is in `txn`), and nothing is locked here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::conflict::TxnOrigin;
use crate::ids::KeyspaceId;

/// Number of a transaction within an open database, never reused while it is open. Another one for each retry.
///
/// ```
/// use duramen_base::TxnId;
/// assert_eq!(TxnId::new(88).to_string(), "txn 88");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(u64);

impl TxnId {
    /// The transaction number `id`.
    #[inline]
    pub const fn new(id: u64) -> TxnId {
        TxnId(id)
    }

    /// The number itself.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "txn {}", self.0)
    }
}

/// How a key or a range of keys is locked.
///
/// | held, asked | Shared | Update | Exclusive |
/// |-------------|--------|--------|-----------|
/// | Shared      | ok     | ok     | wait      |
/// | Update      | ok     | wait   | wait      |
/// | Exclusive   | wait   | wait   | wait      |
///
/// ```
/// use duramen_base::LockMode;
/// assert!(LockMode::Update.covers(LockMode::Shared));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// It must stay as it is; others may read it too.
    Shared,
    /// As shared, and the holder may come to write it: one such holder, so that two that read to write never wait for each other.
    Update,
    /// It is written.
    Exclusive,
}

impl LockMode {
    /// Whether a holder of this one needs no other lock to do what `other` is for.
    pub const fn covers(self, other: LockMode) -> bool {
        matches!(
            (self, other),
            (LockMode::Exclusive, _)
                | (LockMode::Update, LockMode::Update | LockMode::Shared)
                | (LockMode::Shared, LockMode::Shared)
        )
    }
}

/// How a whole keyspace is locked. Locks on keys and ranges take the intents by themselves.
///
/// | held, asked     | IntentShared | IntentExclusive | Shared | Exclusive |
/// |-----------------|--------------|-----------------|--------|-----------|
/// | IntentShared    | ok           | ok              | ok     | wait      |
/// | IntentExclusive | ok           | ok              | wait   | wait      |
/// | Shared          | ok           | wait            | ok     | wait      |
/// | Exclusive       | wait         | wait            | wait   | wait      |
///
/// ```
/// use duramen_base::{KeyspaceLockMode, LockStrength};
/// assert_eq!(LockStrength::from(KeyspaceLockMode::IntentShared).to_string(), "IS");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyspaceLockMode {
    /// Some of its keys are read.
    IntentShared,
    /// Some of its keys are written.
    IntentExclusive,
    /// All of it is read.
    Shared,
    /// All of it is written.
    Exclusive,
}

/// A mode of either kind, for reports.
///
/// ```
/// use duramen_base::{LockMode, LockStrength};
/// assert_eq!(LockStrength::from(LockMode::Update).to_string(), "U");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum LockStrength {
    IntentShared,
    IntentExclusive,
    Shared,
    Update,
    Exclusive,
}

impl From<LockMode> for LockStrength {
    fn from(mode: LockMode) -> LockStrength {
        match mode {
            LockMode::Shared => LockStrength::Shared,
            LockMode::Update => LockStrength::Update,
            LockMode::Exclusive => LockStrength::Exclusive,
        }
    }
}

impl From<KeyspaceLockMode> for LockStrength {
    fn from(mode: KeyspaceLockMode) -> LockStrength {
        match mode {
            KeyspaceLockMode::IntentShared => LockStrength::IntentShared,
            KeyspaceLockMode::IntentExclusive => LockStrength::IntentExclusive,
            KeyspaceLockMode::Shared => LockStrength::Shared,
            KeyspaceLockMode::Exclusive => LockStrength::Exclusive,
        }
    }
}

impl fmt::Display for LockStrength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockStrength::IntentShared => "IS",
            LockStrength::IntentExclusive => "IX",
            LockStrength::Shared => "S",
            LockStrength::Update => "U",
            LockStrength::Exclusive => "X",
        })
    }
}

/// Which call of the program asked for a lock.
///
/// ```
/// use duramen_base::LockOp;
/// assert_eq!(LockOp::GetForUpdate.to_string(), "get_for_update");
/// assert!(LockOp::Put.is_blind() && !LockOp::GetForUpdate.is_blind());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum LockOp {
    Get,
    GetForShare,
    GetForUpdate,
    Update,
    Scan,
    ScanForShare,
    ScanForUpdate,
    Put,
    Delete,
    DeleteRange,
    Lock,
    Commit,
}

impl LockOp {
    /// Whether the program learned nothing by it: then undoing the call to a savepoint may let the lock go.
    pub const fn is_blind(self) -> bool {
        matches!(self, LockOp::Put | LockOp::Delete | LockOp::DeleteRange | LockOp::Commit)
    }
}

impl fmt::Display for LockOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockOp::Get => "get",
            LockOp::GetForShare => "get_for_share",
            LockOp::GetForUpdate => "get_for_update",
            LockOp::Update => "update",
            LockOp::Scan => "range",
            LockOp::ScanForShare => "range_for_share",
            LockOp::ScanForUpdate => "range_for_update",
            LockOp::Put => "put",
            LockOp::Delete => "delete",
            LockOp::DeleteRange => "delete_range",
            LockOp::Lock => "lock",
            LockOp::Commit => "commit",
        })
    }
}

/// What a lock covers within its keyspace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LockTarget {
    /// One key, present or not.
    Key(Vec<u8>),
    /// Every key from `low` up to, without, `high`, present or not.
    Range {
        /// The low end.
        low: Vec<u8>,
        /// The high end, exclusive; `None`: to the end of the keyspace.
        high: Option<Vec<u8>>,
    },
    /// The whole keyspace.
    Keyspace,
}

/// A lock that is held or asked for.
///
/// ```
/// use duramen_base::{KeyspaceId, LockClaim, LockOp, LockStrength, LockTarget};
/// let claim = LockClaim {
///     keyspace: KeyspaceId::new(3),
///     keyspace_name: Some("accounts".into()),
///     target: LockTarget::Key(b"bob".to_vec()),
///     strength: LockStrength::Exclusive,
///     op: LockOp::Put,
/// };
/// assert_eq!(claim.to_string(), "X on accounts key \"bob\"");
/// assert_eq!(claim.place().to_string(), "accounts key \"bob\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockClaim {
    /// Keyspace it lies in.
    pub keyspace: KeyspaceId,
    /// Name of the keyspace, where it is known.
    pub keyspace_name: Option<Arc<str>>,
    /// What it covers.
    pub target: LockTarget,
    /// How strongly.
    pub strength: LockStrength,
    /// The call that asked for it.
    pub op: LockOp,
}

impl LockClaim {
    /// Where it is, without the mode: `accounts key "bob"`.
    pub fn place(&self) -> impl fmt::Display + '_ {
        Place(self)
    }
}

impl fmt::Display for LockClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.strength, self.place())
    }
}

struct Place<'a>(&'a LockClaim);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.keyspace_name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{}", self.0.keyspace)?,
        }
        match &self.0.target {
            LockTarget::Key(key) => write!(f, " key \"{}\"", key.escape_ascii()),
            LockTarget::Range { low, high: Some(high) } => {
                write!(f, " [\"{}\"..\"{}\")", low.escape_ascii(), high.escape_ascii())
            }
            LockTarget::Range { low, high: None } => write!(f, " [\"{}\"..)", low.escape_ascii()),
            LockTarget::Keyspace => f.write_str(" (whole)"),
        }
    }
}

/// A transaction as reports name it.
///
/// ```
/// use duramen_base::{TxnId, TxnInfo, TxnOrigin};
/// use std::time::Duration;
/// let info = TxnInfo {
///     id: TxnId::new(88),
///     origin: TxnOrigin::here(Some("transfer")),
///     isolation: "Serializable/Pessimistic",
///     age: Duration::from_millis(12),
///     ticket: 88,
///     attempt: 1,
///     priority: 0,
/// };
/// assert!(info.to_string().starts_with("txn 88 \"transfer\" begun at "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnInfo {
    /// Its number.
    pub id: TxnId,
    /// What the program called it, and where it began.
    pub origin: TxnOrigin,
    /// Level and mode, as text.
    pub isolation: &'static str,
    /// How long ago the first attempt of it began.
    pub age: Duration,
    /// Its place in the order of age: smaller is older. Retries keep it.
    pub ticket: u64,
    /// 1 for the first run, 2 for the first retry.
    pub attempt: u32,
    /// What the program gave it; only the policy `Priority` looks at it.
    pub priority: i32,
}

impl TxnInfo {
    /// `txn 88 "transfer"`.
    pub fn name(&self) -> impl fmt::Display + '_ {
        Name(self)
    }
}

impl fmt::Display for TxnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.origin)
    }
}

struct Name<'a>(&'a TxnInfo);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.id)?;
        self.0.origin.label.map_or(Ok(()), |label| write!(f, " {label:?}"))
    }
}

/// Somebody in the way of a request.
///
/// See [`LockWait`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockBlocker {
    /// Who.
    pub txn: TxnInfo,
    /// The lock it holds, or asked for earlier.
    pub claim: LockClaim,
    /// Whether it holds the lock; if not, it only stands before the request in the queue.
    pub holds: bool,
}

/// A request for a lock that was not granted, or not yet.
///
/// ```
/// use duramen_base::{KeyspaceId, LockClaim, LockOp, LockStrength, LockTarget, LockWait};
/// use std::time::Duration;
/// let wait = LockWait {
///     wanted: LockClaim {
///         keyspace: KeyspaceId::new(3),
///         keyspace_name: None,
///         target: LockTarget::Range { low: b"a".to_vec(), high: None },
///         strength: LockStrength::Shared,
///         op: LockOp::Scan,
///     },
///     waited: Duration::from_secs(10),
///     blockers: vec![],
///     same_thread: false,
/// };
/// assert_eq!(wait.to_string(), "S on keyspace 3 [\"a\"..) after 10s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// What was asked for.
    pub wanted: LockClaim,
    /// How long it waited.
    pub waited: Duration,
    /// Who was in the way at the end, as far as known.
    pub blockers: Vec<LockBlocker>,
    /// Whether a holder was last called from the very thread that waits: unless another thread goes on with it, it never ends.
    pub same_thread: bool,
}

impl fmt::Display for LockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:?}", self.wanted, self.waited)?;
        for (index, blocker) in self.blockers.iter().enumerate() {
            let verb = if blocker.holds { "holds" } else { "asked earlier for" };
            let claim = &blocker.claim;
            write!(f, "{} {} {verb} {claim} (by {})", if index == 0 { ":" } else { ";" }, blocker.txn, claim.op)?;
        }
        if self.same_thread {
            f.write_str(
                "; the holder was last called from the thread that waits, so this wait could not end by itself",
            )?;
        }
        Ok(())
    }
}
