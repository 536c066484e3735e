//! Whether each victim of a storm was in a circle: found out afterwards, from what the threads noted themselves.
//!
//! Every transaction notes what it asked for and when it got it, by one clock for all. It shares nothing with the engine's graph, and knows only
//! what a program can know: it asked before the engine saw it, and got its answer after. So each wait and each lock is taken for longer than it was, and
//! whoever is in no circle even so was given up without need.
//!
//! O1  A victim's last request, which it waited for, is part of a circle of waits that all were there at one moment.

use crate::threads::{AtomicU64, Mutex, Ordering};

/// What a request is for: keys from `low` up to, without, `high` of a keyspace, or the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) keyspace: usize,
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) is_shared: bool,
    /// Whether it is taken piece by piece, so that part of it is held while the rest is waited for.
    pub(super) in_parts: bool,
}

impl Wish {
    fn conflicts(&self, other: &Wish) -> bool {
        let overlaps = self.low < other.high && other.low < self.high;
        self.keyspace == other.keyspace && overlaps && !(self.is_shared && other.is_shared)
    }
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    wish: Wish,
    from: u64,
    /// `None`: it was given up.
    granted: Option<u64>,
}

/// One attempt of one transaction.
#[derive(Clone, Debug, Default)]
struct Attempt {
    asked: Vec<Asked>,
    ended: u64,
    is_victim: bool,
}

/// What all threads of a storm noted.
#[derive(Debug, Default)]
pub(super) struct Notes {
    clock: AtomicU64,
    attempts: Mutex<Vec<Attempt>>,
}

/// What one attempt notes.
pub(super) struct Noting<'a> {
    notes: &'a Notes,
    attempt: Attempt,
}

impl Notes {
    pub(super) fn begin(&self) -> Noting<'_> {
        Noting { notes: self, attempt: Attempt::default() }
    }

    fn now(&self) -> u64 {
        // Sequentially consistent: an order that all threads agree on.
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// How many victims were in no circle (O1), and how many there were.
    pub(super) fn judge(&self) -> (usize, usize) {
        let attempts = self.attempts.lock().expect("no thread panics");
        let victims = (0..attempts.len()).filter(|&at| attempts[at].is_victim);
        let judged: Vec<bool> = victims.map(|victim| is_in_a_circle(&attempts, victim)).collect();
        (judged.iter().filter(|in_a_circle| !**in_a_circle).count(), judged.len())
    }
}

impl Noting<'_> {
    /// Asks for `wish` by `ask`, and notes when.
    pub(super) fn ask<E>(&mut self, wish: Wish, ask: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let from = self.notes.now();
        let answer = ask();
        let granted = answer.is_ok().then(|| self.notes.now());
        self.attempt.asked.push(Asked { wish, from, granted });
        answer
    }

    /// After its end, when its locks have fallen.
    pub(super) fn end(mut self, is_victim: bool) {
        self.attempt.ended = self.notes.now();
        self.attempt.is_victim = is_victim;
        self.notes.attempts.lock().expect("no thread panics").push(self.attempt);
    }
}

/// A stretch of time.
type Span = (u64, u64);

fn common(a: Span, b: Span) -> Option<Span> {
    let both = (a.0.max(b.0), a.1.min(b.1));
    (both.0 <= both.1).then_some(both)
}

fn is_in_a_circle(attempts: &[Attempt], victim: usize) -> bool {
    let Some(last) = attempts[victim].asked.last().filter(|asked| asked.granted.is_none()) else { return false };
    let span = (last.from, attempts[victim].ended);
    reaches(attempts, &mut vec![victim], last, span, victim)
}

/// Whether `victim` is reached from somebody who waits for `asked` at a moment of `span`, over others than those in `path`.
fn reaches(attempts: &[Attempt], path: &mut Vec<usize>, asked: &Asked, span: Span, victim: usize) -> bool {
    (0..attempts.len()).any(|next| {
        let (has, attempt) = (&attempts[next].asked, &attempts[next]);
        let may_hold = |held: &&Asked| held.granted.is_some() || held.wish.in_parts;
        has.iter().filter(|held| may_hold(held) && held.wish.conflicts(&asked.wish)).any(|held| {
            if *path.last().expect("the victim is in it") == next {
                return false; // Nobody waits for itself.
            }
            let Some(span) = common(span, (held.from, attempt.ended)) else { return false };
            if next == victim {
                return true;
            }
            if path.contains(&next) {
                return false;
            }
            path.push(next);
            let found = has.iter().any(|waits| {
                let until = waits.granted.unwrap_or(attempt.ended);
                common(span, (waits.from, until)).is_some_and(|span| reaches(attempts, path, waits, span, victim))
            });
            path.pop();
            found
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: usize) -> Wish {
        Wish { keyspace: 0, low: key, high: key + 1, is_shared: false, in_parts: false }
    }

    #[test]
    fn a_victim_of_a_circle_is_told_from_one_without() {
        let notes = Notes::default();
        let (mut one, mut two) = (notes.begin(), notes.begin());
        one.ask(key(1), || Ok::<(), ()>(())).expect("granted");
        two.ask(key(2), || Ok::<(), ()>(())).expect("granted");
        // Each wants the other's; the second is given up.
        let outcome = one.ask(key(2), || {
            two.ask(key(1), || Err::<(), ()>(())).expect_err("given up");
            two.end(true);
            Ok::<(), ()>(())
        });
        outcome.expect("granted then");
        one.end(false);
        assert_eq!(notes.judge(), (0, 1));

        let mut alone = notes.begin();
        alone.ask(key(1), || Err::<(), ()>(())).expect_err("given up for nothing");
        alone.end(true);
        assert_eq!(notes.judge(), (1, 2), "O1");
    }

    #[test]
    fn who_waits_for_readers_only_conflicts_as_a_writer() {
        let shared = Wish { is_shared: true, ..key(1) };
        let range = Wish { low: 0, high: 5, ..key(0) };
        assert!(!shared.conflicts(&shared) && shared.conflicts(&range) && !key(7).conflicts(&range));
        assert!(!Wish { keyspace: 1, ..range }.conflicts(&range));
    }
}
