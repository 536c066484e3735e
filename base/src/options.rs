//! Limits of keys and values, and the options of one keyspace.

/// Most bytes of a key: four keys must fit one inner page.
pub const KEY_BYTES_MAX: usize = 16 * 1024 - 1;
/// Most bytes of a value. While it is committed and read it is in memory a few times (write set, log, memtable, answer), and each of these may be half
/// of the memory that there is: so it is far below the default budget's half, 128 MiB. Larger things are better split by who knows how they are read.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// Which structure stores a keyspace. On disk. Never renumber.
///
/// ```
/// assert_eq!(duramen_base::BackendKind::BTree.to_string(), "btree");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BackendKind {
    /// A B-link tree on shadow-paged files: fastest reads and scans.
    BTree = 1,
    /// A log-structured merge tree: fastest sustained writes, least space.
    Lsm = 2,
    /// A map in memory, obviously right, without files: the oracle of tests. Only with the feature `testing`.
    #[cfg(any(test, feature = "testing"))]
    Model = 255,
}

impl std::fmt::Display for BackendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackendKind::BTree => "btree",
            BackendKind::Lsm => "lsm",
            #[cfg(any(test, feature = "testing"))]
            BackendKind::Model => "model",
        })
    }
}

/// Whether blocks are stored compressed. On disk. Never renumber.
///
/// ```
/// use duramen_base::{BackendKind, Compression, KeyspaceOptions};
/// let options = KeyspaceOptions { compression: Compression::Lz4, ..KeyspaceOptions::new(BackendKind::Lsm) };
/// assert_eq!(KeyspaceOptions::new(BackendKind::Lsm).compression, Compression::None);
/// # assert_ne!(options.compression, Compression::None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// LSM keyspaces alone: with LZ4 in the last level, which holds most of the data, where a block gets smaller by an eighth or more. Loads, and reads of
    /// what is in memory, cost the same; a block that is read from a file costs some microseconds more (docs/benchmarks.md).
    Lz4 = 1,
}

/// What a keyspace is made of. Fixed when it is created but for the compression, stored in the catalog.
///
/// ```
/// use duramen_base::{BackendKind, KeyspaceOptions};
/// let options = KeyspaceOptions::new(BackendKind::Lsm);
/// assert_eq!(options.memtable_bytes, 16 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceOptions {
    /// Which structure.
    pub backend: BackendKind,
    /// Memory in bytes of one memtable before it is flushed (LSM: more if the keyspace is large, an eighth of the memory budget at most), or of one
    /// write buffer before it is drained (B-tree: more if the tree is large, a quarter of the memory budget at most); at least 4 KiB.
    pub memtable_bytes: u64,
    /// Page size to aim at in bytes: B-tree leaves, LSM data blocks; 1 KiB to 64 KiB. A page grows beyond it if one record asks.
    pub page_bytes: u32,
    /// Whether its files are compressed. Memory is not: caches hold blocks as they are read.
    pub compression: Compression,
}

impl KeyspaceOptions {
    /// The defaults for `backend`.
    pub fn new(backend: BackendKind) -> KeyspaceOptions {
        let page_bytes = match backend {
            BackendKind::BTree => 16 << 10,
            BackendKind::Lsm => 8 << 10,
            #[cfg(any(test, feature = "testing"))]
            BackendKind::Model => 8 << 10,
        };
        KeyspaceOptions { backend, memtable_bytes: 16 << 20, page_bytes, compression: Compression::None }
    }
}

impl From<BackendKind> for KeyspaceOptions {
    fn from(backend: BackendKind) -> KeyspaceOptions {
        KeyspaceOptions::new(backend)
    }
}
