//! The slot in which one reader after the other announces where it reads: its timestamp, who it is, and whether it was ended from outside.
//!
//! Written by whoever has it, looked at by all. `snapshots.rs` has the protocol, `watch.rs` ends readers that have grown too old.
//!
//! R3  A slot belongs to one registration at a time: its value is the ts, or `FREE`.
//! R5  Each registration is a *turn* of its slot with a number of its own, noted, with who it is, before its ts is announced: who finds a ts
//!     finds its turn, or a later one.
//! R6  A turn that was ended is in no set built later, and finds out by itself: whoever reads looks at [`Slot::is_ended`] after it has read.
//! R7  A ts and the role of its reader are one word: whoever finds the one finds the other. A role is only ever given up.
//! R9  `holders` is how many share the turn. Only a holder makes another, so one who finds itself alone stays so; it gives the slot back.

use std::panic::Location;

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use duramen_base::sync::{Arc, Mutex};
use duramen_base::{Timestamp, TxnOrigin, mutant};

/// No commit has this number, so no reader does.
const FREE: u64 = u64::MAX;
/// A word is a ts, shifted by this, and a role (R7). Commits at a million a second reach the end of 62 bits in 146,000 years.
const ROLE_BITS: u32 = 2;

/// What a reader is among the serializable transactions (`ssi.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// None of them, or one that need not be checked.
    Plain = 0,
    /// One that declared that it only reads.
    SerialReader = 1,
    /// One that may write.
    SerialWriter = 2,
}

impl Role {
    fn of(word: u64) -> Role {
        match word & ((1 << ROLE_BITS) - 1) {
            0 => Role::Plain,
            1 => Role::SerialReader,
            _ => Role::SerialWriter,
        }
    }
}

/// What a look into a slot finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) ts: Timestamp,
    pub(super) role: Role,
    /// Whether it was ended from outside: it keeps nothing any more (R6).
    pub(super) is_ended: bool,
}

fn word_of(ts: Timestamp, role: Role) -> u64 {
    debug_assert!(ts.get() < FREE >> ROLE_BITS, "R3: a reader reads at a commit");
    ts.get() << ROLE_BITS | role as u64
}

/// What all slots of one database share. Registrations reach it through their slot, whose count is not shared: so they need not count the
/// database itself.
#[derive(Debug, Default)]
pub(super) struct Home {
    pub(super) closed: AtomicBool,
}

/// On cache lines of its own, like the counts of the `Arc` around it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Slot {
    /// R7.
    word: AtomicU64,
    /// The number of its registration, the first has 1. Raised only by who may claim it.
    turn: AtomicU64,
    /// The last turn that was ended from outside (R6).
    ended: AtomicU64,
    /// The last turn that must not be.
    spared: AtomicU64,
    /// R9.
    holders: AtomicUsize,
    who: Who,
    /// The database it belongs to.
    pub(super) home: Arc<Home>,
}

impl Slot {
    pub(super) fn new(home: &Arc<Home>) -> Slot {
        let zero = || AtomicU64::new(0);
        let (word, turn, ended, spared) = (AtomicU64::new(FREE), zero(), zero(), zero());
        let holders = AtomicUsize::new(0);
        Slot { word, turn, ended, spared, holders, who: Who::default(), home: Arc::clone(home) }
    }

