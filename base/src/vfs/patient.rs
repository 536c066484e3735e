//! A file system whose calls on names are repeated when a signal interrupts them.
//!
//! Signals (a profiler's, a debugger's) are no failures. [`File`](super::File) repeats what is done to files; this repeats opening, renaming,
//! removing, listing, locking and syncing a directory, for everybody above. It does not look at syncs of files (V2).

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::file::retry_interrupted;
use super::{DirEntry, FileLock, OpenMode, Vfs, VfsFile};

/// Repeats the interrupted calls of the file system inside.
///
/// ```
/// use std::sync::Arc;
/// use duramen_base::vfs::{MemVfs, PatientVfs, Vfs};
/// let disk = PatientVfs::around(Arc::new(MemVfs::new()));
/// disk.create_dir("grove".as_ref())?;
/// assert_eq!(disk.list("".as_ref())?.len(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PatientVfs(Arc<dyn Vfs>);

impl PatientVfs {
    /// The same file system, with patience.
    pub fn around(vfs: Arc<dyn Vfs>) -> Arc<dyn Vfs> {
        Arc::new(PatientVfs(vfs))
    }
}

impl Vfs for PatientVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        retry_interrupted(|| self.0.open(path, mode))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        retry_interrupted(|| self.0.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        retry_interrupted(|| self.0.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        retry_interrupted(|| self.0.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        retry_interrupted(|| self.0.remove_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        retry_interrupted(|| self.0.list(path))
    }

    /// An interrupted sync did not come to its end, and has forgotten no error of the disk: the next one reports it.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        retry_interrupted(|| self.0.sync_dir(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        retry_interrupted(|| self.0.lock(path))
    }

    fn holder_name(&self) -> String {
        self.0.holder_name()
    }

    fn random_bytes(&self) -> io::Result<[u8; 16]> {
        retry_interrupted(|| self.0.random_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::{Fault, FaultKind, OpKind, OsError, SimVfs};
    use super::*;

    #[test]
    fn calls_on_names_are_repeated_when_interrupted() {
        let disk = SimVfs::new();
        let patient = PatientVfs::around(Arc::new(disk.clone()));
        let kinds = [
            OpKind::CreateDir,
            OpKind::Create,
            OpKind::Open,
            OpKind::Rename,
            OpKind::List,
            OpKind::Lock,
            OpKind::RemoveFile,
            OpKind::SyncDir,
            OpKind::RemoveDir,
            OpKind::Random,
        ];
        for kind in kinds {
            disk.inject(Fault::new(FaultKind::Error(OsError::Interrupted)).on(&[kind]).times(2));
        }
        let path = |name: &'static str| Path::new(name);
        patient.create_dir(path("d")).unwrap();
        drop(patient.open(path("d/a"), OpenMode::CreateNew).unwrap());
        drop(patient.open(path("d/a"), OpenMode::Read).unwrap());
        patient.rename(path("d/a"), path("d/b")).unwrap();
        assert_eq!(patient.list(path("d")).unwrap().len(), 1);
        drop(patient.lock(path("d/b")).unwrap());
        patient.remove_file(path("d/b")).unwrap();
        patient.sync_dir(path("")).unwrap();
        patient.remove_dir(path("d")).unwrap();
        patient.random_bytes().unwrap();
        assert_eq!(disk.faults_struck(), 2 * kinds.len() as u64, "each kind was interrupted twice");
    }
}
