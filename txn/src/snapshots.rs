//! Who reads at which timestamp, so that the versions they need are kept.
//!
//! A reader announces its timestamp in a slot of its own; whoever wants to drop versions publishes a floor and then
//! looks into all slots. No version is known here, and nothing waits. Registering and ending touches only cache lines
//! that stay with the thread.
//!
//! ```text
//!   register                            build_set
//!     ts = read()                         floor = max(floor, horizon)      -- "who comes later reads here or above"
//!     slot = ts               (1)         set = every ts found in a slot   (3)
//!     again while floor > ts  (2)         -- (2) and (3) are after (1) and the floor in the one order of SeqCst operations
//! ```
//! Either (3) comes after (1) and finds the slot; or (1), and so (2), comes after (3), and so after the floor was
//! raised: then (2) sees the floor, and the reader starts again with a fresh timestamp. Hence:
//!
//! R1  For every set built, each registration that lives while or after it is built has its ts in the set, or `ts >=
//!     horizon` of the set.
//! R2  A registration's ts is at least the floor as it was at (2), after it was announced.
//! R3  A slot belongs to one registration at a time: its value is the ts, or `FREE`.
//! R4  All slots that can have a value are in the list. A slot counted once is in the list only, so that holding the
//!     list's mutex is enough to take it.
//!
//! A slot shown for a moment with a ts below the floor, by a reader about to start again, only makes a set keep too
//! much.

use std::cell::RefCell;

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex};
use duramen_base::{SnapSet, Timestamp, mutant};

use crate::padded::Padded;

#[cfg(all(test, not(duramen_sim)))]
mod tests;

/// No commit has this number, so no reader does.
const FREE: u64 = Timestamp::MAX.get();

/// How many slots a thread keeps for itself per database: a transaction and a few cursors. Further ones go through
/// the list.
const HOME_SLOTS_MAX: usize = 4;
/// How many slots a thread keeps in all; beyond that the oldest goes back to its list.
const HOME_SLOTS_OF_ALL_MAX: usize = 16;
/// How many slots of the list are looked at before one is added: what it costs at most when very many snapshots are
/// open.
const LIST_LOOKS_MAX: usize = 64;

thread_local! {
    /// Slots this thread used last, of any database. Only a hint: each is in its list as well.
    static HOME: RefCell<Vec<Arc<Slot>>> = const { RefCell::new(Vec::new()) };
}

/// What all slots of one database share. Registrations reach it through their slot, whose count is not shared: so they need not count the
/// database itself.
#[derive(Debug, Default)]
struct Home {
    closed: AtomicBool,
}

/// On cache lines of its own, like the counts of the `Arc` around it.
#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    ts: AtomicU64,
    /// The database it belongs to.
    home: Arc<Home>,
}

