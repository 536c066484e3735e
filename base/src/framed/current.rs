//! `CURRENT`: the one small text file of a folder that says which of its numbered files counts.
//!
//! On disk: CURRENT (current.hex)
//!
//! ```text
//!   CURRENT := name ' ' crc32(name) as 8 hex digits '\n'
//! ```
//! FR5  At any point of a crash `CURRENT` holds the old name or the new one: the text is written beside, synced, renamed, and the folder synced.

use std::path::Path;

use crate::error::{Error, IoOp, Result};
use crate::vfs::{File, OpenMode, Vfs};

const CURRENT: &str = "CURRENT";
const CURRENT_TMP: &str = "CURRENT.tmp";
const CURRENT_BYTES_MAX: usize = 256;

/// Makes `CURRENT` in `dir` name `target` (a file of that folder), durably: written beside, synced, renamed, folder synced.
///
/// The target must be durable before, its name included: this syncs the folder only after the switch. On error the old or the new name may be there after
/// a crash, so nothing that either needs may be removed.
///
/// ```
/// use duramen_base::framed::{read_current, switch_current};
/// use duramen_base::vfs::MemVfs;
/// let (disk, dir) = (MemVfs::new(), "".as_ref());
/// assert_eq!(read_current(&disk, dir)?, None);
/// switch_current(&disk, dir, "MANIFEST-1")?;
/// assert_eq!(read_current(&disk, dir)?.as_deref(), Some("MANIFEST-1"));
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub fn switch_current(vfs: &dyn Vfs, dir: &Path, target: &str) -> Result<()> {
    assert!(is_file_name(target), "CURRENT names a file of its folder, not {target:?}");
    let beside = dir.join(CURRENT_TMP);
    let file = File::open(vfs, &beside, OpenMode::OpenOrCreate)?;
    // A crash may have left one behind, longer than this.
    file.set_len(0)?;
    file.write_all_at(text(target).as_bytes(), 0)?;
    file.sync_data()?;
    let current = dir.join(CURRENT);
    vfs.rename(&beside, &current).map_err(|source| Error::from_io(IoOp::Rename, current, source))?;
    vfs.sync_dir(dir).map_err(|source| Error::from_io(IoOp::SyncDir, dir, source))
}

/// The file name that `CURRENT` in `dir` holds, checked by its checksum; `None` if there is no `CURRENT`.
pub fn read_current(vfs: &dyn Vfs, dir: &Path) -> Result<Option<String>> {
    let file = match File::open(vfs, &dir.join(CURRENT), OpenMode::Read) {
        Ok(file) => file,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; CURRENT_BYTES_MAX];
    let got = file.read_up_to_at(&mut bytes, 0)?;
    match parse(&bytes[..got]) {
        Some(target) => Ok(Some(target.to_owned())),
        None => Err(file.corruption(0, "CURRENT is not a file name with its checksum")),
    }
}

fn text(target: &str) -> String {
    format!("{target} {:08x}\n", crc32fast::hash(target.as_bytes()))
}

/// The name in `bytes` if they are exactly what is written for it.
fn parse(bytes: &[u8]) -> Option<&str> {
    let (target, _) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    (is_file_name(target) && text(target).as_bytes() == bytes).then_some(target)
}

fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=200).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(plain)
}
