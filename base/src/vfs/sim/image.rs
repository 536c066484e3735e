//! What a machine finds on its disk when it starts: directories, and the bytes of the files they lead to.
//!
//! A value: it never changes. A [`super::SimVfs`] runs on one and makes others.
//!
//! SI1  Every file of the image has a name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::content::Content;
use super::hash;
use crate::vfs::names::{DirId, Names, Node, ROOT};

/// A file, by number; a number is never used twice in a run.
pub(super) type FileId = u64;

/// The content of a disk, as found after a crash. A clone shares the bytes.
///
/// ```
/// use duramen_base::vfs::{sim::SimVfs, OpenMode, Vfs};
/// let disk = SimVfs::new();
/// disk.open("a".as_ref(), OpenMode::CreateNew)?.write_at(b"ring", 0)?;
/// assert_eq!(disk.image().read("a".as_ref()), Some(b"ring".to_vec()));
/// assert_ne!(disk.image().digest(), SimVfs::new().image().digest());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Image {
    pub(super) names: Names<FileId>,
    pub(super) files: BTreeMap<FileId, Arc<Content>>,
}

impl Image {
    /// An empty disk.
    pub fn empty() -> Image {
        Image { names: Names::new(), files: BTreeMap::new() }
    }

    /// The files that `names` lead to, each with the content that `content_of` gives (SI1).
    pub(super) fn build(mut names: Names<FileId>, mut content_of: impl FnMut(FileId) -> Arc<Content>) -> Image {
        names.forget_unreachable();
        let mut files = BTreeMap::new();
        walk(&names, ROOT, "", &mut |_, node| {
            if let Node::File(file) = node {
                files.entry(*file).or_insert_with(|| content_of(*file));
            }
        });
        Image { names, files }
    }

    /// A digest of all paths, sizes and bytes. Equal images have equal digests.
    pub fn digest(&self) -> u128 {
        let mut sum = 0;
        walk(&self.names, ROOT, "", &mut |path, node| {
            let content = match node {
                Node::File(file) => self.files[file].digest(),
                Node::Dir(_) => 1,
            };
            sum = hash::join(sum, hash::join(hash::digest(path.as_bytes()), content));
        });
        sum
    }

    /// Paths of all files, sorted, with their bytes in the file.
    pub fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        walk(&self.names, ROOT, "", &mut |path, node| {
            if let Node::File(file) = node {
                files.push((path.to_owned(), self.files[file].len()));
            }
        });
        files
    }

    /// The bytes of a file, if there is one at `path`.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let place = self.names.place(path).ok()?;
        let file = self.names.file(&place).ok()??;
        Some(self.files[file].to_vec())
    }

    /// Whether there is a file or directory at `path`.
    pub fn exists(&self, path: &Path) -> bool {
        self.names.dir(path).is_ok() || self.names.place(path).is_ok_and(|place| self.names.get(&place).is_some())
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.files()).finish()
    }
}

/// Visits everything below `dir`, in the order of names.
fn walk(names: &Names<FileId>, dir: DirId, path: &str, visit: &mut impl FnMut(&str, &Node<FileId>)) {
    for (name, node) in names.entries(dir) {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        visit(&path, node);
        if let Node::Dir(id) = node {
            walk(names, *id, &path, visit);
        }
    }
}
