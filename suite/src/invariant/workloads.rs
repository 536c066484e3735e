//! The workloads: what they do, and what must hold.

use duramen::IsolationLevel::{self, ReadUncommitted, RepeatableRead, Serializable};
use duramen::Result;

use super::{Hand, Workload};

/// All of them.
pub(super) const ALL: &[&dyn Workload] = &[&Bank, &Tickets, &Generations, &Doctors, &Bookings, &PairedRanges];

const ACCOUNTS: u64 = 6;
const TOTAL: i64 = 100 * ACCOUNTS as i64;

/// Transfers between accounts. The sum never changes, and one scan sees all accounts at one moment.
struct Bank;

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn is_promised(&self, level: IsolationLevel) -> bool {
        level != ReadUncommitted
    }

    fn is_promised_in_the_end(&self, _level: IsolationLevel) -> bool {
        true
    }

    fn start(&self, hand: &mut Hand<'_>) -> Result<()> {
        (0..ACCOUNTS).try_for_each(|account| hand.put(&format!("a{account}"), TOTAL / ACCOUNTS as i64))
    }

    fn work(&self, hand: &mut Hand<'_>) -> Result<Option<i64>> {
        let from = hand.dice.below(ACCOUNTS);
        let to = (from + 1 + hand.dice.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = hand.dice.below(10) as i64;
        // In one order, so that locks are taken in one order.
        let (first, second) = (from.min(to), from.max(to));
        let change = |account| if account == from { -amount } else { amount };
        let (first_key, second_key) = (format!("a{first}"), format!("a{second}"));
        let first_balance = hand.number(&first_key)?.unwrap_or_default();
        let second_balance = hand.number(&second_key)?.unwrap_or_default();
        hand.put(&first_key, first_balance + change(first))?;
        hand.put(&second_key, second_balance + change(second))?;
        Ok(None)
    }

    fn audit(&self, hand: &mut Hand<'_>) -> Result<Option<String>> {
        let sum: i64 = hand.rows("a", "b")?.iter().map(|(_, balance)| balance).sum();
        Ok((sum != TOTAL).then(|| format!("the accounts hold {sum}, not {TOTAL}")))
    }
}

/// Everybody draws the next number. No number is drawn twice and none is left out.
struct Tickets;

impl Workload for Tickets {
    fn name(&self) -> &'static str {
        "tickets"
    }

    fn is_promised(&self, _level: IsolationLevel) -> bool {
        true
    }

    fn start(&self, hand: &mut Hand<'_>) -> Result<()> {
        hand.put("next", 0)
    }

    fn work(&self, hand: &mut Hand<'_>) -> Result<Option<i64>> {
        let number = hand.number("next")?.unwrap_or_default();
        hand.put("next", number + 1)?;
        hand.put(&format!("t{number:06}"), number)?;
        Ok(Some(number))
    }

    fn audit(&self, _hand: &mut Hand<'_>) -> Result<Option<String>> {
        Ok(None)
    }

    fn judge(&self, remembered: &[i64], hand: &mut Hand<'_>) -> Result<Option<String>> {
        let mut drawn = remembered.to_vec();
        drawn.sort_unstable();
        if let Some(twice) = drawn.windows(2).find(|pair| pair[0] == pair[1]) {
            return Ok(Some(format!("ticket {} was drawn twice", twice[0])));
        }
        let kept = hand.rows("t", "u")?.len();
        let all = drawn.iter().copied().eq(0..drawn.len() as i64);
        Ok((!all || kept != drawn.len()).then(|| format!("{} were drawn, {kept} are there", drawn.len())))
    }
}

const PARTS: i64 = 5;

/// A range is deleted and written anew as a whole. A scan sees one generation of it.
struct Generations;

impl Workload for Generations {
    fn name(&self) -> &'static str {
        "generations"
    }

    fn is_promised(&self, level: IsolationLevel) -> bool {
        level != ReadUncommitted
    }

    fn is_promised_in_the_end(&self, _level: IsolationLevel) -> bool {
        true
    }

    fn start(&self, hand: &mut Hand<'_>) -> Result<()> {
        hand.put("counter", 0)?;
        (0..PARTS).try_for_each(|part| hand.put(&format!("g{part}"), 0))
    }

    fn work(&self, hand: &mut Hand<'_>) -> Result<Option<i64>> {
        let generation = hand.number("counter")?.unwrap_or_default() + 1;
        hand.put("counter", generation)?;
        hand.delete_range("g", "h")?;
        for part in 0..PARTS {
            hand.put(&format!("g{part}"), generation)?;
        }
        Ok(None)
    }

    fn audit(&self, hand: &mut Hand<'_>) -> Result<Option<String>> {
        let rows = hand.rows("g", "h")?;
        let one = rows.len() == PARTS as usize && rows.iter().all(|(_, generation)| *generation == rows[0].1);
        Ok((!one).then(|| format!("a scan saw {rows:?}")))
    }
}

