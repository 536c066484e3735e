//! The leveled picker over random shapes, and over long loads: what it may never do, that it comes to an end, and what it costs.
//!
//! Tables here are numbers: a stretch of keys, bytes, versions. Merging adds them up; the order that I4 is about is checked by position alone.

use proptest::prelude::*;

use super::*;
use crate::span::{End, hull};

const TABLE_BYTES: u64 = 1000;
const LIMITS: Limits = Limits {
    base_bytes: 4000,
    size_ratio: SIZE_RATIO,
    runs_max: RUNS_MAX,
    job_bytes_max: TABLE_BYTES * JOB_TABLES_MAX,
    layout: Layout::Leveled,
    packs: false,
};
/// Steps after which a shape counts as one that never comes to rest.
const STEPS_MAX: usize = 20_000;

#[derive(Clone, Debug)]
struct Toy {
    no: u64,
    low: [u8; 4],
    high: [u8; 4],
    bytes: u64,
    versions: u64,
    tombstones: u64,
    history: u64,
    max_ts: u64,
    hidden: bool,
}

impl Sorted for Toy {
    fn no(&self) -> u64 {
        self.no
    }

    fn span(&self) -> Span<'_> {
        Span { low: &self.low, end: End::With(&self.high) }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn versions(&self) -> u64 {
        self.versions
    }

    fn tombstones(&self) -> u64 {
        self.tombstones
    }

    fn is_bare(&self) -> bool {
        self.versions == 0
    }

    fn history(&self) -> u64 {
        self.history
    }

    fn max_ts(&self) -> Timestamp {
        Timestamp::new(self.max_ts)
    }

    fn is_packed(&self) -> bool {
        false
    }
}

/// A store of toys.
struct Toys {
    levels: Vec<Vec<Run<Toy>>>,
    oldest: Timestamp,
    next_no: u64,
    next_run: u64,
    written: u64,
    /// All keys of a job are below its output already.
    overwrites: bool,
    limits: Limits,
}

impl Toys {
    fn new(oldest: u64) -> Toys {
        Toys {
            levels: vec![Vec::new()],
            oldest: Timestamp::new(oldest),
            next_no: 1,
            next_run: 1,
            written: 0,
            overwrites: false,
            limits: LIMITS,
        }
    }

    fn toy(&mut self, low: u32, high: u32, bytes: u64, versions: u64, tombstones: u64) -> Toy {
        self.next_no += 1;
        let (low, high) = (low.to_be_bytes(), high.to_be_bytes());
        Toy { no: self.next_no, low, high, bytes, versions, tombstones, history: 0, max_ts: 5, hidden: false }
    }

    /// Puts a run in front of those of a level.
    fn add_run(&mut self, level: usize, tables: Vec<Toy>) {
        if tables.is_empty() {
            return;
        }
        self.levels.resize_with(self.levels.len().max(level + 1), Vec::new);
        self.next_run += 1;
        let (bare, tables) = tables.into_iter().partition(Sorted::is_bare);
        self.levels[level].insert(0, Run { id: self.next_run, tables, bare });
    }

    fn pick(&self) -> Option<Job> {
        pick(&Shape { levels: &self.levels, oldest: self.oldest, is_hidden: &|toy: &Toy| toy.hidden }, &self.limits)
    }

    /// Every table with its level and its place from newest to oldest.
    fn placed(&self) -> Vec<(usize, usize, &Toy)> {
        let runs = self.levels.iter().enumerate().flat_map(|(level, runs)| runs.iter().map(move |run| (level, run)));
        runs.enumerate().flat_map(|(place, (level, run))| run.all().map(move |toy| (level, place, toy))).collect()
    }

