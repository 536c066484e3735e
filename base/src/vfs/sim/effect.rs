//! What a call changes, as an effect that can be applied, or lost, by itself: on the names, or on one file.
//!
//! Effects know nothing of syncs and crashes; `replay.rs` says which are pending, `crash.rs` which are kept.

use std::ops::Range;
use std::sync::Arc;

use super::content::Content;
use super::image::FileId;
use crate::vfs::names::{DirId, Names, Node, Place};

/// A change of names.
#[derive(Clone)]
pub(super) enum NameEffect {
    Link {
        place: Place,
        node: Node<FileId>,
    },
    Unlink {
        place: Place,
    },
    /// A side that a later, already durable change has overwritten is `None`.
    Move {
        from: Option<Place>,
        to: Option<Place>,
        node: Node<FileId>,
    },
}

/// A change of one file.
#[derive(Clone)]
pub(super) enum DataEffect {
    Write {
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Zero {
        range: Range<u64>,
    },
    /// The bytes that `set_len` made zero, by cutting or growing.
    SetLen {
        range: Range<u64>,
    },
    Punch {
        range: Range<u64>,
    },
    Revert {
        to: Arc<Content>,
    },
}

impl DataEffect {
    /// The bytes it touches.
    pub(super) fn range(&self) -> Range<u64> {
        match self {
            DataEffect::Write { offset, bytes } => *offset..*offset + bytes.len() as u64,
            DataEffect::Zero { range } | DataEffect::SetLen { range } | DataEffect::Punch { range } => range.clone(),
            DataEffect::Revert { to } => 0..to.len(),
        }
    }

    /// Whether the file system keeps it in the order of names (SR3).
    pub(super) fn is_meta(&self) -> bool {
        match self {
            DataEffect::SetLen { .. } | DataEffect::Punch { .. } => true,
            DataEffect::Write { .. } | DataEffect::Zero { .. } | DataEffect::Revert { .. } => false,
        }
    }
}

impl NameEffect {
    /// Changes the names; what lost one without getting another.
    pub(super) fn apply(&self, names: &mut Names<FileId>) -> Option<Node<FileId>> {
        match self {
            NameEffect::Link { place, node } => names.assign(place, Some(node.clone())),
            NameEffect::Unlink { place } => names.assign(place, None),
            NameEffect::Move { from, to, node } => {
                if let Some(from) = from
                    && names.get(from) == Some(node)
                {
                    names.assign(from, None);
                }
                // The change that brought it to `from` may have been lost, so it may still have an older name.
                let Some(to) = to else { return Some(node.clone()) };
                names.unlink_everywhere(node);
                names.assign(to, Some(node.clone()))
            }
        }
    }

    /// A later change of the same place is durable already: this one must not undo it when it becomes durable.
    pub(super) fn give_way_to(&mut self, later: &NameEffect) {
        if let NameEffect::Move { from, to, .. } = self {
            for side in [from, to] {
                side.take_if(|place| later.touches(place));
            }
        }
    }

    /// Whether all it changes is in `dir`.
    pub(super) fn is_in(&self, dir: DirId) -> bool {
        match self {
            NameEffect::Link { place, .. } | NameEffect::Unlink { place } => place.dir == dir,
            NameEffect::Move { from, to, .. } => [from, to].into_iter().flatten().all(|place| place.dir == dir),
        }
    }

    fn touches(&self, place: &Place) -> bool {
        match self {
            NameEffect::Link { place: own, .. } | NameEffect::Unlink { place: own } => own == place,
            NameEffect::Move { from, to, .. } => from.as_ref() == Some(place) || to.as_ref() == Some(place),
        }
    }
}
