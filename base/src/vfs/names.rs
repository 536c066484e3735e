//! A tree of directories in memory: which name leads to which file. Shared by `mem.rs` and `sim/`.
//!
//! It knows names only; what a file is (`F`) is its owner's business. Errors are the kinds a unix gives for the same call,
//! so that code tested here behaves the same on a disk.
//!
//! VN1  Every directory but the root has exactly one name, and it stands in a directory.
//! VN2  A change either happens whole or the call is an error and nothing changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::DirEntry;

/// A directory, by number; [`ROOT`] is always there.
pub(super) type DirId = u64;
/// The directory that `/`, `.` and the empty path name.
pub(super) const ROOT: DirId = 0;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node<F> {
    File(F),
    Dir(DirId),
}

type Entries<F> = BTreeMap<String, Node<F>>;

/// The directories and their entries. A clone shares the directories until one of the two changes them.
#[derive(Clone, Debug)]
pub(super) struct Names<F> {
    dirs: BTreeMap<DirId, Arc<Entries<F>>>,
    next_dir: DirId,
}

/// A name that a path ends in, in a directory that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: DirId,
    pub(super) name: String,
}

impl<F: Clone> Names<F> {
    /// An empty root.
    pub(super) fn new() -> Names<F> {
        Names { dirs: BTreeMap::from([(ROOT, Arc::default())]), next_dir: ROOT + 1 }
    }

    /// The directory `path` names.
    pub(super) fn dir(&self, path: &Path) -> io::Result<DirId> {
        self.walk(&parts(path)?)
    }