    /// What I3, I4 and I5 say of a job.
    fn check(&self, job: &Job) {
        let all = self.placed();
        let is_input = |toy: &Toy| job.inputs.contains(&toy.no);
        let inputs: Vec<_> = all.iter().filter(|(.., toy)| is_input(toy)).collect();
        assert_eq!(inputs.len(), job.inputs.len(), "each input is there, and once");
        let span = hull(inputs.iter().map(|(.., toy)| toy.span())).expect("a job has inputs");
        for (level, place, toy) in all.iter().filter(|(.., toy)| !is_input(toy)) {
            if *level == job.to && job.to > 0 && job.reason != Reason::Hidden {
                assert!(!toy.span().overlaps(&span), "I3: {toy:?} stays in the way of {job:?}");
            }
            for (_, input_place, input) in &inputs {
                let is_older = place > input_place && toy.span().overlaps(&input.span());
                assert!(
                    !is_older || *level > job.to || (*level == 0 && job.to == 0),
                    "I4: {toy:?} is passed by {input:?}"
                );
            }
        }
        let bytes: u64 = inputs.iter().map(|(.., toy)| toy.bytes).sum();
        let largest = inputs.iter().map(|(.., toy)| toy.bytes).max().unwrap_or(0);
        let below: u64 = inputs.iter().filter(|(level, ..)| *level == job.to).map(|(.., toy)| toy.bytes).sum();
        let from_zero: u64 = inputs.iter().filter(|(level, ..)| *level == 0).map(|(.., toy)| toy.bytes).sum();
        assert!(bytes - below <= LIMITS.job_bytes_max.max(largest).max(from_zero), "I5: {bytes} bytes by {job:?}");
        assert!(!job.is_move || inputs.len() == 1, "one table is moved");
    }

    /// Carries a job out: `new_share` of the versions are of keys that lie nowhere below.
    fn carry_out(&mut self, job: &Job) {
        let mut taken: Vec<(usize, Toy)> = Vec::new();
        for (level, runs) in self.levels.iter_mut().enumerate() {
            for run in runs.iter_mut() {
                for list in [&mut run.tables, &mut run.bare] {
                    taken.extend(list.extract_if(.., |toy| job.inputs.contains(&toy.no)).map(|toy| (level, toy)));
                }
            }
            runs.retain(|run| run.all().next().is_some());
        }
        let Some(span) = hull(taken.iter().map(|(_, toy)| toy.span())) else { return };
        let End::With(high) = span.end else { panic!("toys end with a key") };
        let to_u32 = |key: &[u8]| u32::from_be_bytes(*key.first_chunk().expect("four bytes"));
        let (low, high) = (to_u32(span.low), to_u32(high));
        let deeper = self.levels.iter().skip(job.to + 1).flatten().flat_map(Run::all);
        let is_bottom = !deeper.filter(|toy| toy.span().overlaps(&span)).any(|_| true);
        let hidden = |toy: &Toy| toy.hidden;
        let kept = taken.iter().filter(|(_, toy)| !hidden(toy));
        let (mut bytes, mut versions, mut tombstones) =
            kept.fold((0, 0, 0), |sum, (_, toy)| (sum.0 + toy.bytes, sum.1 + toy.versions, sum.2 + toy.tombstones));
        if is_bottom && !job.is_move && taken.iter().all(|(_, toy)| toy.max_ts() <= self.oldest) {
            versions = versions.saturating_sub(tombstones);
            (bytes, tombstones) = (if versions == 0 { 0 } else { bytes }, 0);
        }
        if self.overwrites && taken.iter().any(|(level, _)| *level == job.to) {
            bytes = taken.iter().filter(|(level, _)| *level == job.to).map(|(_, toy)| toy.bytes).sum();
        }
        if !job.is_move {
            self.written += bytes;
        }
        let from_level = taken.iter().map(|(level, _)| *level).max();
        if bytes == 0 && tombstones == 0 {
            return;
        }
        let max_ts = taken.iter().map(|(_, toy)| toy.max_ts).max().unwrap_or(0);
        let outputs: Vec<Toy> =
            self.row((low, high), (bytes, versions, tombstones)).into_iter().map(|toy| Toy { max_ts, ..toy }).collect();
        let joined = self
            .levels
            .get_mut(job.to)
            .filter(|_| job.to > 0 || from_level == Some(0))
            .and_then(|runs| runs.last_mut());
        match joined {
            Some(run) if job.to > 0 => {
                run.tables.extend(outputs);
                run.tables.sort_by_key(|toy| toy.low);
            }
            _ => self.add_run(job.to, outputs),
        }
    }

