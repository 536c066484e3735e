//! What is asked for or held, and which two go together.
//!
//! Pure words of the lock table. A key and a range of keys are intervals; the whole keyspace is an interval with modes of its own.
//!
//! A1  Which strengths go together is symmetric, so it does not matter which of two came first.

use std::sync::Arc;

use duramen_base::{KeyspaceId, LockClaim, LockOp, LockStrength, LockTarget};

use crate::key::Key;

/// What a lock covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Key(Key),
    /// Shared, since the table and its holder both keep it.
    Range(Arc<KeyRange>),
    Whole,
}

/// Keys from `low` up to, without, `high`; `None`: to the end of the keyspace. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) low: Key,
    pub(super) high: Option<Key>,
}

/// A lock of one keyspace that is held or asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) target: Target,
    pub(super) strength: LockStrength,
    pub(super) op: LockOp,
}

/// The keys that something covers, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) low: &'a [u8],
    end: End<'a>,
}

#[derive(Clone, Copy, Debug)]
enum End<'a> {
    /// The low end is the only key.
    Itself,
    Before(&'a [u8]),
    Open,
}

impl<'a> Span<'a> {
    pub(super) const ALL: Span<'static> = Span { low: b"", end: End::Open };

    pub(super) fn key(key: &'a [u8]) -> Span<'a> {
        Span { low: key, end: End::Itself }
    }

    pub(super) fn range(low: &'a [u8], high: Option<&'a [u8]>) -> Span<'a> {
        Span { low, end: high.map_or(End::Open, End::Before) }
    }

    /// Whether `key` lies before its end.
    pub(super) fn reaches(&self, key: &[u8]) -> bool {
        match self.end {
            End::Itself => key <= self.low,
            End::Before(high) => key < high,
            End::Open => true,
        }
    }

    /// Whether some key lies in both.
    pub(super) fn overlaps(&self, other: &Span<'_>) -> bool {
        self.reaches(other.low) && other.reaches(self.low)
    }

    /// Whether every key of `other` lies in this one.
    pub(super) fn contains(&self, other: &Span<'_>) -> bool {
        self.low <= other.low
            && match (self.end, other.end) {
                (End::Open, _) => true,
                (_, End::Itself) => self.reaches(other.low),
                (End::Before(high), End::Before(other_high)) => other_high <= high,
                (End::Itself, End::Before(_)) | (End::Itself | End::Before(_), End::Open) => false,
            }
    }

    pub(super) fn is_key(&self) -> bool {
        matches!(self.end, End::Itself)
    }

    /// The bounds for a map of keys: everything that begins inside.
    pub(super) fn bounds(&self) -> (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let upper = match self.end {
            End::Itself => Included(self.low),
            End::Before(high) => Excluded(high),
            End::Open => Unbounded,
        };
        (Included(self.low), upper)
    }
}

impl KeyRange {
    pub(super) fn span(&self) -> Span<'_> {
        Span::range(&self.low, self.high.as_deref())
    }
}

impl Target {
    pub(super) fn span(&self) -> Span<'_> {
        match self {
            Target::Key(key) => Span::key(key),
            Target::Range(range) => range.span(),
            Target::Whole => Span::ALL,
        }
    }

    /// Memory outside the value itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Target::Key(key) => key.heap_bytes(),
            Target::Range(range) => {
                size_of::<KeyRange>() + 16 + range.low.heap_bytes() + range.high.as_ref().map_or(0, Key::heap_bytes)
            }
            Target::Whole => 0,
        }
    }
}

impl Claim {
    /// Whether two transactions cannot have both at once.
    pub(super) fn conflicts(&self, other: &Claim) -> bool {
        conflicts(
            (self.target.span(), self.is_whole(), self.strength),
            (other.target.span(), other.is_whole(), other.strength),
        )
    }

    pub(super) fn is_whole(&self) -> bool {
        self.target == Target::Whole
    }

    pub(super) fn describe(&self, keyspace: KeyspaceId) -> LockClaim {
        let target = match &self.target {
            Target::Key(key) => LockTarget::Key(key.to_vec()),
            Target::Range(range) => {
                LockTarget::Range { low: range.low.to_vec(), high: range.high.as_deref().map(<[u8]>::to_vec) }
            }
            Target::Whole => LockTarget::Keyspace,
        };
        LockClaim { keyspace, keyspace_name: None, target, strength: self.strength, op: self.op }
    }
}

