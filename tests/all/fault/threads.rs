//! A system that has no more threads: opening says so, and has lost nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use duramen::seams::{Executor, Job, JobHandle, ThreadExecutor};
use duramen::{BackendKind, Error, ErrorGroup, IoOp, Reader};
use duramen_base::vfs::sim::SimVfs;

use super::run::{FOLDER, small};

/// Has threads for the first few jobs.
struct Scarce {
    left: AtomicUsize,
}

impl Executor for Scarce {
    fn spawn(&self, name: &str, job: Box<dyn Job>) -> Result<JobHandle, Error> {
        if self.left.load(Ordering::SeqCst) == 0 {
            let source = std::io::ErrorKind::WouldBlock.into();
            return Err(Error::Io { op: IoOp::Spawn, path: name.into(), source });
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        ThreadExecutor.spawn(name, job)
    }
}

#[test]
fn without_a_thread_opening_is_an_error_and_nothing_is_lost() {
    let disk = SimVfs::new();
    let db = small(&disk).open(FOLDER).unwrap();
    let ks = db.keyspace("k", BackendKind::Lsm).unwrap();
    db.update(|tx| tx.put(&ks, "a", "1")).unwrap();
    db.close().unwrap();
    for left in [0, 1] {
        let scarce = Arc::new(Scarce { left: AtomicUsize::new(left) });
        let error = small(&disk).executor(scarce).open(FOLDER).unwrap_err();
        assert_eq!(error.group(), ErrorGroup::MendTheEnvironment);
        assert!(matches!(error, Error::Io { op: IoOp::Spawn, .. }), "{error}");
    }
    let db = small(&disk).open(FOLDER).unwrap();
    let ks = db.open_keyspace("k").unwrap();
    assert_eq!(db.snapshot().unwrap().get(&ks, "a").unwrap().as_deref(), Some(&b"1"[..]));
}
