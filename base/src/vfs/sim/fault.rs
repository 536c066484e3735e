//! Faults: which calls of the simulated disk fail, and how.
//!
//! Deterministic: a fault counts the calls it could strike and strikes those it was told to, so that a test can walk
//! n = 1, 2, 3.. until a run ends without having met its fault.
//!
//! SF1  A fault counts only calls that it suits, of the kinds and paths it was given.
//! SF2  A call that answers with an error has changed nothing, except by [`FaultKind::PartialThenError`] and
//!     [`FaultKind::SyncDrops`].

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// A kind of call.
///
/// ```
/// use duramen_base::vfs::{sim::{OpKind, SimVfs}, Vfs};
/// let disk = SimVfs::new();
/// disk.create_dir("d".as_ref())?;
/// assert_eq!(disk.journal().kind(0), Some(OpKind::CreateDir));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum OpKind {
    Open,
    Create,
    Read,
    Write,
    WriteZeros,
    SetLen,
    Punch,
    SyncData,
    Len,
    CreateDir,
    Rename,
    RemoveFile,
    RemoveDir,
    List,
    SyncDir,
    Lock,
    Random,
}

impl OpKind {
    /// Every kind.
    pub const ALL: [OpKind; 17] = [
        OpKind::Open,
        OpKind::Create,
        OpKind::Read,
        OpKind::Write,
        OpKind::WriteZeros,
        OpKind::SetLen,
        OpKind::Punch,
        OpKind::SyncData,
        OpKind::Len,
        OpKind::CreateDir,
        OpKind::Rename,
        OpKind::RemoveFile,
        OpKind::RemoveDir,
        OpKind::List,
        OpKind::SyncDir,
        OpKind::Lock,
        OpKind::Random,
    ];
}

/// An error of the operating system.
///
/// ```
/// use duramen_base::vfs::sim::OsError;
/// assert_eq!(OsError::NoSpace.to_io().kind(), std::io::ErrorKind::StorageFull);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OsError {
    /// EIO: the device failed.
    Io,
    /// ENOSPC: no space left.
    NoSpace,
    /// EDQUOT: the user's share is used up.
    Quota,
    /// EMFILE: too many open files.
    TooManyFiles,
    /// EINTR: a signal came first; calling again is right.
    Interrupted,
    /// EROFS: the file system can only be read.
    ReadOnly,
}

impl OsError {
    /// The error as the standard library reports it.
    pub fn to_io(self) -> io::Error {
        io::Error::from(match self {
            OsError::Io => Errno::IO,
            OsError::NoSpace => Errno::NOSPC,
            OsError::Quota => Errno::DQUOT,
            OsError::TooManyFiles => Errno::MFILE,
            OsError::Interrupted => Errno::INTR,
            OsError::ReadOnly => Errno::ROFS,
        })
    }
}

/// What goes wrong. See [`Fault`] for when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The call answers with an error and does nothing.
    Error(OsError),
    /// A write writes its first half, then answers with an error.
    PartialThenError(OsError),
    /// A read gives half of what it could.
    ShortRead,
    /// A write takes half of what it was given.
    ShortWrite,
    /// A sync of a file answers EIO and drops what was not synced, so that the next sync finds nothing to do.
    SyncDrops,
    /// A sync answers that all is well and does nothing.
    SyncLies,
    /// A read gives one wrong bit: this one, counted from the start of the bytes read, modulo their number.
    BitFlip(u64),
    /// A write answers that all is well and writes nothing.
    LostWrite,
    /// A write goes to another place of the file, this many bytes on (or back, but not before its start).
    MisdirectedWrite(i64),
    /// A read gives each 4 KiB block as it was before the last write to it.
    StaleRead,
}

impl FaultKind {
    /// SF1: whether it can strike a call of kind `op`.
    fn suits(self, op: OpKind) -> bool {
        match self {
            FaultKind::Error(_) => true,
            FaultKind::PartialThenError(_) => matches!(op, OpKind::Write | OpKind::WriteZeros),
            FaultKind::ShortRead | FaultKind::BitFlip(_) | FaultKind::StaleRead => op == OpKind::Read,
            FaultKind::ShortWrite | FaultKind::LostWrite | FaultKind::MisdirectedWrite(_) => op == OpKind::Write,
            FaultKind::SyncDrops => op == OpKind::SyncData,
            FaultKind::SyncLies => matches!(op, OpKind::SyncData | OpKind::SyncDir),
        }
    }
}

/// One fault: what goes wrong, on which calls, when and how often.
///
/// ```
/// use duramen_base::vfs::sim::{Fault, FaultKind, OpKind, OsError, SimVfs};
/// use duramen_base::vfs::{OpenMode, Vfs};
/// let disk = SimVfs::new();
/// disk.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[OpKind::Write]).at(2));
/// let file = disk.open("a".as_ref(), OpenMode::CreateNew)?;
/// assert!(file.write_at(b"x", 0).is_ok());
/// assert!(file.write_at(b"y", 1).is_err());
/// assert!(file.write_at(b"y", 1).is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    kind: FaultKind,
    ops: Option<Vec<OpKind>>,
    path_contains: Option<String>,
    at: u64,
    times: u64,
}

impl Fault {
    /// Strikes the first call it suits, once.
    pub fn new(kind: FaultKind) -> Fault {
        Fault { kind, ops: None, path_contains: None, at: 1, times: 1 }
    }

    /// Only calls of these kinds.
    pub fn on(mut self, ops: &[OpKind]) -> Fault {
        self.ops = Some(ops.to_vec());
        self
    }

    /// Only calls about paths that contain `part`.
    pub fn path_contains(mut self, part: &str) -> Fault {
        self.path_contains = Some(part.to_owned());
        self
    }

    /// Strikes first at the `at`-th of those calls; the first is 1.
    pub fn at(mut self, at: u64) -> Fault {
        self.at = at;
        self
    }

    /// Strikes that many calls in a row.
    pub fn times(mut self, times: u64) -> Fault {
        self.times = times;
        self
    }

    /// Strikes every call from the first one on.
    pub fn for_ever(self) -> Fault {
        self.times(u64::MAX)
    }

    fn concerns(&self, op: OpKind, path: &Path) -> bool {
        self.kind.suits(op)
            && self.ops.as_ref().is_none_or(|ops| ops.contains(&op))
            && self.path_contains.as_ref().is_none_or(|part| path.to_string_lossy().contains(part.as_str()))
    }
}

/// The faults of a disk, with their counts.
#[derive(Default)]
pub(super) struct Faults {
    active: Vec<(Fault, u64)>,
    struck: u64,
}

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.active.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.active.clear();
    }

    /// Calls struck so far.
    pub(super) fn struck(&self) -> u64 {
        self.struck
    }

    /// Counts a call and says what goes wrong with it.
    pub(super) fn draw(&mut self, op: OpKind, path: &Path) -> Option<FaultKind> {
        let mut drawn = None;
        for (fault, seen) in &mut self.active {
            if fault.concerns(op, path) {
                *seen += 1;
                if drawn.is_none() && *seen >= fault.at && *seen - fault.at < fault.times {
                    drawn = Some(fault.kind);
                }
            }
        }
        self.struck += u64::from(drawn.is_some());
        drawn
    }
}
