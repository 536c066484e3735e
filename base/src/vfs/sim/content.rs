//! The bytes of one simulated file, as pages that versions of the file share.
//!
//! A clone costs a list of pointers; a change copies the page it touches. So a hundred thousand crash states of one run fit in
//! memory, and the digest of a page is computed once for all of them.
//!
//! SC1  Bytes at and behind `len` are zero.
//! SC2  A page that is not there reads as zeros and costs nothing.
//! SC3  The digest depends on the bytes and the length alone, not on which zero pages are there.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::hash;

/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = 4096;
/// A simulated file is at most this long.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 36;

/// One page; its digest is computed at most once.
#[derive(Clone)]
pub(super) struct Page {
    bytes: [u8; PAGE_BYTES as usize],
    digest: OnceLock<Option<u128>>,
}

impl Page {
    fn zero() -> Page {
        Page { bytes: [0; PAGE_BYTES as usize], digest: OnceLock::new() }
    }

    /// A page of bytes that mean nothing, one of a few.
    pub(super) fn garbage(variant: u64) -> Arc<Page> {
        static PAGES: OnceLock<Vec<Arc<Page>>> = OnceLock::new();
        let pages = PAGES.get_or_init(|| (0..8).map(|seed| Arc::new(Page::random(seed))).collect());
        Arc::clone(&pages[(variant % 8) as usize])
    }

    fn random(seed: u64) -> Page {
        let mut page = Page::zero();
        for (index, word) in page.bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&hash::choose(seed, index as u64).to_le_bytes());
        }
        page
    }

    /// `None` for a page of zeros (SC3).
    fn digest(&self) -> Option<u128> {
        *self.digest.get_or_init(|| self.bytes.iter().any(|byte| *byte != 0).then(|| hash::digest(&self.bytes)))
    }
}

/// The content of a file.
#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    pages: Vec<Option<Arc<Page>>>,
    digest: OnceLock<u128>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The page at `index`, if it is there.
    pub(super) fn page(&self, index: u64) -> Option<&Arc<Page>> {
        self.pages.get(index as usize)?.as_ref()
    }

    /// Copies what is at `offset` into `buf`; the bytes copied, fewer than asked at the end of the file.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let count = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut rest = &mut buf[..count];
        for (index, within) in pieces(offset..offset + count as u64) {
            let (piece, after) = rest.split_at_mut(within.len());
            match self.page(index) {
                Some(page) => piece.copy_from_slice(&page.bytes[within]),
                None => piece.fill(0),
            }
            rest = after;
        }
        count
    }

    /// Writes `bytes` at `offset`; the file grows if they end behind its end.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        let mut rest = bytes;
        for (index, within) in pieces(offset..end) {
            let (piece, after) = rest.split_at(within.len());
            self.page_mut(index)[within].copy_from_slice(piece);
            rest = after;
        }
        if !bytes.is_empty() {
            self.len = self.len.max(end);
        }
    }

    /// Makes `range` read as zeros; the length stays.
    pub(super) fn zero(&mut self, range: Range<u64>) {
        let there = range.start..range.end.min(self.pages.len() as u64 * PAGE_BYTES);
        for (index, within) in pieces(there) {
            let slot = &mut self.pages[index as usize];
            if within.len() as u64 == PAGE_BYTES {
                *slot = None;
            } else if slot.is_some() {
                self.page_mut(index)[within].fill(0);
            }
        }
        self.digest.take();
    }

    /// Cuts or grows the file (SC1).
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.zero(len..self.len);
            self.pages.truncate(len.div_ceil(PAGE_BYTES) as usize);
        }
        self.len = len;
        self.digest.take();
    }

    /// Makes `range` what it is in `other`; the length stays and must cover it.
    pub(super) fn copy_from(&mut self, other: &Content, range: Range<u64>) {
        debug_assert!(range.end <= self.len, "SC1: bytes behind the end stay zero");
        for (index, within) in pieces(range) {
            match other.page(index) {
                Some(page) if within.len() as u64 == PAGE_BYTES => self.put_page(index, Arc::clone(page)),
                Some(page) => self.page_mut(index)[within.clone()].copy_from_slice(&page.bytes[within]),
                None => {
                    let start = index * PAGE_BYTES;
                    self.zero(start + within.start as u64..start + within.end as u64);
                }
            }
        }
    }

    /// Puts a whole page; the length must cover it already.
    pub(super) fn put_page(&mut self, index: u64, page: Arc<Page>) {
        *self.slot(index) = Some(page);
    }

    /// All bytes; for tests and small files.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("simulated files fit in memory")];
        self.read(&mut bytes, 0);
        bytes
    }

    /// A digest of bytes and length (SC3).
    pub(super) fn digest(&self) -> u128 {
        *self.digest.get_or_init(|| {
            let mut sum = hash::digest(&self.len.to_le_bytes());
            for (index, page) in self.pages.iter().enumerate() {
                if let Some(of_page) = page.as_ref().and_then(|page| page.digest()) {
                    sum = hash::join(sum, of_page.wrapping_add(index as u128));
                }
            }
            sum
        })
    }

    fn slot(&mut self, index: u64) -> &mut Option<Arc<Page>> {
        self.digest.take();
        let index = index as usize;
        if index >= self.pages.len() {
            self.pages.resize(index + 1, None);
        }
        &mut self.pages[index]
    }

    fn page_mut(&mut self, index: u64) -> &mut [u8; PAGE_BYTES as usize] {
        let page = Arc::make_mut(self.slot(index).get_or_insert_with(|| Arc::new(Page::zero())));
        page.digest.take();
        &mut page.bytes
    }
}

/// Cuts a range of bytes at page ends: the page, and the range inside it.
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let index = at / PAGE_BYTES;
        let start = at % PAGE_BYTES;
        let count = (PAGE_BYTES - start).min(range.end - at);
        at += count;
        Some((index, start as usize..(start + count) as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut file = Content::default();
        file.write(4000, &[7; 200]);
        let before = file.clone();
        file.write(4090, b"changed");
        file.set_len(10);
        assert_eq!(before.len(), 4200);
        assert_eq!(before.to_vec()[4000..], [7; 200]);
    }

    #[test]
    fn a_cut_and_regrown_file_has_zeros() {
        let mut file = Content::default();
        file.write(0, &[7; 9000]);
        file.set_len(5000);
        file.set_len(9000);
        assert_eq!(file.to_vec()[..5000], [7; 5000]);
        assert_eq!(file.to_vec()[5000..], [0; 4000]);
    }

    #[test]
    fn equal_bytes_have_equal_digests_however_they_came_about() {
        let mut a = Content::default();
        a.write(0, &[7; 9000]);
        a.zero(0..8192);
        let mut b = Content::default();
        b.set_len(9000);
        b.write(8192, &[7; 808]);
        b.write(0, &[0; 10]);
        assert_eq!(a.to_vec(), b.to_vec());
        assert_eq!(a.digest(), b.digest());
        b.set_len(9001);
        assert_ne!(a.digest(), b.digest());
        b.set_len(9000);
        b.write(1, b"x");
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn equal_pages_at_other_places_have_another_digest() {
        let mut a = Content::default();
        a.set_len(8192);
        let mut b = a.clone();
        a.write(0, b"x");
        b.write(4096, b"x");
        assert_ne!(a.digest(), b.digest());
    }
}
