//! Who reads at which timestamp, so that the versions they need are kept.
//!
//! A reader announces its timestamp in a slot of its own; whoever wants to drop versions publishes a floor and then
//! looks into all slots. No version is known here, and nothing waits. Registering and ending touches only cache lines
//! that stay with the thread. `snapshots/watch.rs` says how long readers live, and ends those that grow too old.
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
//! R4  All slots that can have a value are in the list. A slot counted once is in the list only, so that holding the
//!     list's mutex is enough to take it. A slot at home is free, and nobody else's: its registration took it from there, or from the list, and the last
//!     holder brings it to the home of its own thread.
//!
//! A serializable transaction that is checked at its end (`ssi.rs`) is a reader with a *role*, in the same slot: one registration keeps both the
//! versions and the facts it needs. It must respect two more floors, raised and looked at by the same protocol:
//!
//! R8  `facts_floor`: facts of commits up to there may be gone. `writers_floor`: somebody who reads there relies on it that no writer below
//!     lives or comes. A ts with a role is at least the floors for its role, as they were at (2).
//!
//! `snapshots/slot.rs` has R3, R5 to R7, R9. A slot shown for a moment with a ts below the floor, by a reader about to start again, only makes a set keep too
//! much.

use std::cell::RefCell;

use duramen_base::sync::atomic::{AtomicU64, Ordering, fence};
use duramen_base::sync::{Arc, Mutex, Padded};
use duramen_base::{SnapSet, Timestamp, TxnOrigin, mutant};

pub(crate) use slot::Role;
use slot::{Home, Slot};
use watch::Listed;
pub use watch::ReaderInfo;

mod slot;
mod watch;

#[cfg(all(test, not(duramen_sim)))]
mod tests;

/// How many slots a thread keeps for itself per database: a transaction and a few cursors. Further ones go through
/// the list.
const HOME_SLOTS_MAX: usize = 4;
/// How many slots a thread keeps in all; beyond that the oldest goes back to its list.
const HOME_SLOTS_OF_ALL_MAX: usize = 16;
/// How many slots of the list are looked at before one is added: what it costs at most when very many snapshots are
/// open.
const LIST_LOOKS_MAX: usize = 64;

thread_local! {
    /// Free slots that this thread used last, of any database (R4).
    static HOME: RefCell<Vec<Arc<Slot>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
struct SlotList {
    slots: Vec<Listed>,
    /// Where to look next for one that nobody uses.
    next: usize,
}

impl SlotList {
    /// A slot that no registration and no thread has (R4), a new one if none turns up soon. Counted twice from then on.
    fn take(&mut self, home: &Arc<Home>) -> Arc<Slot> {
        for _ in 0..self.slots.len().min(LIST_LOOKS_MAX) {
            self.next = (self.next + 1) % self.slots.len();
            let slot = &self.slots[self.next].slot;
            if Arc::strong_count(slot) == 1 {
                // Pairs with whoever gave it up: its last turn is over for us, too.
                fence(Ordering::Acquire);
                return Arc::clone(slot);
            }
        }
        self.next = self.slots.len();
        self.slots.push(Listed::new(Arc::new(Slot::new(home))));
        Arc::clone(&self.slots[self.next].slot)
    }
}

/// The readers of one database.
///
/// ```
/// use duramen_base::{Timestamp, TxnOrigin};
/// use duramen_txn::Snapshots;
/// let (ts, me) = (Timestamp::new, TxnOrigin::here(None));
/// let snapshots = Snapshots::new();
/// let old = snapshots.register(&me, || ts(4));
/// let set = snapshots.build_set(|| ts(9));
/// assert_eq!((set.oldest(), set.horizon()), (ts(4), ts(9)));
/// drop(old);
/// assert_eq!(snapshots.build_set(|| ts(9)).oldest(), ts(9));
/// assert!(snapshots.register_at(&me, ts(8)).is_none()); // too late: its versions may be gone
/// ```
#[derive(Debug)]
pub struct Snapshots {
    /// Readers that come from now on read here or above.
    floor: Padded<AtomicU64>,
    /// R8. Beside each other: whoever has a role looks at both, and nobody else does.
    serial_floors: Padded<SerialFloors>,
    list: Mutex<SlotList>,
    home: Arc<Home>,
}

/// See R8.
#[derive(Debug, Default)]
struct SerialFloors {
    facts: AtomicU64,
    writers: AtomicU64,
}

/// Who reads below a timestamp and may write. See [`Snapshots::writers_below`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WritersBelow {
    /// Nobody, and nobody ever will.
    Nobody,
    /// Only such as were ended from outside: they will not commit, unless they are about to.
    Ended,
    /// Somebody does.
    Somebody,
}

