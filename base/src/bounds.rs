//! A key interval, borrowed: what a scan covers.

use std::cmp::Ordering;
use std::ops::Bound;

/// Keys between two bounds, in bytewise order.
///
/// ```
/// use duramen_base::KeyBounds;
/// let bounds = KeyBounds::half_open(b"a", b"c");
/// assert!(bounds.contains(b"b") && !bounds.contains(b"c"));
/// assert!(KeyBounds::half_open(b"c", b"a").is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBounds<'a> {
    /// Low end.
    pub lower: Bound<&'a [u8]>,
    /// High end.
    pub upper: Bound<&'a [u8]>,
}

impl<'a> KeyBounds<'a> {
    /// All keys.
    pub const ALL: KeyBounds<'static> = KeyBounds { lower: Bound::Unbounded, upper: Bound::Unbounded };

    /// Keys from `low` up to, without, `high`.
    pub const fn half_open(low: &'a [u8], high: &'a [u8]) -> KeyBounds<'a> {
        KeyBounds { lower: Bound::Included(low), upper: Bound::Excluded(high) }
    }

    /// Whether `key` is inside.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        !self.is_below(key) && !self.is_above(key)
    }

    /// Whether `key` comes before the low end.
    #[inline]
    pub fn is_below(&self, key: &[u8]) -> bool {
        match self.lower {
            Bound::Included(low) => key < low,
            Bound::Excluded(low) => key <= low,
            Bound::Unbounded => false,
        }
    }

    /// Whether `key` comes after the high end.
    #[inline]
    pub fn is_above(&self, key: &[u8]) -> bool {
        match self.upper {
            Bound::Included(high) => key > high,
            Bound::Excluded(high) => key >= high,
            Bound::Unbounded => false,
        }
    }

    /// Whether no key can be inside.
    pub fn is_empty(&self) -> bool {
        match (self.lower, self.upper) {
            (Bound::Included(low), Bound::Included(high)) => low > high,
            (Bound::Included(low), Bound::Excluded(high)) | (Bound::Excluded(low), Bound::Included(high)) => {
                low >= high
            }
            // Between "a" and "a\0" there is no key.
            (Bound::Excluded(low), Bound::Excluded(high)) => {
                low.cmp(high) != Ordering::Less
                    || (high.len() == low.len() + 1 && high.starts_with(low) && high.ends_with(&[0]))
            }
            (Bound::Unbounded, Bound::Excluded(high)) => high.is_empty(),
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

/// The least key above every key that starts with `prefix`; `None` if there is none (empty, or all bytes 0xff).
///
/// ```
/// assert_eq!(duramen_base::bounds::prefix_end(b"ab"), Some(b"ac".to_vec()));
/// assert_eq!(duramen_base::bounds::prefix_end(b"a\xff"), Some(b"b".to_vec()));
/// assert_eq!(duramen_base::bounds::prefix_end(b"\xff"), None);
/// ```
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
