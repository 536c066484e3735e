//! The steps of a random history, and how they are drawn. What they do stands in `against_model.rs`.

use std::ops::Bound;

use proptest::prelude::*;
use proptest::sample::Index;

/// Keys of the test, by number: short, binary, and with a long common prefix.
pub(super) const KEY_COUNT: u8 = 44;

/// The key number `i`.
pub(super) fn key(i: u8) -> Vec<u8> {
    match i {
        0 => vec![],
        1 => vec![0],
        2 => vec![0, 0],
        3 => vec![0, 0xff],
        4 => vec![0xff],
        5 => vec![0xff, 0xff],
        6 => vec![0x7f],
        7 => vec![0x80],
        8..24 => format!("k{i:02}").into_bytes(),
        24..36 => [vec![b'l'; 200], vec![i]].concat(),
        _ => "m".repeat((i - 35).into()).into_bytes(),
    }
}

/// A change of a commit.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Put { key: u8, bytes: u16 },
    Delete { key: u8 },
    DeleteRange { low: u8, high: Option<u8> },
}

/// A move of a cursor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    Next,
    Prev,
    NextAtHand,
    PrevAtHand,
    Seek(u8),
    SeekForPrev(u8),
}

/// A step of a history.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Commit(Vec<Edit>),
    /// Puts alone, as one sorted ingest.
    Ingest(Vec<Edit>),
    /// One commit in two applies with disjoint keys.
    Halves(Vec<Edit>),
    /// Two commits of disjoint keys, the later one applied first, upkeep in between.
    Crossed {
        early: Vec<Edit>,
        late: Vec<Edit>,
        work_between: bool,
    },
    Elsewhere,
    Begin,
    End(Index),
    HoldHorizon(bool),
    AnswerStale(bool),
    LogSynced,
    Walk {
        at: Index,
        lower: Bound<u8>,
        upper: Bound<u8>,
        moves: Vec<Move>,
    },
    OpenCursor {
        at: Index,
    },
    MoveCursor {
        cursor: Index,
        moves: Vec<Move>,
    },
    CloseCursor(Index),
    Persist,
    /// A request, and so many steps towards it.
    Compact(u8),
    Work(u16),
    LogMark,
    Reopen {
        work_every: Option<u8>,
    },
}

fn any_key() -> impl Strategy<Value = u8> {
    0..KEY_COUNT
}

fn edit() -> impl Strategy<Value = Edit> {
    let bytes = prop_oneof![4 => 0..40u16, 3 => 40..400u16, 1 => 400..6000u16];
    prop_oneof![
        8 => (any_key(), bytes).prop_map(|(key, bytes)| Edit::Put { key, bytes }),
        3 => any_key().prop_map(|key| Edit::Delete { key }),
        1 => (any_key(), prop::option::weighted(0.9, any_key())).prop_map(|(low, high)| Edit::DeleteRange { low, high }),
    ]
}

fn point() -> impl Strategy<Value = Edit> {
    edit().prop_filter("points only", |edit| !matches!(edit, Edit::DeleteRange { .. }))
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let step = prop_oneof![
        2 => Just(Move::Next),
        2 => Just(Move::Prev),
        2 => Just(Move::NextAtHand),
        2 => Just(Move::PrevAtHand),
        1 => any_key().prop_map(Move::Seek),
        1 => any_key().prop_map(Move::SeekForPrev),
    ];
    prop::collection::vec(step, 1..25)
}

fn bound() -> impl Strategy<Value = Bound<u8>> {
    prop_oneof![
        1 => Just(Bound::Unbounded),
        2 => any_key().prop_map(Bound::Included),
        2 => any_key().prop_map(Bound::Excluded),
    ]
}

/// Any step, the frequent ones more often.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let edits = || prop::collection::vec(edit(), 1..8);
    let points = || prop::collection::vec(point(), 1..6);
    let put = || point().prop_filter("puts only", |edit| matches!(edit, Edit::Put { .. }));
    prop_oneof![
        14 => edits().prop_map(Step::Commit),
        2 => prop::collection::vec(put(), 1..20).prop_map(Step::Ingest),
        1 => points().prop_map(Step::Halves),
        2 => (points(), points(), any::<bool>())
            .prop_map(|(early, late, work_between)| Step::Crossed { early, late, work_between }),
        1 => Just(Step::Elsewhere),
        3 => Just(Step::Begin),
        3 => any::<Index>().prop_map(Step::End),
        1 => any::<bool>().prop_map(Step::HoldHorizon),
        1 => any::<bool>().prop_map(Step::AnswerStale),
        1 => Just(Step::LogSynced),
        5 => (any::<Index>(), bound(), bound(), moves())
            .prop_map(|(at, lower, upper, moves)| Step::Walk { at, lower, upper, moves }),
        1 => any::<Index>().prop_map(|at| Step::OpenCursor { at }),
        3 => (any::<Index>(), moves()).prop_map(|(cursor, moves)| Step::MoveCursor { cursor, moves }),
        1 => any::<Index>().prop_map(Step::CloseCursor),
        2 => Just(Step::Persist),
        1 => (0..20u8).prop_map(Step::Compact),
        4 => (1..8192u16).prop_map(Step::Work),
        1 => Just(Step::LogMark),
        1 => prop::option::of(1..10u8).prop_map(|work_every| Step::Reopen { work_every }),
    ]
}
