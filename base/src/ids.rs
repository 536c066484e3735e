//! Ids as types of their own: two `u64`s can be swapped, two types cannot.
//!
//! None of these is wall-clock time or a memory address; all of them reach the disk as little-endian integers.

use std::fmt;

/// Place of a commit in the one order that every snapshot agrees on. A counter, not wall-clock time.
///
/// [`Timestamp::ZERO`] is before every commit. Unique among the commits that survive: one lost in a crash leaves its
/// number to the next.
///
/// ```
/// use duramen_base::Timestamp;
/// assert!(Timestamp::ZERO < Timestamp::new(1));
/// assert_eq!(Timestamp::new(1).next(), Timestamp::new(2));
/// assert_eq!(Timestamp::new(2).prev().get(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Before every commit.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After every commit; no commit ever has it.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The commit number `ts`.
    #[inline]
    pub const fn new(ts: u64) -> Timestamp {
        Timestamp(ts)
    }

    /// The number itself.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Timestamp {
        Timestamp(self.0 + 1)
    }

    /// The number before this one; that of [`Timestamp::ZERO`] is itself.
    #[inline]
    #[must_use]
    pub const fn prev(self) -> Timestamp {
        Timestamp(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ts {}", self.0)
    }
}

/// Byte position in the log, counted over all segments without their headers. Grows for ever, is never reused
/// within one `log_epoch`.
///
/// ```
/// use duramen_base::Lsn;
/// assert_eq!(Lsn::new(8).plus(16), Lsn::new(24));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// Start of the log.
    pub const ZERO: Lsn = Lsn(0);

    /// The position `lsn`, in bytes.
    #[inline]
    pub const fn new(lsn: u64) -> Lsn {
        Lsn(lsn)
    }

    /// The position in bytes.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on.
    #[inline]
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lsn {}", self.0)
    }
}

/// Number of a keyspace within its database. Never reused, also not after a drop; zero is never given out.
///
/// ```
/// use duramen_base::KeyspaceId;
/// assert_eq!(KeyspaceId::new(7).get(), 7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(u32);

impl KeyspaceId {
    /// The keyspace number `id`.
    #[inline]
    pub const fn new(id: u32) -> KeyspaceId {
        KeyspaceId(id)
    }

    /// The number itself.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keyspace {}", self.0)
    }
}

/// Identity of one database, drawn when it is created and stored in the header of each of its files, so that a file
/// copied in from another database is noticed.
///
/// ```
/// use duramen_base::DbUuid;
/// let uuid = DbUuid::from_bytes([1; 16]);
/// assert_eq!(uuid.to_string(), "01010101010101010101010101010101");
/// assert_eq!(uuid.bytes(), &[1; 16]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DbUuid([u8; 16]);

impl DbUuid {
    /// The identity with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> DbUuid {
        DbUuid(bytes)
    }

    /// Its bytes, as stored.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DbUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