    /// Tables from `low` to `high` with so many bytes, versions and tombstones, which end at fences.
    fn row(&mut self, (low, high): (u32, u32), (bytes, versions, tombstones): (u64, u64, u64)) -> Vec<Toy> {
        let to_u32 = |key: Vec<u8>| u32::from_be_bytes(*key.first_chunk().expect("four bytes"));
        let mut ends: Vec<u32> = fences(&self.levels, &self.limits).into_iter().map(to_u32).collect();
        ends.retain(|end| (low..high).contains(end));
        ends.push(high);
        let (low, high) = (u64::from(low), u64::from(high));
        let width = high - low + 1;
        let (mut row, mut from) = (Vec::new(), low);
        for end in ends {
            let keys = u64::from(end) + 1 - from;
            let count = (bytes * keys / width / TABLE_BYTES).clamp(1, keys);
            for part in 0..count {
                let (first, behind) = (from + keys * part / count, from + keys * (part + 1) / count);
                let share = |total: u64| total * (behind - low) / width - total * (first - low) / width;
                let (first, last) = (first as u32, (behind - 1) as u32);
                row.push(self.toy(first, last, share(bytes), share(versions), share(tombstones)));
            }
            from += keys;
        }
        row
    }

    /// Picks and carries out until there is nothing to do (I2).
    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let Some(job) = self.pick() else {
                assert_eq!(debt_bytes(&self.levels, &self.limits), 0, "where nothing is to be done there is no debt");
                return;
            };
            self.check(&job);
            self.carry_out(&job);
            self.check_runs();
        }
        panic!("I2: there is always something to do");
    }

    /// Carries out a compaction of these keys.
    fn compact(&mut self, keys: &Span<'_>) {
        let first_no = self.next_no + 1;
        for _ in 0..STEPS_MAX {
            let shape = Shape { levels: &self.levels, oldest: self.oldest, is_hidden: &|toy: &Toy| toy.hidden };
            let left = bytes_to_compact(&shape, &self.limits, first_no, keys);
            let Some(job) = compact(&shape, &self.limits, first_no, keys) else {
                return assert_eq!(left, 0, "what is done has nothing to do");
            };
            self.check(&job);
            self.carry_out(&job);
            self.check_runs();
        }
        panic!("I2: a compaction has no end");
    }

    /// Z1.
    fn check_runs(&self) {
        for run in self.levels.iter().skip(1).flatten() {
            for pair in run.tables.windows(2) {
                assert!(!pair[0].span().overlaps(&pair[1].span()), "Z1: {pair:?}");
            }
        }
    }

    fn bytes(&self, level: usize) -> u64 {
        self.levels.get(level).map_or(0, |runs| runs.iter().map(Run::bytes).sum())
    }
}

/// Cuts of a run: widths of gaps and tables, and what is in each.
type Cut = (u8, u8, u16, u8, u8);

fn run_of(toys: &mut Toys, cuts: &[Cut], hidden: bool) -> Vec<Toy> {
    let mut at = 0u32;
    let mut tables = Vec::new();
    for &(gap, width, bytes, versions, dead) in cuts {
        let low = at + u32::from(gap) + 1;
        at = low + u32::from(width) * 8;
        let versions = u64::from(versions) * 4 + 1;
        let mut toy = toys.toy(low, at, u64::from(bytes) % 6000 + 100, versions, versions * u64::from(dead % 5) / 4);
        toy.hidden = hidden && dead % 7 == 0;
        toy.max_ts = u64::from(dead % 11);
        tables.push(toy);
    }
    tables
}

fn cuts(most: usize) -> impl Strategy<Value = Vec<Cut>> {
    proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u16>(), any::<u8>(), any::<u8>()), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn from_any_shape_repeated_picks_come_to_rest_and_break_no_rule(
        zero in proptest::collection::vec(cuts(4), 0..16),
        below in proptest::collection::vec(cuts(12), 0..7),
        hidden: bool,
        oldest in 0u64..12,
    ) {
        let mut toys = Toys::new(oldest);
        for (number, cuts) in below.iter().enumerate() {
            let run = run_of(&mut toys, cuts, hidden);
            toys.add_run(number + 1, run);
        }
        for cuts in &zero {
            let run = run_of(&mut toys, cuts, hidden);
            toys.add_run(0, run);
        }
        toys.settle();
        prop_assert!(toys.levels[0].len() < RUNS_MAX, "I1");
        let part = (1000u32.to_be_bytes(), 60_000u32.to_be_bytes());
        let part = Span { low: &part.0, end: End::Before(&part.1) };
        toys.compact(&part);
        let tables = || toys.levels.iter().enumerate().flat_map(|(level, runs)| runs.iter().flat_map(Run::all).map(move |toy| (level, toy)));
        let is_down = tables().all(|(level, toy)| level == LAST_LEVEL || !toy.span().overlaps(&part));
        prop_assert!(is_down, "a compaction brings down what is about its keys");
        toys.compact(&Span { low: b"", end: End::Open });
        prop_assert!(toys.placed().iter().all(|(level, ..)| *level == LAST_LEVEL), "a compaction brings all down");
    }
}

