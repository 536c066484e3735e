//! The anomalies, and what each level promises about them: the one place that says so.
//!
//! Definitions follow Adya's thesis (G0 to G2, the PL levels), Berenson et al. 1995 (P4, P4C), Cerone and Gotsman (long fork), and Fekete,
//! O'Neil and O'Neil 2004 (the read-only anomaly). docs/isolation.md explains the levels.

use std::fmt;

use duramen::{Concurrency, IsolationLevel};

use crate::setting::{LEVELS, Setting};

use Promise::{Either, Permitted, Prevented};

/// What a level says about an anomaly.
///
/// ```
/// use duramen::IsolationLevel;
/// use duramen_suite::{Anomaly, Promise};
/// let skew = Anomaly::parse("G2-item").expect("one of them");
/// assert_eq!(skew.promise(IsolationLevel::Snapshot), Promise::Permitted);
/// assert_eq!(skew.promise(IsolationLevel::Serializable), Promise::Prevented);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Must never be seen.
    Prevented,
    /// May be seen, and a script shows it.
    Permitted,
    /// May be seen or not.
    Either,
}

macro_rules! anomalies {
    ($($name:ident $id:literal $title:literal [$($promise:expr),*];)*) => {
        /// Something that transactions which run one after the other never show.
        ///
        /// ```
        /// use duramen_suite::Anomaly;
        /// let names: Vec<String> = Anomaly::all().map(|anomaly| anomaly.to_string()).collect();
        /// assert!(names.contains(&"P4".to_owned()));
        /// assert_eq!(Anomaly::P4.title(), "lost update");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // Their titles say it.
        pub enum Anomaly {
            $($name,)*
        }

        impl Anomaly {
            /// All of them, in the order of the table.
            pub fn all() -> impl Iterator<Item = Anomaly> {
                [$(Anomaly::$name,)*].into_iter()
            }

            fn row(self) -> (&'static str, &'static str, [Promise; 5]) {
                match self {
                    $(Anomaly::$name => ($id, $title, [$($promise),*]),)*
                }
            }
        }
    };
}

// Columns: ReadUncommitted, ReadCommitted, RepeatableRead, Snapshot, Serializable.
anomalies! {
    G0 "G0" "dirty write: writes of two transactions mix" [Prevented, Prevented, Prevented, Prevented, Prevented];
    G1a "G1a" "aborted read: a value of a rolled back transaction" [Permitted, Prevented, Prevented, Prevented, Prevented];
    G1b "G1b" "intermediate read: a value its transaction overwrote" [Permitted, Prevented, Prevented, Prevented, Prevented];
    G1c "G1c" "circular information flow" [Permitted, Prevented, Prevented, Prevented, Prevented];
    Otv "OTV" "observed transaction vanishes" [Permitted, Prevented, Prevented, Prevented, Prevented];
    P4c "P4C" "lost update through locking reads" [Prevented, Prevented, Prevented, Prevented, Prevented];
    P4 "P4" "lost update" [Permitted, Permitted, Prevented, Prevented, Prevented];
    LostInsert "lost insert" "lost update of an absent key" [Permitted, Permitted, Prevented, Prevented, Prevented];
    GSingle "G-single" "read skew on keys" [Permitted, Permitted, Prevented, Prevented, Prevented];
    LongFork "long fork" "two readers see two commits in opposite order" [Permitted, Permitted, Prevented, Prevented, Prevented];
    GNonadjacent "G-nonadjacent" "a cycle whose rw edges are never neighbours" [Permitted, Permitted, Prevented, Prevented, Prevented];
    GSinglePredicate "G-single range" "read skew between a range and a key" [Permitted, Permitted, Permitted, Prevented, Prevented];
    Pmp "PMP" "a range scanned twice differs (phantom)" [Permitted, Permitted, Permitted, Prevented, Prevented];
    PmpWrite "PMP write" "a write chosen by a scan misses or keeps rows" [Permitted, Permitted, Either, Prevented, Prevented];
    G2Item "G2-item" "write skew on keys" [Permitted, Permitted, Prevented, Permitted, Prevented];
    ThreeCycle "3-cycle" "write skew of three, without a mutual pair" [Permitted, Permitted, Prevented, Permitted, Prevented];
    ReadOnly "read-only" "a reader sees what no serial order explains" [Permitted, Permitted, Prevented, Permitted, Prevented];
    CommittedPivot "committed pivot" "the same, the old version read after the pivot committed" [Either, Either, Prevented, Permitted, Prevented];
    G2 "G2" "write skew through ranges" [Permitted, Permitted, Permitted, Permitted, Prevented];
    TwoEdges "G2 two edges" "write skew through a range and a reader" [Permitted, Permitted, Permitted, Permitted, Prevented];
    RealTime "real time" "a commit that returned before is not seen" [Either, Prevented, Prevented, Prevented, Prevented];
    OwnWrites "own writes" "a transaction does not see what it wrote" [Prevented, Prevented, Prevented, Prevented, Prevented];
    StaleLockingRead "stale locking read" "a locking read misses a newer commit, unnoticed" [Prevented, Prevented, Prevented, Prevented, Prevented];
    RememberedDirtyRead "dirt remembered" "a read after a rollback still shows what was rolled back" [Prevented, Prevented, Prevented, Prevented, Prevented];
}

impl Anomaly {
    /// The anomaly called `id` in scripts and in the table.
    pub fn parse(id: &str) -> Option<Anomaly> {
        Anomaly::all().find(|anomaly| anomaly.row().0 == id)
    }

    /// What happens, in a few words.
    pub fn title(self) -> &'static str {
        self.row().1
    }

    /// What `level` promises.
    pub fn promise(self, level: IsolationLevel) -> Promise {
        let column = LEVELS.iter().position(|&other| other == level).expect("LEVELS has every level");
        self.row().2[column]
    }

    /// Why a setting cannot show what its level permits; `None` if it must be able to.
    pub(crate) fn excuse(self, setting: Setting) -> Option<&'static str> {
        match (setting.level, setting.mode, self) {
            (IsolationLevel::RepeatableRead, Concurrency::Optimistic, Anomaly::Pmp | Anomaly::GSinglePredicate) => {
                Some("it reads one snapshot, so what a range shows never changes")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serializable_promises_everything_and_the_other_levels_cannot_be_ordered() {
        assert!(Anomaly::all().all(|anomaly| anomaly.promise(IsolationLevel::Serializable) == Prevented));
        let permits = |level, anomaly: Anomaly| anomaly.promise(level) == Permitted;
        let (repeatable, snapshot) = (IsolationLevel::RepeatableRead, IsolationLevel::Snapshot);
        assert!(Anomaly::all().any(|a| permits(repeatable, a) && !permits(snapshot, a)));
        assert!(Anomaly::all().any(|a| permits(snapshot, a) && !permits(repeatable, a)));
    }

    #[test]
    fn ids_are_unique() {
        for anomaly in Anomaly::all() {
            assert_eq!(Anomaly::parse(&anomaly.to_string()), Some(anomaly));
        }
    }
}
