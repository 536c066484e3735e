//! What a deadlock looked like: a value first, text and a graph second.
//!
//! Made by the detector in `txn`. Nothing is decided here; the JSON form is made by whoever wants it, from the public fields.

use std::fmt;
use std::time::Duration;

use crate::locks::{LockClaim, TxnId, TxnInfo};

/// Who is given up when transactions wait for each other in a circle.
///
/// Equal candidates are told apart by age: the youngest of them.
///
/// ```
/// use duramen_base::VictimPolicy;
/// assert_eq!(VictimPolicy::default(), VictimPolicy::Youngest);
/// assert_eq!(VictimPolicy::FewestLocks.to_string(), "FewestLocks");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VictimPolicy {
    /// Who began last; a retried transaction keeps its age, so it cannot be chosen for ever.
    #[default]
    Youngest,
    /// Who began first.
    Oldest,
    /// Who holds the fewest locks.
    FewestLocks,
    /// Who has written least.
    LeastWork,
    /// Whose request closed the circle.
    Requester,
    /// Who has the lowest priority.
    Priority,
}

impl fmt::Display for VictimPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a transaction was given up, or reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadlockReason {
    /// Everybody in the circle waits for the next.
    Cycle,
    /// Under wound-wait: an older transaction needs what it holds.
    Wounded,
    /// A transaction waits for another one that was last called from the same thread: nobody is left to end that one. A report only,
    /// unless the options say otherwise.
    SameThread,
}

/// One transaction of the circle: it waits for the next one, the last one for the first.
///
/// See [`DeadlockReport`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockMember {
    /// Who.
    pub txn: TxnInfo,
    /// Locks it holds.
    pub lock_count: usize,
    /// Writes it has made, as far as told.
    pub write_count: u64,
    /// What it waits for; `None` if it does not wait (a wounded one, or one of the same thread).
    pub waits_for: Option<LockClaim>,
    /// How long it has waited.
    pub waited: Duration,
    /// The lock of the next one that it waits for.
    pub blocked_by: Option<LockClaim>,
    /// Its last lock requests before that one, oldest first.
    pub last_operations: Vec<LockClaim>,
}

/// Transactions that waited for each other in a circle, and what was done about it.
///
/// See [`crate::Error::Deadlock`]. `Display` gives the text that a log wants, [`DeadlockReport::to_dot`] a graph.
///
/// ```
/// use duramen_base::{DeadlockReason, DeadlockReport, TxnId, VictimPolicy};
/// use std::time::Duration;
/// let report = DeadlockReport {
///     number: 17,
///     at: Duration::from_secs(3),
///     found_after: Duration::from_micros(41),
///     members: vec![],
///     victim: TxnId::new(88),
///     policy: VictimPolicy::FewestLocks,
///     reason: DeadlockReason::Cycle,
///     why: "1 < 4".into(),
/// };
/// assert!(report.to_string().starts_with("DEADLOCK #17  cycle of 0"));
/// assert!(report.to_dot().starts_with("digraph"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockReport {
    /// Counts from 1 in an open database.
    pub number: u64,
    /// When, by the clock of the database.
    pub at: Duration,
    /// From the request that closed the circle to the choice of the victim.
    pub found_after: Duration,
    /// In order: each waits for the next one, the last one for the first.
    pub members: Vec<DeadlockMember>,
    /// Who was given up. All it did is undone; it can run again.
    pub victim: TxnId,
    /// By which rule.
    pub policy: VictimPolicy,
    /// For which reason.
    pub reason: DeadlockReason,
    /// The comparison that decided, such as `1 < 4`.
    pub why: String,
}

impl DeadlockReport {
    /// The circle as a graph in the DOT language: an ellipse for each transaction, the victim filled, an arrow for each wait.
    pub fn to_dot(&self) -> String {
        use fmt::Write;
        let mut dot = format!("digraph deadlock_{} {{\n", self.number);
        let mut line = |text: fmt::Arguments<'_>| dot.write_fmt(text).expect("writing to a String cannot fail");
        for member in &self.members {
            let txn = &member.txn;
            let style = if txn.id == self.victim { ", style=filled" } else { "" };
            let label = escape(&format!("{}\n{}\n{}", txn.name(), txn.isolation, Begun(txn)));
            line(format_args!("  t{} [label=\"{label}\"{style}];\n", txn.id.get()));
        }
        for (member, next) in self.members.iter().zip(self.members.iter().cycle().skip(1)) {
            let (Some(wanted), Some(held)) = (&member.waits_for, &member.blocked_by) else { continue };
            let label = escape(&format!("waits for {wanted}\nheld: {held} (by {})", held.op));
            line(format_args!("  t{} -> t{} [label=\"{label}\"];\n", member.txn.id.get(), next.txn.id.get()));
        }
        dot.push_str("}\n");
        dot
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Begun<'a>(&'a TxnInfo);

impl fmt::Display for Begun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "begun at {}:{}", self.0.origin.begun_at.file(), self.0.origin.begun_at.line())
    }
}

impl fmt::Display for DeadlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let victim = self.members.iter().find(|member| member.txn.id == self.victim);
        write!(f, "DEADLOCK #{}  ", self.number)?;
        match self.reason {
            DeadlockReason::Cycle => write!(f, "cycle of {}", self.members.len())?,
            DeadlockReason::Wounded => f.write_str("prevented by wound-wait")?,
            DeadlockReason::SameThread => f.write_str("a thread waits for a transaction of its own")?,
        }
        write!(f, "  found {:?} after the request that closed it  ", self.found_after)?;
        match victim {
            Some(victim) => write!(f, "victim {}", victim.txn.name())?,
            None => write!(f, "victim {}", self.victim)?,
        }
        write!(f, " ({}: {})", self.policy, self.why)?;
        for (index, member) in self.members.iter().enumerate() {
            let next = &self.members[(index + 1) % self.members.len()];
            write_member(f, index + 1, member, next)?;
        }
        match self.reason {
            DeadlockReason::Cycle if self.members.len() > 1 => {
                f.write_str("\n hint: the sites lock the same things in different orders; one order for all ends it")
            }
            DeadlockReason::Cycle | DeadlockReason::Wounded => Ok(()),
            DeadlockReason::SameThread => f.write_str("\n hint: end the first transaction before the second one locks"),
        }
    }
}

fn write_member(
    f: &mut fmt::Formatter<'_>,
    number: usize,
    member: &DeadlockMember,
    next: &DeadlockMember,
) -> fmt::Result {
    let txn = &member.txn;
    write!(f, "\n ({number}) {}  {}  age {:?}  {}", txn.name(), txn.isolation, txn.age, Begun(txn))?;
    write!(f, "  locks {}  writes {}", member.lock_count, member.write_count)?;
    if txn.attempt > 1 {
        write!(f, "  attempt {}", txn.attempt)?;
    }
    let Some(wanted) = &member.waits_for else { return Ok(()) };
    write!(f, "\n     WAITS {:?} for {wanted}", member.waited)?;
    if let Some(held) = &member.blocked_by {
        if held.target == wanted.target {
            write!(f, "  held by {} ({}, by {})", next.txn.id, held.strength, held.op)?;
        } else {
            write!(f, "  blocked by {} ({held}, by {})", next.txn.id, held.op)?;
        }
    }
    f.write_str("\n     last operations: ")?;
    for operation in &member.last_operations {
        write!(f, "{} {}; ", operation.op, operation.place())?;
    }
    write!(f, "{} {} (blocked)", wanted.op, wanted.place())
}

#[cfg(test)]
mod tests;
