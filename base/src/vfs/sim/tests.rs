//! What the simulated disk promises, sentence by sentence.

mod agreement;
mod crash_states;
mod fault_kinds;
mod oracle;
mod speed;
mod stored;

use std::path::Path;
use std::sync::Arc;

use super::{CrashModel, Image, Keep, SimVfs};
use crate::vfs::{OpenMode, Vfs, VfsFile};

const MODELS: [CrashModel; 2] = [CrashModel::Strict, CrashModel::Ext4Like];

fn create(disk: &SimVfs, path: &str) -> Arc<dyn VfsFile> {
    disk.open(path.as_ref(), OpenMode::CreateNew).unwrap()
}

fn root() -> &'static Path {
    Path::new("")
}

/// A crash after everything that was done so far.
fn crash(disk: &SimVfs, model: CrashModel, keep: Keep) -> Image {
    let journal = disk.journal();
    journal.crash_at(journal.len(), model, keep, 512)
}

/// Contents that `path` can have after a crash now, over many choices; `None` where it is not there.
fn possible(disk: &SimVfs, model: CrashModel, path: &str) -> Vec<Option<Vec<u8>>> {
    let mut found: Vec<_> = Keep::each(1, 300).map(|keep| crash(disk, model, keep).read(path.as_ref())).collect();
    found.sort();
    found.dedup();
    found
}