impl Snapshots {
    /// Nobody reads.
    pub fn new() -> Arc<Snapshots> {
        Arc::new(Snapshots {
            floor: Padded::default(),
            serial_floors: Padded::default(),
            list: Mutex::default(),
            home: Arc::default(),
        })
    }

    /// Registers `who` as a reader at what `read` answers. `read` is asked again while its answer is below the floor, so it
    /// must be a horizon that never falls and is never below the one given to [`Snapshots::build_set`] before: acked
    /// or visible. For other timestamps there is [`Snapshots::register_at`].
    #[inline]
    pub fn register(&self, who: &TxnOrigin, read: impl Fn() -> Timestamp) -> Registration {
        self.settle(self.claim(who, read(), Role::Plain, true), read)
    }

    /// As [`Snapshots::register`], with a role.
    #[inline]
    pub(crate) fn register_as(&self, who: &TxnOrigin, role: Role, read: impl Fn() -> Timestamp) -> Registration {
        self.settle(self.claim(who, read(), role, true), read)
    }

    /// As [`Snapshots::register`], a reader that is never ended from outside: for reads whose results nobody checks.
    ///
    /// ```
    /// use duramen_base::{Timestamp, TxnOrigin};
    /// use duramen_txn::Snapshots;
    /// use std::time::Duration;
    /// let snapshots = Snapshots::new();
    /// let reader = snapshots.register_for_good(&TxnOrigin::here(None), || Timestamp::new(4));
    /// snapshots.look(Duration::ZERO);
    /// snapshots.end_older(Duration::from_secs(9), Duration::from_secs(5));
    /// assert!(!reader.is_ended());
    /// ```
    pub fn register_for_good(&self, who: &TxnOrigin, read: impl Fn() -> Timestamp) -> Registration {
        self.settle(self.claim(who, read(), Role::Plain, false), read)
    }

    #[inline]
    fn settle(&self, mut registration: Registration, read: impl Fn() -> Timestamp) -> Registration {
        while !self.is_kept(registration.ts, registration.role) {
            registration.move_to(read());
        }
        registration
    }

    /// Registers `who` as a reader at exactly `ts`; `None` if it is below the floor, so that versions it needs may be gone.
    pub fn register_at(&self, who: &TxnOrigin, ts: Timestamp) -> Option<Registration> {
        self.register_at_as(who, Role::Plain, ts)
    }