impl Slot {
    /// Takes the slot for a reader at `ts`, if it is free (R3). SeqCst: (1) of the module.
    #[inline]
    fn try_claim(&self, ts: Timestamp) -> bool {
        debug_assert!(ts != Timestamp::MAX, "R3: a reader reads at a commit");
        // A look first: taking the line of a slot that is in use would be for nothing.
        self.ts.load(Ordering::Relaxed) == FREE
            && self.ts.compare_exchange(FREE, ts.get(), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

#[derive(Debug, Default)]
struct SlotList {
    slots: Vec<Arc<Slot>>,
    /// Where to look next for one that nobody uses.
    next: usize,
}

impl SlotList {
    /// A slot that no registration and no thread has (R4), a new one if none turns up soon. Counted twice from then on.
    fn take(&mut self, home: &Arc<Home>) -> Arc<Slot> {
        for _ in 0..self.slots.len().min(LIST_LOOKS_MAX) {
            self.next = (self.next + 1) % self.slots.len();
            let slot = &self.slots[self.next];
            if Arc::strong_count(slot) == 1 {
                return Arc::clone(slot);
            }
        }
        self.next = self.slots.len();
        self.slots.push(Arc::new(Slot { ts: AtomicU64::new(FREE), home: Arc::clone(home) }));
        Arc::clone(&self.slots[self.next])
    }
}

/// The readers of one database.
///
/// ```
/// use duramen_base::Timestamp;
/// use duramen_txn::Snapshots;
/// let ts = Timestamp::new;
/// let snapshots = Snapshots::new();
/// let old = snapshots.register(|| ts(4));
/// let set = snapshots.build_set(|| ts(9));
/// assert_eq!((set.oldest(), set.horizon()), (ts(4), ts(9)));
/// drop(old);
/// assert_eq!(snapshots.build_set(|| ts(9)).oldest(), ts(9));
/// assert!(snapshots.register_at(ts(8)).is_none()); // too late: its versions may be gone
/// ```
#[derive(Debug)]
pub struct Snapshots {
    /// Readers that come from now on read here or above.
    floor: Padded<AtomicU64>,
    list: Mutex<SlotList>,
    home: Arc<Home>,
}

impl Snapshots {
    /// Nobody reads.
    pub fn new() -> Arc<Snapshots> {
        Arc::new(Snapshots { floor: Padded::default(), list: Mutex::default(), home: Arc::default() })
    }

    /// Registers a reader at what `read` answers. `read` is asked again while its answer is below the floor, so it
    /// must be a horizon that never falls and is never below the one given to [`Snapshots::build_set`] before: acked
    /// or visible. For other timestamps there is [`Snapshots::register_at`].
    #[inline]
    pub fn register(&self, read: impl Fn() -> Timestamp) -> Registration {
        let mut registration = self.claim(read());
        while !self.is_kept(registration.ts) {
            registration.move_to(read());
        }
        registration
    }

    /// Registers a reader at exactly `ts`; `None` if it is below the floor, so that versions it needs may be gone.
    pub fn register_at(&self, ts: Timestamp) -> Option<Registration> {
        let registration = self.claim(ts);
        self.is_kept(ts).then_some(registration)
    }

    /// The readers that must be respected by whoever drops versions, and the ts from which all later ones read:
    /// `horizon()`, which is to answer acked (R1).
    pub fn build_set(&self, horizon: impl Fn() -> Timestamp) -> SnapSet {
        let horizon = horizon();
        // SeqCst: before all the looks below, and seen by every registration that these miss. The largest of several
        // builders counts.
        self.floor.fetch_max(horizon.get(), Ordering::SeqCst);
        SnapSet::new(horizon, self.active())
    }

    /// Whether somebody reads below `ts`. If not, nobody ever will from now on: who registers later reads there or above (R1).
    ///
    /// ```
    /// use duramen_base::Timestamp;
    /// use duramen_txn::Snapshots;
    /// let snapshots = Snapshots::new();
    /// let reader = snapshots.register(|| Timestamp::new(4));
    /// assert!(!snapshots.has_below(Timestamp::new(4)) && snapshots.has_below(Timestamp::new(5)));
    /// # drop(reader);
    /// ```
    pub fn has_below(&self, ts: Timestamp) -> bool {
        // SeqCst, as in `build_set`. One that is high enough was raised before, and its line stays shared by all who look.
        if self.floor.load(Ordering::SeqCst) < ts.get() {
            self.floor.fetch_max(ts.get(), Ordering::SeqCst);
        }
        let list = self.list.lock();
        list.slots.iter().any(|slot| slot.ts.load(Ordering::SeqCst) < ts.get())
    }

    /// Says to every registration, of now and later, that the database was closed.
    pub fn close(&self) {
        // Relaxed: guards no other memory; who reads on meanwhile reads what is there.
        self.home.closed.store(true, Ordering::Relaxed);
    }

    /// The oldest timestamp somebody reads at, for statistics.
    pub fn oldest_active(&self) -> Option<Timestamp> {
        self.active().into_iter().min()
    }

    /// How many readers there are, for statistics.
    pub fn active_count(&self) -> usize {
        self.active().len()
    }

    fn active(&self) -> Vec<Timestamp> {
        let list = self.list.lock();
        let values = list.slots.iter().map(|slot| slot.ts.load(Ordering::SeqCst)); // (3) of the module
        values.filter(|&ts| ts != FREE).map(Timestamp::new).collect()
    }

    /// (2) of the module: whether a reader that shows `ts` in its slot is one that every set built so far respects.
    #[inline]
    fn is_kept(&self, ts: Timestamp) -> bool {
        mutant!("register_without_recheck") || self.floor.load(Ordering::SeqCst) <= ts.get()
    }

    #[inline]
    fn claim(&self, ts: Timestamp) -> Registration {
        let slot = self.claim_at_home(ts).unwrap_or_else(|| self.claim_from_list(ts));
        Registration { slot, ts }
    }

    #[inline]
    fn claim_at_home(&self, ts: Timestamp) -> Option<Arc<Slot>> {
        if cfg!(duramen_sim) {
            return None; // Simulated threads share one real thread, and so its home.
        }
        // While thread-locals are being destroyed there is no home; the list serves.
        let claimed = HOME.try_with(|home| {
            let home = home.borrow();
            home.iter().find(|slot| Arc::ptr_eq(&slot.home, &self.home) && slot.try_claim(ts)).cloned()
        });
        claimed.ok().flatten()
    }

    #[cold]
    fn claim_from_list(&self, ts: Timestamp) -> Arc<Slot> {
        loop {
            let slot = self.list.lock().take(&self.home);
            // Nobody else has it, but the word that its last reader ended may not have come through yet: then take
            // another.
            if slot.try_claim(ts) {
                self.remember_at_home(&slot);
                return slot;
            }
        }
    }

    fn remember_at_home(&self, slot: &Arc<Slot>) {
        if cfg!(duramen_sim) {
            return;
        }
        // Without a home it is not remembered, and nothing is lost.
        let _ = HOME.try_with(|home| {
            let mut home = home.borrow_mut();
            if home.iter().filter(|slot| Arc::ptr_eq(&slot.home, &self.home)).count() < HOME_SLOTS_MAX {
                if home.len() == HOME_SLOTS_OF_ALL_MAX {
                    home.remove(0);
                }
                home.push(Arc::clone(slot));
            }
        });
    }
}

/// A reader at one timestamp: while it lives, what that timestamp sees is kept. It may end in another thread than it
/// began in.
///
/// ```
/// use duramen_base::Timestamp;
/// use duramen_txn::Snapshots;
/// let snapshots = Snapshots::new();
/// let reader = snapshots.register(|| Timestamp::new(4));
/// assert_eq!((reader.ts(), snapshots.active_count()), (Timestamp::new(4), 1));
/// drop(reader);
/// assert_eq!(snapshots.active_count(), 0);
/// ```
#[derive(Debug)]
pub struct Registration {
    /// Keeps the slot, not the [`Snapshots`]: a count shared by all threads would cost more than all the rest.
    slot: Arc<Slot>,
    ts: Timestamp,
}

impl Registration {
    /// The commit it reads at.
    #[inline]
    pub fn ts(&self) -> Timestamp {
        self.ts
    }

    /// Whether [`Snapshots::close`] was called.
    ///
    /// ```
    /// use duramen_base::Timestamp;
    /// use duramen_txn::Snapshots;
    /// let snapshots = Snapshots::new();
    /// let reader = snapshots.register(|| Timestamp::new(4));
    /// snapshots.close();
    /// assert!(reader.is_closed());
    /// ```
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.slot.home.closed.load(Ordering::Relaxed)
    }

    /// (1) of the module, again.
    #[cold]
    fn move_to(&mut self, ts: Timestamp) {
        debug_assert!(ts >= self.ts, "a horizon never falls: {ts} after {}", self.ts);
        self.ts = ts;
        self.slot.ts.store(ts.get(), Ordering::SeqCst);
    }
}

impl Drop for Registration {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the look of `build_set`. Who finds the slot free comes after everything this reader read.
        self.slot.ts.store(FREE, Ordering::Release);
    }
}
