//! A limit on all memory of this process, the page cache of what it reads included: a control group, where the machine lets us make one.
//!
//! F1  Pages that are in the page cache already count for whoever read them first: [`forget_files`] must have put them out.
//! F2  A group whose process was killed stays behind, empty; the next one that is made takes it away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::peer::{Outcome, broken};

const NAME: &str = "duramen-bench-";

/// Where groups are made, and what the file of the limit is called there.
#[derive(Clone, Copy)]
struct Kind {
    root: &'static str,
    limit: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind { root: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes" },
    Kind { root: "/sys/fs/cgroup", limit: "memory.max" },
];

/// A limit that is in force until it is dropped.
#[derive(Debug)]
pub struct Confined {
    root: &'static str,
    group: PathBuf,
}

/// Limits the memory of this process, all its threads and its page cache to `bytes` from now on.
///
/// # Errors
/// What the machine says if it lets nobody set limits, as most do for who is not root.
pub fn confine(bytes: u64) -> Result<Confined, String> {
    let tries = KINDS.map(|kind| confine_by(kind, bytes));
    let mut why = Vec::new();
    for tried in tries {
        match tried {
            Ok(confined) => return Ok(confined),
            Err(error) => why.push(error.to_string()),
        }
    }
    Err(format!("this machine lets us set no limit of memory: {}", why.join("; ")))
}

fn confine_by(kind: Kind, bytes: u64) -> std::io::Result<Confined> {
    remove_left_behind(kind);
    if Path::new(kind.root).join("cgroup.subtree_control").exists() {
        fs::write(Path::new(kind.root).join("cgroup.subtree_control"), "+memory")?;
    }
    let group = Path::new(kind.root).join(format!("{NAME}{}", std::process::id()));
    fs::create_dir(&group)?;
    let confined = Confined { root: kind.root, group };
    fs::write(confined.group.join(kind.limit), bytes.to_string())?;
    fs::write(confined.group.join("cgroup.procs"), std::process::id().to_string())?;
    Ok(confined)
}

/// F2. A group that is in use cannot be removed, so trying is safe.
fn remove_left_behind(kind: Kind) {
    let groups = fs::read_dir(kind.root).into_iter().flatten().flatten();
    for group in groups.filter(|group| group.file_name().to_string_lossy().starts_with(NAME)) {
        let _ = fs::remove_dir(group.path());
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(self.root).join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(&self.group);
    }
}

/// Writes every file below `folder` to the disk and puts it out of the page cache.
///
/// # Errors
/// A file cannot be read or synced.
pub fn forget_files(folder: &Path) -> Outcome<()> {
    for entry in fs::read_dir(folder).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.is_dir() {
            forget_files(&path)?;
        } else {
            let file = File::open(&path).map_err(broken)?;
            file.sync_all().map_err(broken)?;
            fadvise(&file, 0, None, Advice::DontNeed).map_err(broken)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_out_of_the_page_cache_and_stay_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("in")).expect("a folder");
        fs::write(folder.path().join("in/file"), vec![7; 100_000]).expect("a file");
        forget_files(folder.path()).expect("readable");
        assert_eq!(fs::read(folder.path().join("in/file")).expect("a file"), vec![7; 100_000]);
        assert!(forget_files(&folder.path().join("none")).is_err());
    }
}