    /// As [`Snapshots::register_at`], with a role.
    pub(crate) fn register_at_as(&self, who: &TxnOrigin, role: Role, ts: Timestamp) -> Option<Registration> {
        let registration = self.claim(who, ts, role, true);
        self.is_kept(ts, role).then_some(registration)
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

    /// The oldest ts that somebody with a role reads at, `horizon` if nobody does below: facts up to there go, and who comes later with a role
    /// reads at `horizon` or above (R1, R8).
    pub(crate) fn oldest_serial(&self, horizon: Timestamp) -> Timestamp {
        self.serial_floors.facts.fetch_max(horizon.get(), Ordering::SeqCst);
        let list = self.list.lock();
        let seen = list.slots.iter().filter_map(|listed| listed.slot.look());
        let active = seen.filter(|seen| seen.role != Role::Plain && !seen.is_ended).map(|seen| seen.ts);
        active.min().unwrap_or(horizon).min(horizon)
    }

    /// Whether somebody who may write reads below `ts`. If not, nobody ever will from now on: a writer that registers later reads there or above
    /// (R1, R8).
    pub(crate) fn writers_below(&self, ts: Timestamp) -> WritersBelow {
        let floor = &self.serial_floors.writers;
        // SeqCst, as in `build_set`. One that is high enough was raised before, and its line stays shared by all who look.
        if floor.load(Ordering::SeqCst) < ts.get() {
            floor.fetch_max(ts.get(), Ordering::SeqCst);
        }
        let list = self.list.lock();
        let seen = list.slots.iter().filter_map(|listed| listed.slot.look());
        let below = seen.filter(|seen| seen.role == Role::SerialWriter && seen.ts < ts);
        let each = below.map(|seen| if seen.is_ended { WritersBelow::Ended } else { WritersBelow::Somebody });
        each.max().unwrap_or(WritersBelow::Nobody)
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
        self.list.lock().slots.iter().filter_map(|listed| listed.slot.active()).collect() // (3) of the module
    }

    /// (2) of the module: whether a reader that shows `ts` in its slot is one that every set built so far respects.
    #[inline]
    fn is_kept(&self, ts: Timestamp, role: Role) -> bool {
        let is_above = |floor: &AtomicU64| floor.load(Ordering::SeqCst) <= ts.get();
        let (floor, serial) = (&*self.floor, &self.serial_floors);
        mutant!("register_without_recheck")
            || is_above(floor)
                && match role {
                    Role::Plain => true,
                    Role::SerialReader => is_above(&serial.facts),
                    Role::SerialWriter => {
                        let is_above_writers = is_above(&serial.writers) || mutant!("writer_below_a_safe_reader");
                        is_above(&serial.facts) && is_above_writers
                    }
                }
    }

    #[inline]
    fn claim(&self, who: &TxnOrigin, ts: Timestamp, role: Role, may_be_ended: bool) -> Registration {
        let slot = self.claim_at_home(who, ts, role, may_be_ended);
        let slot = slot.unwrap_or_else(|| self.claim_from_list(who, ts, role, may_be_ended));
        Registration { slot: Some(slot), ts, role }
    }

    #[inline]
    fn claim_at_home(&self, who: &TxnOrigin, ts: Timestamp, role: Role, may_be_ended: bool) -> Option<Arc<Slot>> {
        if cfg!(duramen_sim) {
            return None; // Simulated threads share one real thread, and so its home.
        }
        // While thread-locals are being destroyed there is no home; the list serves.
        let taken = HOME.try_with(|home| {
            let mut home = home.borrow_mut();
            let at = home.iter().rposition(|slot| Arc::ptr_eq(&slot.home, &self.home))?;
            Some(home.swap_remove(at))
        });
        taken.ok().flatten().filter(|slot| slot.try_claim(who, ts, role, may_be_ended))
    }

    #[cold]
    fn claim_from_list(&self, who: &TxnOrigin, ts: Timestamp, role: Role, may_be_ended: bool) -> Arc<Slot> {
        loop {
            let slot = self.list.lock().take(&self.home);
            // Nobody else has it, but the word that its last reader ended may not have come through yet: then take
            // another.
            if slot.try_claim(who, ts, role, may_be_ended) {
                return slot;
            }
        }
    }
}

/// Brings a slot that was given back to the home of this thread (R4).
#[inline]
fn bring_home(slot: Arc<Slot>) {
    if cfg!(duramen_sim) {
        return;
    }
    // Without a home the list has it, and nothing is lost.
    let _ = HOME.try_with(|home| {
        let mut home = home.borrow_mut();
        if home.len() < HOME_SLOTS_MAX || has_room(&mut home, &slot) {
            home.push(slot);
        }
    });
}

/// Whether a home with several slots is to have this one, too; the oldest goes if there are too many of all databases.
#[cold]
fn has_room(home: &mut Vec<Arc<Slot>>, slot: &Slot) -> bool {
    let has_room = home.iter().filter(|at_home| Arc::ptr_eq(&at_home.home, &slot.home)).count() < HOME_SLOTS_MAX;
    if has_room && home.len() == HOME_SLOTS_OF_ALL_MAX {
        home.remove(0);
    }
    has_room
}

/// A reader at one timestamp: while it lives, what that timestamp sees is kept. It may end in another thread than it
/// began in. A clone is the same reader, which lives until the last of them goes.
///
/// ```
/// use duramen_base::{Timestamp, TxnOrigin};
/// use duramen_txn::Snapshots;
/// let snapshots = Snapshots::new();
/// let reader = snapshots.register(&TxnOrigin::here(None), || Timestamp::new(4));
/// assert_eq!((reader.ts(), snapshots.active_count()), (Timestamp::new(4), 1));
/// let same = reader.clone();
/// drop(reader);
/// assert_eq!((same.ts(), snapshots.active_count()), (Timestamp::new(4), 1));
/// drop(same);
/// assert_eq!(snapshots.active_count(), 0);
/// ```
#[derive(Debug)]
pub struct Registration {
    /// Keeps the slot, not the [`Snapshots`]: a count shared by all threads would cost more than all the rest. Taken out when it is dropped.
    slot: Option<Arc<Slot>>,
    ts: Timestamp,
    /// The role it began with.
    role: Role,
}

impl Registration {
    #[inline]
    fn slot(&self) -> &Arc<Slot> {
        self.slot.as_ref().expect("it is not dropped yet")
    }

