//! Writers are slowed down as the drain goes (`throttle.rs`), and told when it does not go at all.

use std::sync::Weak;
use std::time::Duration;

use duramen_base::StallCause;

use super::*;
use crate::store::Store;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);

impl Fixture {
    /// Puts until another buffer is frozen, without upkeep.
    fn freeze_another(&self) {
        let frozen = || self.tree.store.buffers.layers().frozen.len();
        let before = frozen();
        for i in 0..1_000_000 {
            self.put(&key(i), &[7; 100]);
            if frozen() > before {
                return;
            }
        }
        panic!("a buffer gets full");
    }

    fn waited(&self) -> Duration {
        self.tree.stats().stall_times.memtables
    }
}

#[test]
fn who_waits_in_vain_for_a_buffer_is_told_the_cause_and_who_may_drain_makes_one() {
    let store = Fixture::with_budget(4 << 20);
    store.freeze_another();
    store.tree.store.buffers.rotate_if(|_| true);
    assert_eq!(store.tree.store.buffers.layers().frozen.len(), 1, "nothing was written since");
    store.put(&key(1), b"one more");
    store.tree.store.buffers.rotate_if(|_| true);
    let somebody_at_work = store.tree.store.upkeep.lock();
    let refused = store.tree.throttle(100, SHORT);
    assert!(matches!(refused, Err(Error::WriteStalled { cause: StallCause::Memtables })), "{refused:?}");
    assert!(store.waited() >= SHORT);
    drop(somebody_at_work);
    store.tree.throttle(100, LONG).expect("he makes one");
    assert!(store.tree.store.buffers.layers().frozen.len() < 2);
}

#[test]
fn ahead_of_the_drain_large_writers_wait_each_time_and_small_ones_now_and_then() {
    let store = Fixture::with_budget(4 << 20);
    store.freeze_another();
    let limit = store.tree.store.buffer_bytes_max();
    while store.tree.store.buffers.layers().active.bytes() < limit / 2 {
        store.put(&key(5), &[7; 100]);
    }
    // Somebody is at work and drains nothing: whoever waits does so for a moment.
    let somebody_at_work = store.tree.store.upkeep.lock();
    for _ in 0..10 {
        let before = store.waited();
        store.tree.throttle(20 << 10, LONG).expect("a moment");
        let waited = store.waited() - before;
        assert!((Duration::from_millis(30)..Duration::from_millis(35)).contains(&waited), "{waited:?}");
    }
    let before = store.waited();
    (0..80).for_each(|_| store.tree.throttle(200, LONG).expect("a moment at most"));
    let waits = (store.waited() - before).as_millis() / 30;
    assert!((1..=3).contains(&waits), "80 small writers, {waits} waits");
    drop(somebody_at_work);
    let drained = || store.tree.stats().drained_changes;
    let before = (store.waited(), drained());
    store.tree.throttle(20 << 10, LONG).expect("a piece of a drain");
    assert!(drained() > before.1 && store.waited() == before.0, "who can drains, on a clock that stands");
}

#[test]
fn nobody_waits_while_nothing_is_frozen() {
    let store = Fixture::with_budget(4 << 20);
    store.put(&key(1), b"one");
    store.tree.throttle(1 << 20, Duration::ZERO).expect("nothing to wait for");
    store.freeze_another();
    store.tree.throttle(1 << 20, Duration::ZERO).expect("there is a buffer left");
    assert_eq!(store.waited(), Duration::ZERO);
}

/// A clock by which whoever sleeps looks whether others could work meanwhile.
#[derive(Default)]
struct Watching {
    clock: ManualClock,
    store: Mutex<Weak<Store>>,
    sleeps: Mutex<[u32; 2]>,
}

impl Clock for Watching {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn sleep(&self, time: Duration) {
        let store = self.store.lock().upgrade().expect("it is open");
        self.sleeps.lock()[usize::from(store.upkeep.try_lock().is_none())] += 1;
        self.clock.sleep(time);
    }
}

#[test]
fn who_waits_beside_a_checkpoint_keeps_nobody_from_working_at_it() {
    let watching = Arc::new(Watching::default());
    let store = Fixture::on_clock(4 << 20, 1 << 10, Arc::clone(&watching) as Arc<dyn Clock>);
    *watching.store.lock() = Arc::downgrade(&store.tree.store);
    store.freeze_another();
    while store.tree.store.buffers.layers().active.bytes() < store.tree.store.buffer_bytes_max() / 2 {
        store.put(&key(5), &[7; 100]);
    }
    store.tree.store.begin_checkpoint(&mut store.tree.store.upkeep.lock());
    store.tree.throttle(20 << 10, LONG).expect("a moment");
    let [alone, with_latch] = *watching.sleeps.lock();
    assert!(alone > 0, "he waits: TH3");
    assert_eq!(with_latch, 0, "TH4");
}
