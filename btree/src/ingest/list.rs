//! The list of a run's leaves: the body of the file that a record of the log names.
//!
//! On disk: Run list (run_list.hex)
//!
//! The body of a list (`base/src/ingest.rs`); numbers are varints.
//! ```text
//!   list := write_seq, right_pid, length, high fence, page_count, page*      page := pid, unit, units, length, low fence
//! ```

use duramen_base::options::KEY_BYTES_MAX;
use duramen_base::varint;

use crate::map::DiskAddr;
use crate::pid_table::ROOT_PID;

/// Memory of a page of a run beside its low fence, about.
const PAGE_MEMORY_BYTES: u64 = 96;

/// A leaf of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunPage {
    pub(crate) low: Vec<u8>,
    pub(crate) pid: u64,
    pub(crate) addr: DiskAddr,
}

/// Leaves in key order, as the list has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunList {
    pub(crate) pages: Vec<RunPage>,
    /// High fence of the last page; empty: none, then it cannot be hung.
    pub(crate) high: Vec<u8>,
    /// Page id that the last one links to: it will have what lies behind.
    pub(super) right_pid: u64,
    pub(super) write_seq: u16,
}

impl RunList {
    /// The body of a list.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let put_bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
            varint::put(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        };
        varint::put(&mut out, u64::from(self.write_seq));
        varint::put(&mut out, self.right_pid);
        put_bytes(&mut out, &self.high);
        varint::put(&mut out, self.pages.len() as u64);
        for page in &self.pages {
            varint::put(&mut out, page.pid);
            varint::put(&mut out, page.addr.unit);
            varint::put(&mut out, u64::from(page.addr.units));
            put_bytes(&mut out, &page.low);
        }
        out
    }

    /// Decodes; `None` if anything is off. Total.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<RunList> {
        let rest = &mut bytes;
        let fence = |rest: &mut &[u8]| {
            varint::take_bytes(rest).filter(|fence| fence.len() <= KEY_BYTES_MAX).map(<[u8]>::to_vec)
        };
        let is_pid = |pid: &u64| (ROOT_PID + 1..1 << 40).contains(pid);
        let write_seq = u16::try_from(varint::take(rest)?).ok()?;
        let right_pid = varint::take(rest).filter(is_pid)?;
        let high = fence(rest)?;
        let count = varint::take(rest)?;
        let mut pages: Vec<RunPage> = Vec::new();
        for _ in 0..count {
            let pid = varint::take(rest).filter(is_pid)?;
            let unit = varint::take(rest).filter(|&unit| unit < 1 << 40)?;
            let units = u8::try_from(varint::take(rest)?).ok().filter(|units| (1..=64).contains(units))?;
            let low = fence(rest)?;
            let ascends = pages.last().is_none_or(|before| before.low < low);
            ascends.then_some(())?;
            pages.push(RunPage { low, pid, addr: DiskAddr { unit, units, write_seq } });
        }
        let ends = pages.last().is_some_and(|last| high.is_empty() || last.low < high);
        (rest.is_empty() && ends).then_some(RunList { pages, high, right_pid, write_seq })
    }

    pub(super) fn low(&self) -> &[u8] {
        &self.pages[0].low
    }

    /// Which page encloses `key`, if one does.
    pub(super) fn page_of(&self, key: &[u8]) -> Option<usize> {
        let index = self.pages.partition_point(|page| *page.low <= *key).checked_sub(1)?;
        (self.high.is_empty() || *key < *self.high).then_some(index)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.pages.iter().map(|page| page.low.len() as u64 + PAGE_MEMORY_BYTES).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duramen_base::golden;
    use proptest::prelude::*;

    fn sample() -> RunList {
        let page = |low: &[u8], pid, unit| RunPage {
            low: low.to_vec(),
            pid,
            addr: DiskAddr { unit, units: 4, write_seq: 0x0102 },
        };
        RunList {
            pages: vec![page(b"a", 300, 20), page(b"bc", 301, 24)],
            high: b"d".to_vec(),
            right_pid: 302,
            write_seq: 0x0102,
        }
    }

    #[test]
    fn a_list_has_these_bytes() {
        let pinned = golden::bytes(include_str!("../../tests/golden/run_list.hex"));
        assert_eq!(sample().encode(), pinned);
        assert_eq!(RunList::decode(&pinned), Some(sample()));
    }

    #[test]
    fn lists_that_cannot_be_are_refused() {
        let refused = |change: fn(&mut RunList)| {
            let mut list = sample();
            change(&mut list);
            assert_eq!(RunList::decode(&list.encode()), None);
        };
        refused(|list| list.pages.clear());
        refused(|list| list.pages.swap(0, 1));
        refused(|list| list.high = b"b".to_vec());
        refused(|list| list.right_pid = ROOT_PID);
        refused(|list| list.pages[0].addr.units = 65);
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..30, flip in 0usize..30) {
            RunList::decode(&bytes);
            let mut list = sample().encode();
            prop_assert_eq!(RunList::decode(&list[..cut.min(list.len() - 1)]), None);
            let at = flip % list.len();
            list[at] ^= 0xff;
            RunList::decode(&list);
        }
    }
}