    /// The commit it reads at.
    #[inline]
    pub fn ts(&self) -> Timestamp {
        self.ts
    }

    /// Whether [`Snapshots::close`] was called.
    ///
    /// ```
    /// use duramen_base::{Timestamp, TxnOrigin};
    /// use duramen_txn::Snapshots;
    /// let snapshots = Snapshots::new();
    /// let reader = snapshots.register(&TxnOrigin::here(None), || Timestamp::new(4));
    /// snapshots.close();
    /// assert!(reader.is_closed());
    /// ```
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.slot().home.closed.load(Ordering::Relaxed)
    }

    /// Whether it was ended from outside, by [`Snapshots::end_older`]: then what was read until now may have been incomplete, and is not to
    /// be used. To be asked after each read, before its result is given away (R6).
    ///
    /// ```
    /// use duramen_base::{Timestamp, TxnOrigin};
    /// use duramen_txn::Snapshots;
    /// use std::time::Duration;
    /// let snapshots = Snapshots::new();
    /// let reader = snapshots.register(&TxnOrigin::here(None), || Timestamp::new(4));
    /// snapshots.look(Duration::ZERO);
    /// snapshots.end_older(Duration::from_secs(9), Duration::from_secs(5));
    /// assert!(reader.is_ended());
    /// assert_eq!(snapshots.build_set(|| Timestamp::new(9)).oldest(), Timestamp::new(9));
    /// ```
    #[inline]
    pub fn is_ended(&self) -> bool {
        let slot = self.slot();
        slot.is_ended(slot.turn()) && !mutant!("ended_reader_goes_on")
    }

    /// A word on this registration for somebody else, good for as long as the registration lives.
    ///
    /// ```
    /// use duramen_base::{Timestamp, TxnOrigin};
    /// use duramen_txn::Snapshots;
    /// let snapshots = Snapshots::new();
    /// let reader = snapshots.register(&TxnOrigin::here(None), || Timestamp::new(4));
    /// assert!(!reader.handle().is_ended());
    /// ```
    pub fn handle(&self) -> ReaderHandle {
        ReaderHandle { slot: Arc::clone(self.slot()), turn: self.slot().turn() }
    }

    /// From now on it keeps versions only, and no facts: its transaction among the serializable ones is over, or need not be checked. To be
    /// followed by [`crate::Ssi::note_end`].
    ///
    /// ```
    /// use duramen_base::{Budget, Timestamp, TxnOrigin};
    /// use duramen_txn::{Snapshots, Ssi};
    /// let snapshots = Snapshots::new();
    /// let ssi = Ssi::new(&snapshots, Budget::new(1 << 20), 1 << 20);
    /// let reader = ssi.begin(&TxnOrigin::here(None), true, || Timestamp::new(4));
    /// assert!(!ssi.is_safe(Timestamp::new(5)));
    /// reader.leave_the_serializable();
    /// ssi.note_end();
    /// assert!(ssi.is_safe(Timestamp::new(5)));
    /// assert_eq!(snapshots.oldest_active(), Some(Timestamp::new(4)));
    /// ```
    #[inline]
    pub fn leave_the_serializable(&self) {
        self.slot().give_up_role(self.ts);
    }

    /// (1) of the module, again.
    #[cold]
    fn move_to(&mut self, ts: Timestamp) {
        debug_assert!(ts >= self.ts, "a horizon never falls: {ts} after {}", self.ts);
        self.ts = ts;
        self.slot().move_to(ts, self.role);
    }
}

impl Clone for Registration {
    #[inline]
    fn clone(&self) -> Registration {
        self.slot().share(); // R9
        Registration { slot: self.slot.clone(), ..*self }
    }
}

impl Drop for Registration {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take().filter(|slot| slot.let_go()) {
            bring_home(slot);
        }
    }
}

/// Tells of a [`Registration`] that lives whether it was ended from outside. See [`Registration::handle`].
#[derive(Clone, Debug)]
pub struct ReaderHandle {
    slot: Arc<Slot>,
    turn: u64,
}

impl ReaderHandle {
    /// As [`Registration::is_ended`].
    pub fn is_ended(&self) -> bool {
        self.slot.is_ended(self.turn) && !mutant!("ended_reader_goes_on")
    }
}
