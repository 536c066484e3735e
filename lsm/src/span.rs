//! The keys that a table is about: those of its versions, and those that its range tombstones cover.
//!
//! Plain comparisons, no table. Where versions alone matter (a get), the key range in `TableMeta` is asked instead.
//!
//! SP1  Two spans overlap exactly when some key may lie in both; a shared border that one of them excludes is no overlap.

use std::cmp::Ordering;

/// Where a span ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// Before this key.
    Before(&'a [u8]),
    /// With this key.
    With(&'a [u8]),
    /// Nowhere.
    Open,
}

impl End<'_> {
    /// Whether everything up to here is below `key`.
    pub(crate) fn is_below(&self, key: &[u8]) -> bool {
        match *self {
            End::Before(end) => end <= key,
            End::With(end) => end < key,
            End::Open => false,
        }
    }
}

impl Ord for End<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (End::Open, End::Open) => Ordering::Equal,
            (End::Open, _) => Ordering::Greater,
            (_, End::Open) => Ordering::Less,
            (End::Before(a), End::Before(b)) | (End::With(a), End::With(b)) => a.cmp(b),
            (End::Before(a), End::With(b)) => a.cmp(b).then(Ordering::Less),
            (End::With(a), End::Before(b)) => a.cmp(b).then(Ordering::Greater),
        }
    }
}

impl PartialOrd for End<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The keys from `low` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span<'a> {
    /// First key.
    pub(crate) low: &'a [u8],
    /// The end.
    pub(crate) end: End<'a>,
}

impl<'a> Span<'a> {
    /// Whether a key may lie in both.
    pub(crate) fn overlaps(&self, other: &Span<'_>) -> bool {
        !self.end.is_below(other.low) && !other.end.is_below(self.low)
    }

    /// The shortest span around both.
    pub(crate) fn around(self, other: Span<'a>) -> Span<'a> {
        Span { low: self.low.min(other.low), end: self.end.max(other.end) }
    }
}

/// The shortest span around all; `None` if there are none.
pub(crate) fn hull<'a>(spans: impl Iterator<Item = Span<'a>>) -> Option<Span<'a>> {
    spans.reduce(Span::around)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(low: &'static str, end: End<'static>) -> Span<'static> {
        Span { low: low.as_bytes(), end }
    }

    #[test]
    fn a_border_that_one_side_excludes_is_no_overlap() {
        let left = span("a", End::Before(b"c"));
        assert!(!left.overlaps(&span("c", End::With(b"d"))));
        assert!(span("a", End::With(b"c")).overlaps(&span("c", End::With(b"d"))));
        assert!(left.overlaps(&span("b", End::Open)));
    }

    #[test]
    fn a_hull_reaches_to_the_furthest_end() {
        let all = [span("b", End::With(b"c")), span("a", End::Before(b"c")), span("bb", End::With(b"bc"))];
        assert_eq!(hull(all.into_iter()), Some(span("a", End::With(b"c"))));
        assert_eq!(hull([all[0], span("d", End::Open)].into_iter()), Some(span("b", End::Open)));
        assert_eq!(hull(std::iter::empty()), None);
    }
}
