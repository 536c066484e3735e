//! A stretch of a file in memory: who stores to it has written to the file, without a call.
//!
//! Not a way to read, and not one to make durable: `sync_data` covers what was stored as it covers what was written.
//!
//! MP1  Nobody in this process has a reference to mapped bytes of a file; they are stored to through the one owner of a mapping.
//! MP2  A store lies inside of the mapping.
//! MP3  Only file systems are mapped on which a page that was just written by a call takes stores without asking for space: there alone no store can
//!      fail while the device works. A store that fails ends the process (SIGBUS); whoever maps keeps that to moments in which a call would have worked.

use std::fs;
use std::ops::Range;

use memmap2::{MmapOptions, MmapRaw};

/// A stretch of a file to store to. See [`VfsFile::map`](super::VfsFile::map).
pub trait Mapped: Send {
    /// Stores `bytes` at `offset` of the file, as a write that cannot fail does. The process may die in the middle of it.
    ///
    /// # Panics
    /// If these bytes are not all mapped.
    fn store(&mut self, bytes: &[u8], offset: u64);
}

/// Where in the mapping of `range` a store of `len` bytes at `offset` goes (MP2).
pub(super) fn place_in(range: &Range<u64>, offset: u64, len: usize) -> usize {
    let fits = offset >= range.start && offset <= range.end && len as u64 <= range.end - offset;
    assert!(fits, "MP2: {len} bytes at {offset} are not in {range:?}");
    (offset - range.start) as usize
}

/// A stretch of a real file.
pub(super) struct OsMapped {
    map: MmapRaw,
    range: Range<u64>,
}

impl OsMapped {
    /// Maps `len` bytes from `offset`; none where they cannot be had, or not as MP3 says.
    pub(super) fn of(file: &fs::File, offset: u64, len: u64) -> Option<OsMapped> {
        let range = offset..offset.checked_add(len)?;
        if len == 0 || range.end > file.metadata().ok()?.len() || !takes_stores(file) {
            return None;
        }
        let map = MmapOptions::new().offset(offset).len(usize::try_from(len).ok()?).map_raw(file).ok()?;
        Some(OsMapped { map, range })
    }
}

impl Mapped for OsMapped {
    fn store(&mut self, bytes: &[u8], offset: u64) {
        let at = place_in(&self.range, offset, bytes.len());
        // SAFETY: by MP2 the target lies in the mapping, which is writable and lasts as long as `self`; by MP1 no reference to it exists, `bytes` included,
        // and `&mut self` keeps other stores away. What the system does with the file meanwhile is outside of the memory of the program.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(at), bytes.len()) }
    }
}

/// MP3: ext4 (and its elders), XFS, and files in memory. On file systems that copy on write each store may need a new block.
#[cfg(target_os = "linux")]
fn takes_stores(file: &fs::File) -> bool {
    const KINDS: [u64; 3] = [0xEF53, 0x5846_5342, 0x0102_1994];
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "its type differs between processors")]
    let is_one = |found: rustix::fs::StatFs| KINDS.contains(&(found.f_type as u64));
    rustix::fs::fstatfs(file).is_ok_and(is_one)
}

/// Elsewhere that is not known.
#[cfg(not(target_os = "linux"))]
fn takes_stores(_file: &fs::File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    fn file_of(bytes: &[u8]) -> (tempfile::TempDir, fs::File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        (dir, file)
    }

    #[test]
    fn what_is_stored_is_read_from_the_file_where_it_can_be_mapped() {
        let (_dir, file) = file_of(&[7; 20_000]);
        let Some(mut mapped) = OsMapped::of(&file, 5000, 10_000) else { return };
        mapped.store(b"first", 5000);
        mapped.store(b"", 15_000);
        mapped.store(b"last", 14_996);
        let mut found = [0; 20_000];
        file.read_exact_at(&mut found, 0).unwrap();
        let mut expected = [7; 20_000];
        expected[5000..5005].copy_from_slice(b"first");
        expected[14_996..15_000].copy_from_slice(b"last");
        assert!(found == expected);
        drop(mapped);
        file.sync_data().unwrap();
    }

    #[test]
    fn what_is_not_there_is_not_mapped() {
        let (_dir, file) = file_of(&[7; 5000]);
        assert!(OsMapped::of(&file, 0, 5001).is_none());
        assert!(OsMapped::of(&file, 100, 0).is_none());
        assert!(OsMapped::of(&file, u64::MAX, 2).is_none());
    }

    #[test]
    fn a_store_outside_is_refused() {
        let range = 4096..8192;
        assert_eq!((place_in(&range, 4096, 4096), place_in(&range, 8192, 0)), (0, 4096));
        for (offset, len) in [(4095, 1), (4096, 4097), (8192, 1), (u64::MAX, 1)] {
            assert!(
                std::panic::catch_unwind(|| place_in(&(4096..8192), offset, len)).is_err(),
                "MP2: {len} at {offset}"
            );
        }
    }
}