/// Loads `memtables` of new keys in random order; bytes written by merges for each byte flushed.
fn write_amplification(memtables: u64, memtable_bytes: u64) -> (f64, Toys) {
    let mut toys = Toys::new(100);
    for _ in 0..memtables {
        let tables = memtable_bytes / TABLE_BYTES;
        let width = u32::MAX / tables as u32;
        let run =
            (0..tables as u32).map(|part| toys.toy(part * width + 1, (part + 1) * width, TABLE_BYTES, 10, 0)).collect();
        toys.add_run(0, run);
        toys.settle();
    }
    (toys.written as f64 / (memtables * memtable_bytes) as f64, toys)
}

#[test]
fn write_amplification_is_what_theory_says_at_three_sizes() {
    // Each level below the base is entered once for each byte, and a byte that enters brings on average half the ratio of what lies there
    // along, as tables of the level above are a ratio'th of it when it is full and the one with the least below is taken. The base is
    // rewritten whole by every RUNS_MIN memtables.
    let mut last = 0.0;
    for (memtables, levels) in [(64u64, 3.0f64), (512, 4.0), (2048, 4.7)] {
        let (measured, toys) = write_amplification(memtables, 1000);
        let base = 1.0 + LIMITS.base_bytes as f64 / (RUNS_MIN as f64 * 1000.0);
        let most = base + (levels - 1.0) * (1.0 + SIZE_RATIO as f64 / 2.0 + 1.0);
        println!("{memtables} memtables: {measured:.2} bytes merged for each flushed, at most {most:.2}");
        assert!(measured <= most, "{measured} > {most}");
        assert!(measured >= last, "more levels cost more");
        last = measured;
        let total: u64 = (0..=LAST_LEVEL).map(|level| toys.bytes(level)).sum();
        assert!(toys.bytes(LAST_LEVEL) as f64 >= 0.8 * total as f64, "the last level is sized first");
    }
}

/// Twenty tables over twenty in the last level, of which each overlaps two.
fn two_levels_out_of_step() -> Toys {
    let mut toys = Toys::new(100);
    let mut row = |from: u32| {
        (0..20u32)
            .map(|part| toys.toy(from + part * 100, from + part * 100 + 99, TABLE_BYTES, 10, 0))
            .collect::<Vec<_>>()
    };
    let (last, above) = (row(50), row(0));
    toys.add_run(LAST_LEVEL, last);
    toys.add_run(LAST_LEVEL - 1, above);
    toys
}

#[test]
fn neighbours_of_a_level_that_holds_too_much_go_down_together() {
    // One by one, each takes two along from below: sixty tables are written.
    let mut toys = two_levels_out_of_step();
    toys.settle();
    assert!(toys.bytes(LAST_LEVEL - 1) <= toys.bytes(LAST_LEVEL) / SIZE_RATIO);
    assert!(toys.written <= 44 * TABLE_BYTES, "{} bytes", toys.written);
}

#[test]
fn a_compaction_writes_the_last_level_once() {
    let mut toys = two_levels_out_of_step();
    toys.compact(&Span { low: b"", end: End::Open });
    assert!(toys.written <= 44 * TABLE_BYTES, "{} bytes", toys.written);
    // What all fits into one job goes to the last level from wherever it is.
    let mut toys = Toys::new(100);
    for level in [LAST_LEVEL, LAST_LEVEL - 1, LAST_LEVEL - 2, 0] {
        let tables = (0..4u32).map(|part| toys.toy(part * 100, part * 100 + 99, TABLE_BYTES, 10, 0)).collect();
        toys.add_run(level, tables);
    }
    toys.compact(&Span { low: b"", end: End::Open });
    assert_eq!(toys.written, 16 * TABLE_BYTES);
}

