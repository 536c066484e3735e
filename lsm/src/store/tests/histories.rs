//! Random histories against the oracle, at every snapshot.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Change>),
    Work(u8),
    Persist,
    Begin,
    End,
    Reopen,
}

fn key_strategy() -> impl Strategy<Value = Vec<u8>> {
    (0u8..40).prop_map(|number| format!("key-{:02}{}", number, "x".repeat(usize::from(number) % 5 * 11)).into_bytes())
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (key_strategy(), 0usize..300, any::<u8>()).prop_map(|(key, len, byte)| (OpKind::Put, key, vec![byte; len])),
        2 => key_strategy().prop_map(|key| (OpKind::Delete, key, Vec::new())),
        1 => (key_strategy(), key_strategy()).prop_map(|(low, high)| (OpKind::DeleteRange, low, high)),
    ]
}

/// A batch in the order that the codec asks for.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 1..6).prop_map(|mut changes| {
        changes.sort_by_key(|(kind, key, _)| (*kind != OpKind::DeleteRange, key.clone()));
        changes.dedup_by(|a, b| a.1 == b.1 && a.0 != OpKind::DeleteRange && b.0 != OpKind::DeleteRange);
        changes
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => changes().prop_map(Step::Commit),
        6 => (1u8..5).prop_map(Step::Work),
        1 => Just(Step::Persist),
        2 => Just(Step::Begin),
        2 => Just(Step::End),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_equal_the_oracle_at_every_snapshot(
        steps in proptest::collection::vec(step(), 1..160),
        is_packed in any::<bool>(),
    ) {
        let mut bench = Bench::new(disk());
        bench.compression = if is_packed { Compression::Lz4 } else { Compression::None };
        bench.open().expect("whole");
        let mut snapshots: Vec<u64> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Commit(changes) => bench.commit(&changes),
                Step::Work(times) => {
                    for _ in 0..times {
                        bench.work();
                    }
                }
                Step::Persist => bench.persist(),
                Step::Begin => snapshots.push(bench.now),
                Step::End => drop(snapshots.pop()),
                Step::Reopen => {
                    snapshots.clear();
                    bench.reopen();
                }
            }
            bench.host.set_snapshots(&snapshots);
            if number % 8 == 0 {
                snapshots.iter().chain([&bench.now]).for_each(|&at| bench.check(at));
            }
        }
        bench.settle();
        snapshots.iter().chain([&bench.now]).for_each(|&at| bench.check(at));
        bench.verify();
        bench.persist();
        bench.reopen();
        bench.check(bench.now);
        bench.verify();
    }
}