    /// Takes the slot for a reader at `ts`, if it is free (R3); only one thread may try. SeqCst: (1) of `snapshots.rs`.
    #[inline]
    pub(super) fn try_claim(&self, origin: &TxnOrigin, ts: Timestamp, role: Role, may_be_ended: bool) -> bool {
        // A look first: taking the line of a slot that is in use would be for nothing. Acquire: its last turn is behind us.
        if self.word.load(Ordering::Acquire) != FREE {
            return false;
        }
        let turn = self.turn() + 1;
        self.turn.store(turn, Ordering::Relaxed); // R5: announced with the ts
        if !may_be_ended {
            self.spared.store(turn, Ordering::Relaxed);
        }
        self.holders.store(1, Ordering::Relaxed);
        self.who.note(origin);
        self.word.compare_exchange(FREE, word_of(ts, role), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// (1) of `snapshots.rs`, again.
    pub(super) fn move_to(&self, ts: Timestamp, role: Role) {
        self.word.store(word_of(ts, role), Ordering::SeqCst);
    }

    /// Its reader is nothing but a reader from now on (R7).
    #[inline]
    pub(super) fn give_up_role(&self, ts: Timestamp) {
        // Release: pairs with the look of whoever asks for serializable ones. Who does not find it comes after everything it did as one.
        self.word.store(word_of(ts, Role::Plain), Ordering::Release);
    }

    /// One more holder shares its turn (R9).
    #[inline]
    pub(super) fn share(&self) {
        // Relaxed: who makes a holder is one.
        self.holders.fetch_add(1, Ordering::Relaxed);
    }

    /// A holder goes; the last one gives the slot back. Whether it was the last.
    #[inline]
    pub(super) fn let_go(&self) -> bool {
        // Acquire, and Release: the last one comes after everything that the others read. Who is alone need not take the line for a count.
        let is_last = self.holders.load(Ordering::Acquire) == 1
            || self.holders.fetch_sub(1, Ordering::AcqRel) == 1
            || mutant!("first_holder_frees");
        if is_last {
            // Release: pairs with the look of `build_set`. Who finds the slot free comes after everything this reader read.
            self.word.store(FREE, Ordering::Release);
        }
        is_last
    }

    /// Where its reader reads, if it has one; a reader that was ended counts as none (R6).
    pub(super) fn active(&self) -> Option<Timestamp> {
        self.look().filter(|seen| !seen.is_ended).map(|seen| seen.ts)
    }

    /// Its reader, if it has one. SeqCst: (3) of `snapshots.rs`.
    pub(super) fn look(&self) -> Option<Seen> {
        // The word first: by R5 the turn is then its own or a later one, and no turn is ended before its ts was found.
        let word = self.word.load(Ordering::SeqCst);
        if word == FREE {
            return None;
        }
        // Acquire: what is dropped because of this comes after the mark.
        let is_ended = self.ended.load(Ordering::Acquire) == self.turn();
        Some(Seen { ts: Timestamp::new(word >> ROLE_BITS), role: Role::of(word), is_ended })
    }

    /// Where its reader reads, ended or not.
    pub(super) fn announced(&self) -> Option<Timestamp> {
        self.look().map(|seen| seen.ts)
    }

    /// The number of the registration that has it, or had it last.
    #[inline]
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Who has it; of use only if the turn is the same before and after.
    pub(super) fn who(&self) -> Option<TxnOrigin> {
        *self.who.said.lock()
    }

    /// Ends `turn` from outside, unless it is spared (R6); whether it did.
    pub(super) fn end(&self, turn: u64) -> bool {
        // Relaxed: announced with the ts that was found.
        if self.spared.load(Ordering::Relaxed) == turn {
            return false;
        }
        // SeqCst: before all that is dropped for it. Marks nobody if the turn is over: no later one has its number.
        self.ended.store(turn, Ordering::SeqCst);
        true
    }

    /// Whether `turn` was ended from outside. Of all that was read before this call nothing was dropped if not.
    #[inline]
    pub(super) fn is_ended(&self, turn: u64) -> bool {
        // Whoever read something that is as it is because the turn was ended came by it through an Acquire that pairs with a Release
        // after the mark; the fence keeps this look behind that.
        fence(Ordering::Acquire);
        self.ended.load(Ordering::Relaxed) == turn
    }
}

/// Who reads. One reader after the other comes from the same place of the program: then there is nothing to write.
#[derive(Debug, Default)]
struct Who {
    /// What `said` is made of: the addresses of the place and of the label, and its length. Written only by who may claim the slot.
    words: [AtomicUsize; 3],
    said: Mutex<Option<TxnOrigin>>,
}

impl Who {
    #[inline]
    fn note(&self, origin: &TxnOrigin) {
        let label = origin.label.map_or((0, 0), |label| (label.as_ptr().addr(), label.len()));
        let words = [std::ptr::from_ref::<Location<'_>>(origin.begun_at).addr(), label.0, label.1];
        let differs = |at: usize| self.words[at].load(Ordering::Relaxed) ^ words[at];
        if differs(0) | differs(1) | differs(2) != 0 {
            self.replace(words, origin);
        }
    }

    #[cold]
    fn replace(&self, words: [usize; 3], origin: &TxnOrigin) {
        self.words.iter().zip(words).for_each(|(known, word)| known.store(word, Ordering::Relaxed));
        *self.said.lock() = Some(*origin);
    }
}