#[test]
fn keys_loaded_in_order_are_moved_and_not_rewritten() {
    let mut toys = Toys::new(100);
    for number in 0..500u32 {
        let toy = toys.toy(number * 100, number * 100 + 99, TABLE_BYTES, 10, 0);
        toys.add_run(0, vec![toy]);
        toys.settle();
    }
    assert!(toys.written <= 2 * 500 * TABLE_BYTES, "{} bytes", toys.written);
}

#[test]
fn tombstones_that_everybody_sees_go_down_though_no_level_is_full() {
    let mut toys = Toys::new(100);
    let live = (0..8u32).map(|part| toys.toy(part * 100, part * 100 + 99, TABLE_BYTES, 100, 0)).collect();
    toys.add_run(LAST_LEVEL, live);
    let deleted = toys.toy(0, 799, 500, 720, 720);
    toys.add_run(0, vec![deleted]);
    toys.oldest = Timestamp::new(4);
    assert_eq!(toys.pick(), None, "a reader needs them");
    toys.oldest = Timestamp::new(5);
    let job = toys.pick().expect("they are worth it");
    assert_eq!((job.to, job.reason, job.is_move), (LAST_LEVEL - 1, Reason::Tombstones, true));
    toys.carry_out(&job);
    let job = toys.pick().expect("they are worth it");
    assert_eq!((job.to, job.reason, job.inputs.len()), (LAST_LEVEL, Reason::Tombstones, 9));
    toys.settle();
    assert!(toys.placed().iter().all(|(.., toy)| toy.tombstones == 0));
}

#[test]
fn older_versions_go_once_nobody_reads_them_though_no_level_is_full() {
    let mut toys = Toys::new(4);
    let toy = toys.toy(0, 9, 900, 100, 0);
    toys.add_run(6, vec![Toy { history: 30, ..toy }]);
    assert_eq!(toys.pick(), None, "a reader needs them");
    toys.oldest = Timestamp::new(5);
    let job = toys.pick().expect("they are worth it");
    assert_eq!((job.to, job.is_move, job.reason), (6, false, Reason::History));
    toys.settle();
    toys.levels[6][0].tables[0].history = 12;
    assert_eq!(toys.pick(), None, "Y3: not for so few");
}

#[test]
fn a_few_tombstones_over_much_data_stay() {
    let mut toys = Toys::new(100);
    let live = (0..8u32).map(|part| toys.toy(part * 100, part * 100 + 99, TABLE_BYTES, 100, 0)).collect();
    toys.add_run(LAST_LEVEL, live);
    let deleted = toys.toy(0, 799, 500, 100, 100);
    toys.add_run(LAST_LEVEL - 1, vec![deleted]);
    assert_eq!(toys.pick(), None, "Y2");
}

#[test]
fn a_run_too_large_for_one_job_goes_table_by_table() {
    let mut toys = Toys::new(100);
    let large = (0..100u32).map(|part| toys.toy(part * 100, part * 100 + 99, TABLE_BYTES, 10, 0)).collect();
    toys.add_run(0, large);
    for number in 0..3u32 {
        let toy = toys.toy(number, 9000 + number, TABLE_BYTES, 10, 0);
        toys.add_run(0, vec![toy]);
    }
    let job = toys.pick().expect("four runs");
    assert_eq!(job.inputs.len(), 1, "I5");
    toys.settle();
}

/// A last level of `tables` tables, and runs of level 0 of `run_bytes` over all of it, one after the other, that end at its fences.
fn overwritten(tables: u32, runs: usize, run_bytes: u64, mut then: impl FnMut(&mut Toys)) -> Toys {
    let limits = Limits { base_bytes: u64::from(tables) * TABLE_BYTES, ..LIMITS };
    let mut toys = Toys { overwrites: true, limits, ..Toys::new(100) };
    let keys = tables * 100;
    let last = (0..tables).map(|part| toys.toy(part * 100, part * 100 + 99, TABLE_BYTES, 10, 0)).collect();
    toys.add_run(LAST_LEVEL, last);
    for _ in 0..runs {
        let run = toys.row((0, keys - 1), (run_bytes, 10, 0));
        toys.add_run(0, run);
        then(&mut toys);
    }
    toys
}