    /// Where the last name of `path` stands or would stand. The root itself has no name.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let parts = parts(path)?;
        let (name, parents) = parts.split_last().ok_or(io::ErrorKind::IsADirectory)?;
        Ok(Place { dir: self.walk(parents)?, name: (*name).to_owned() })
    }

    /// What stands at `place`.
    pub(super) fn get(&self, place: &Place) -> Option<&Node<F>> {
        self.dirs[&place.dir].get(&place.name)
    }

    /// The file at `place`, if something is there; a directory is an error.
    pub(super) fn file(&self, place: &Place) -> io::Result<Option<&F>> {
        match self.get(place) {
            None => Ok(None),
            Some(Node::File(file)) => Ok(Some(file)),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// Gives a new file its name.
    pub(super) fn add_file(&mut self, place: &Place, file: F) {
        let before = self.entries_mut(place.dir).insert(place.name.clone(), Node::File(file));
        debug_assert!(before.is_none(), "VN2: a new file takes no other's name");
    }

    /// Makes an empty directory.
    pub(super) fn add_dir(&mut self, place: &Place) -> io::Result<DirId> {
        if self.get(place).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.next_dir;
        self.next_dir += 1;
        self.dirs.insert(id, Arc::default());
        self.entries_mut(place.dir).insert(place.name.clone(), Node::Dir(id));
        Ok(id)
    }

    /// Takes the name of a file away.
    pub(super) fn remove_file(&mut self, place: &Place) -> io::Result<F> {
        let file = self.file(place)?.ok_or(io::ErrorKind::NotFound)?.clone();
        self.entries_mut(place.dir).remove(&place.name);
        Ok(file)
    }

    /// Takes an empty directory away.
    pub(super) fn remove_dir(&mut self, place: &Place) -> io::Result<DirId> {
        let id = match self.get(place) {
            None => return Err(io::ErrorKind::NotFound.into()),
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(Node::Dir(id)) => *id,
        };
        if !self.dirs[&id].is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.dirs.remove(&id);
        self.entries_mut(place.dir).remove(&place.name);
        Ok(id)
    }

    /// Whether [`Names::rename`] would move something: `false` if both places are the same one.
    pub(super) fn check_rename(&self, from: &Place, to: &Place) -> io::Result<bool> {
        let moved = self.get(from).ok_or(io::ErrorKind::NotFound)?;
        if let Node::Dir(id) = moved
            && self.is_inside(to.dir, *id)
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if from.dir == to.dir && from.name == to.name {
            return Ok(false);
        }
        match (moved, self.get(to)) {
            (_, None) | (Node::File(_), Some(Node::File(_))) => Ok(true),
            (Node::File(_), Some(Node::Dir(_))) => Err(io::ErrorKind::IsADirectory.into()),
            (Node::Dir(_), Some(Node::File(_))) => Err(io::ErrorKind::NotADirectory.into()),
            (Node::Dir(_), Some(Node::Dir(id))) if self.dirs[id].is_empty() => Ok(true),
            (Node::Dir(_), Some(Node::Dir(_))) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    /// Moves a name, replacing a file (or an empty directory, by a directory) at `to`.
    pub(super) fn rename(&mut self, from: &Place, to: &Place) -> io::Result<()> {
        if !self.check_rename(from, to)? {
            return Ok(());
        }
        let node = self.entries_mut(from.dir).remove(&from.name).expect("checked above");
        if let Some(Node::Dir(id)) = self.entries_mut(to.dir).insert(to.name.clone(), node) {
            self.dirs.remove(&id);
        }
        Ok(())
    }

    /// The entries of a directory, sorted.
    pub(super) fn list(&self, dir: DirId) -> Vec<DirEntry> {
        self.dirs[&dir]
            .iter()
            .map(|(name, node)| DirEntry { name: name.clone(), is_dir: matches!(node, Node::Dir(_)) })
            .collect()
    }

    /// The entries of a directory, sorted by name.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn entries(&self, dir: DirId) -> impl Iterator<Item = (&str, &Node<F>)> {
        self.dirs[&dir].iter().map(|(name, node)| (name.as_str(), node))
    }

    fn entries_mut(&mut self, dir: DirId) -> &mut Entries<F> {
        Arc::make_mut(self.dirs.get_mut(&dir).expect("VN1: places name directories that exist"))
    }

    fn walk(&self, parts: &[&str]) -> io::Result<DirId> {
        let mut dir = ROOT;
        for part in parts {
            dir = match self.dirs[&dir].get(*part) {
                Some(Node::Dir(id)) => *id,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(dir)
    }

    /// Whether `dir` is `top` or below it.
    fn is_inside(&self, dir: DirId, top: DirId) -> bool {
        dir == top
            || self.dirs.get(&top).is_some_and(|entries| {
                entries.values().any(|node| matches!(node, Node::Dir(id) if self.is_inside(dir, *id)))
            })
    }
}

/// What a crash needs: single entries set as they were found on the disk, whether they fit together or not.
#[cfg(any(test, feature = "testing"))]
impl<F: Clone + PartialEq> Names<F> {
    /// Makes sure that there is a directory `id`, empty and without a name if it is new.
    pub(super) fn ensure_dir(&mut self, id: DirId) {
        self.dirs.entry(id).or_default();
        self.next_dir = self.next_dir.max(id + 1);
    }

    /// Makes `place` lead to `node`, or to nothing; what was there.
    pub(super) fn assign(&mut self, place: &Place, node: Option<Node<F>>) -> Option<Node<F>> {
        match node {
            Some(node) => self.entries_mut(place.dir).insert(place.name.clone(), node),
            None => self.entries_mut(place.dir).remove(&place.name),
        }
    }

    /// Every directory, with its number.
    pub(super) fn dirs(&self) -> impl Iterator<Item = DirId> {
        self.dirs.keys().copied()
    }

    /// Whether `node` has a name.
    pub(super) fn has(&self, node: &Node<F>) -> bool {
        self.dirs.values().any(|entries| entries.values().any(|other| other == node))
    }

    /// Takes every name of `node` away, so that it can get another (VN1).
    pub(super) fn unlink_everywhere(&mut self, node: &Node<F>) {
        for entries in self.dirs.values_mut() {
            if entries.values().any(|other| other == node) {
                Arc::make_mut(entries).retain(|_, other| other != node);
            }
        }
    }

    /// Forgets directories that no path leads to.
    pub(super) fn forget_unreachable(&mut self) {
        let mut reached = vec![ROOT];
        let mut next = 0;
        while let Some(dir) = reached.get(next).copied() {
            next += 1;
            reached.extend(self.dirs[&dir].values().filter_map(|node| match node {
                Node::Dir(id) => Some(*id),
                Node::File(_) => None,
            }));
        }
        if reached.len() < self.dirs.len() {
            self.dirs.retain(|id, _| reached.contains(id));
        }
    }
}

/// The names in a path, from the root. `.` is nothing, `..` goes back; a leading `/` changes nothing.
fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(parts)
}