fn conflicts(one: (Span<'_>, bool, LockStrength), other: (Span<'_>, bool, LockStrength)) -> bool {
    let (one_strength, other_strength) = match (one.1, other.1) {
        // Where the whole keyspace meets a key or range, the intent of that one counts.
        (true, false) => (one.2, intent(other.2)),
        (false, true) => (intent(one.2), other.2),
        (true, true) | (false, false) => (one.2, other.2),
    };
    !are_compatible(one_strength, other_strength) && one.0.overlaps(&other.0)
}

/// The matrices of docs/isolation.md (A1). Update never meets an intent: keyspaces have no Update mode.
pub(super) const fn are_compatible(one: LockStrength, other: LockStrength) -> bool {
    use LockStrength::{Exclusive, IntentExclusive, IntentShared, Shared, Update};
    match (one, other) {
        (Exclusive, _) | (_, Exclusive) => false,
        (Update, Update) => false,
        (IntentExclusive, Shared | Update) | (Shared | Update, IntentExclusive) => false,
        (IntentShared | Shared | Update, IntentShared | Shared)
        | (IntentShared | Shared, Update)
        | (IntentExclusive, IntentShared | IntentExclusive)
        | (IntentShared, IntentExclusive) => true,
    }
}

/// What a lock on a key or range of a keyspace means for the whole of it.
pub(super) const fn intent(strength: LockStrength) -> LockStrength {
    match strength {
        LockStrength::Shared | LockStrength::IntentShared => LockStrength::IntentShared,
        LockStrength::Update | LockStrength::Exclusive | LockStrength::IntentExclusive => LockStrength::IntentExclusive,
    }
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use LockStrength::{Exclusive, IntentExclusive, IntentShared, Shared, Update};

    use super::*;

    const ALL: [LockStrength; 5] = [IntentShared, IntentExclusive, Shared, Update, Exclusive];

    #[test]
    fn the_matrix_is_that_of_the_definition() {
        // Rows and columns S, U, X on keys and ranges; then IS, IX, S, X on keyspaces.
        let check = |modes: &[LockStrength], rows: &[&[bool]]| {
            for (held, row) in modes.iter().zip(rows) {
                let real: Vec<bool> = modes.iter().map(|asked| are_compatible(*held, *asked)).collect();
                assert_eq!(real, *row, "{held} held");
            }
        };
        check(&[Shared, Update, Exclusive], &[&[true, true, false], &[true, false, false], &[false; 3]]);
        check(
            &[IntentShared, IntentExclusive, Shared, Exclusive],
            &[&[true, true, true, false], &[true, true, false, false], &[true, false, true, false], &[false; 4]],
        );
    }

    #[test]
    fn compatibility_is_symmetric() {
        for one in ALL {
            for other in ALL {
                assert_eq!(are_compatible(one, other), are_compatible(other, one), "A1: {one} and {other}");
            }
        }
    }

    #[test]
    fn spans_overlap_when_they_share_a_key() {
        let spans = [
            Span::key(b"b"),
            Span::key(b"c"),
            Span::range(b"a", Some(b"c")),
            Span::range(b"b", Some(b"b\0")),
            Span::range(b"c", None),
            Span::ALL,
        ];
        let keys: [&[u8]; 7] = [b"", b"a", b"b", b"b\0", b"c", b"d", b"e"];
        let inside = |span: &Span<'_>, key: &[u8]| span.low <= key && span.reaches(key);
        for one in &spans {
            for other in &spans {
                let share = keys.iter().any(|key| inside(one, key) && inside(other, key));
                assert_eq!(one.overlaps(other), share, "{one:?} {other:?}");
                let covers = keys.iter().all(|key| !inside(other, key) || inside(one, key));
                assert!(!one.contains(other) || covers, "{one:?} {other:?}");
            }
        }
        assert!(Span::range(b"a", Some(b"c")).contains(&Span::key(b"b")));
        assert!(!Span::range(b"a", Some(b"c")).contains(&Span::range(b"b", None)));
    }
}