/// CO2.
#[test]
fn a_job_brings_down_one_column_of_all_runs_and_leaves_the_others() {
    let column_bytes = LIMITS.job_bytes_max / 4;
    let mut sizes = Vec::new();
    let toys = overwritten(60, 100, 3 * TABLE_BYTES, |toys| {
        while let Some(job) = toys.pick() {
            toys.check(&job);
            let inputs = || toys.placed().into_iter().filter(|(.., toy)| job.inputs.contains(&toy.no));
            let below: u64 = inputs().filter(|(level, ..)| *level > 0).map(|(.., toy)| toy.bytes).sum();
            let zero: u64 = inputs().filter(|(level, ..)| *level == 0).map(|(.., toy)| toy.bytes).sum();
            assert!(zero + below <= LIMITS.job_bytes_max, "{zero} and {below}");
            sizes.push((zero, below));
            toys.carry_out(&job);
            toys.check_runs();
        }
    });
    let largest = sizes.iter().map(|(_, below)| *below).max().expect("jobs");
    assert!(largest <= 3 * column_bytes, "CO2: {largest} below in one job: {sizes:?}");
    let flushed = 100 * 3 * TABLE_BYTES;
    // 60 tables for 8 runs of three: 2.5.
    assert!(toys.written * 10 <= flushed * 26, "{} written for {flushed}: {sizes:?}", toys.written);
    assert_eq!(toys.bytes(LAST_LEVEL), 60 * TABLE_BYTES, "all are overwritten");
}

/// CO2.
#[test]
fn fences_stay_where_runs_of_level_zero_were_cut_and_part_what_has_grown() {
    let (mut toys, mut first) = (overwritten(60, 0, 0, |_| ()), Vec::new());
    for number in 0..3 {
        let mut fences = fences(&toys.levels, &toys.limits);
        fences.retain(|fence| fence[..] < 5999u32.to_be_bytes()[..]);
        assert!((7..=10).contains(&fences.len()), "60 tables by 6.25: {fences:?}");
        if number == 0 {
            first = fences;
        } else {
            assert_eq!(fences, first, "a run was cut there");
        }
        let run = toys.row((0, 5999), (3 * TABLE_BYTES, 10, 0));
        toys.add_run(0, run);
        // What lies below may become less.
        toys.levels[LAST_LEVEL][0].tables.iter_mut().take(7).for_each(|toy| toy.bytes = TABLE_BYTES * 7 / 10);
    }
    // A run that nobody cut, and then one that is.
    let (mut toys, uncut) = (overwritten(60, 0, 0, |_| ()), |toys: &mut Toys| vec![toys.toy(0, 5999, 100, 10, 0)]);
    let run = uncut(&mut toys);
    toys.add_run(0, run);
    assert_eq!(fences(&toys.levels, &toys.limits)[..first.len()], first, "what has grown too large is parted");
}

/// I1, CO3.
#[test]
fn a_few_runs_over_much_data_wait_for_more_but_in_quiet_times() {
    let toys = overwritten(60, RUNS_MAX - 1, TABLE_BYTES, |_| ());
    assert_eq!(toys.pick(), None, "CO3: seven tables over sixty");
    let shape = Shape { levels: &toys.levels, oldest: toys.oldest, is_hidden: &|_: &Toy| false };
    let job = pick(&shape, &Limits { runs_max: RUNS_MIN, ..toys.limits }).expect("in quiet times they are too many");
    assert_eq!(job.reason, Reason::Runs);
    assert!(overwritten(60, RUNS_MAX, TABLE_BYTES, |_| ()).pick().is_some(), "I1");
    assert!(overwritten(60, RUNS_MIN, 8 * TABLE_BYTES, |_| ()).pick().is_some(), "CO3: thirty-two over sixty");
}

/// CO4.
#[test]
fn little_runs_beside_each_other_go_down_as_one() {
    let mut toys = Toys::new(100);
    for number in 0..RUNS_MIN as u32 {
        let toy = toys.toy(number * 100, number * 100 + 99, 100, 10, 0);
        toys.add_run(0, vec![toy]);
    }
    let job = toys.pick().expect("four runs");
    assert_eq!((job.inputs.len(), job.is_move), (RUNS_MIN, false), "CO4");
    toys.settle();
    assert_eq!(toys.placed().len(), 1);
}