const DOCTORS: u64 = 4;

/// A doctor goes off duty if another one is on. One always is.
struct Doctors;

impl Workload for Doctors {
    fn name(&self) -> &'static str {
        "doctors"
    }

    fn is_promised(&self, level: IsolationLevel) -> bool {
        // All the rows are there from the beginning, so RepeatableRead protects them.
        matches!(level, RepeatableRead | Serializable)
    }

    fn start(&self, hand: &mut Hand<'_>) -> Result<()> {
        (0..DOCTORS).try_for_each(|doctor| hand.put(&format!("d{doctor}"), 1))
    }

    fn work(&self, hand: &mut Hand<'_>) -> Result<Option<i64>> {
        let who = format!("d{}", hand.dice.below(DOCTORS));
        let rows = hand.rows("d", "e")?;
        let others = rows.iter().filter(|(doctor, on)| *doctor != who && *on == 1).count();
        hand.put(&who, i64::from(others == 0))?;
        Ok(None)
    }

    fn audit(&self, hand: &mut Hand<'_>) -> Result<Option<String>> {
        let nobody = hand.rows("d", "e")?.iter().all(|(_, on)| *on == 0);
        Ok(nobody.then(|| "nobody is on duty".to_owned()))
    }
}

const BOOKINGS_MAX: usize = 3;

/// A booking is made if there are fewer than three. There are never more.
struct Bookings;

impl Workload for Bookings {
    fn name(&self) -> &'static str {
        "bookings"
    }

    fn is_promised(&self, level: IsolationLevel) -> bool {
        level == Serializable
    }

    fn start(&self, _hand: &mut Hand<'_>) -> Result<()> {
        Ok(())
    }

    fn work(&self, hand: &mut Hand<'_>) -> Result<Option<i64>> {
        let rows = hand.rows("b", "c")?;
        if rows.len() < BOOKINGS_MAX {
            let number = hand.dice.next() % 1_000_000_000;
            hand.put(&format!("b{number:09}"), 1)?;
        } else {
            let (low, high) = (&rows[0].0, &rows[1].0);
            hand.delete_range(low, high)?;
        }
        Ok(None)
    }

    fn audit(&self, hand: &mut Hand<'_>) -> Result<Option<String>> {
        let count = hand.rows("b", "c")?.len();
        Ok((count > BOOKINGS_MAX).then(|| format!("{count} bookings, at most {BOOKINGS_MAX} are allowed")))
    }
}

/// A key goes into one range if the other is empty. They are never both in use.
struct PairedRanges;

impl Workload for PairedRanges {
    fn name(&self) -> &'static str {
        "paired ranges"
    }

    fn is_promised(&self, level: IsolationLevel) -> bool {
        level == Serializable
    }

    fn start(&self, _hand: &mut Hand<'_>) -> Result<()> {
        Ok(())
    }

    fn work(&self, hand: &mut Hand<'_>) -> Result<Option<i64>> {
        let ((own, own_end), (other, other_end)) =
            if hand.dice.one_in(2) { (("l", "m"), ("r", "s")) } else { (("r", "s"), ("l", "m")) };
        if hand.dice.one_in(4) {
            hand.delete_range(own, own_end)?;
            hand.delete_range(other, other_end)?;
        } else if hand.rows(other, other_end)?.is_empty() {
            let number = hand.dice.below(1_000_000);
            hand.put(&format!("{own}{number}"), 1)?;
        }
        Ok(None)
    }

    fn audit(&self, hand: &mut Hand<'_>) -> Result<Option<String>> {
        let both = !hand.rows("l", "m")?.is_empty() && !hand.rows("r", "s")?.is_empty();
        Ok(both.then(|| "both ranges are in use".to_owned()))
    }
}
