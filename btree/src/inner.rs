//! Inner pages as values: children in, images out. No page table, no latch, no file.
//!
//! I1  A page has at least one child; the first child's key is the page's low fence, the others ascend below its high fence.
//! I2  Every page can be cut so that each piece has at least two children: four of the longest keys fit an image.

use std::ops::Range;

use duramen_base::KeyspaceId;
use duramen_base::Timestamp;
use duramen_base::image::{Body, Image, ImageBuilder, ImageKind, ImageSpec};

use crate::leaf::{IMAGE_OVERHEAD_BYTES, cut_by_size};

const RECORD_OVERHEAD_BYTES: usize = 20;

/// A child: its page, and the low fence of that page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) key: Vec<u8>,
    pub(crate) pid: u64,
}

/// The children of an inner page.
pub(crate) fn children(image: &Image) -> Vec<Child> {
    (0..image.count())
        .map(|index| {
            let mut key = Vec::new();
            image.key_into(index, &mut key);
            Child { key, pid: image.child(index) }
        })
        .collect()
}

fn child_bytes(child: &Child) -> usize {
    child.key.len() + RECORD_OVERHEAD_BYTES
}

/// Bytes of an image with these children, about.
pub(crate) fn image_bytes(children: &[Child]) -> usize {
    IMAGE_OVERHEAD_BYTES + children.iter().map(child_bytes).sum::<usize>()
}

/// Where to cut so that pages have about `page_bytes`, but at least two children each (I2). One piece: it fits.
pub(crate) fn cut(children: &[Child], page_bytes: usize, appended: bool) -> Vec<Range<usize>> {
    if image_bytes(children) <= page_bytes || children.len() < 4 {
        return std::iter::once(0..children.len()).collect();
    }
    // Cutting pairs keeps every piece at two children or more.
    let sizes: Vec<usize> = children.chunks(2).map(|pair| pair.iter().map(child_bytes).sum()).collect();
    let mut runs = cut_by_size(&sizes, page_bytes.saturating_sub(IMAGE_OVERHEAD_BYTES), appended);
    // An odd last child alone would be a page with one child: let it go with its neighbour.
    if runs.len() > 1 && children.len() % 2 == 1 && runs.last().is_some_and(|last| last.len() == 1) {
        let last = runs.pop().expect("there are two runs");
        runs.last_mut().expect("there are two runs").end = last.end;
    }
    runs.into_iter().map(|run| run.start * 2..(run.end * 2).min(children.len())).collect()
}

/// Builds an inner page. `low` and `high` are its fences; the first child's key is replaced by `low` (I1).
pub(crate) fn build(children: &[Child], head: &InnerHead<'_>) -> Image {
    assert!(!children.is_empty(), "I1: a page has at least one child");
    let mut builder = ImageBuilder::new(&ImageSpec {
        kind: ImageKind::Inner,
        self_id: head.pid,
        ks_id: head.keyspace.get(),
        level: head.level,
        right_pid: head.right_pid,
        low: head.low,
        high: head.high,
    });
    for (index, child) in children.iter().enumerate() {
        let key = if index == 0 { head.low } else { &child.key };
        builder.push(key, Timestamp::ZERO, Body::Value(&child.pid.to_le_bytes()));
    }
    builder.finish()
}

/// What an inner page is, beside its children.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InnerHead<'a> {
    pub(crate) pid: u64,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) level: u8,
    pub(crate) right_pid: u64,
    pub(crate) low: &'a [u8],
    pub(crate) high: &'a [u8],
}

#[cfg(test)]
mod tests;
