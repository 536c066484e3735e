//! The locks as plain data: who holds what, who waits for what, and the wait graph.

use std::fmt::Write;

use duramen_base::{LockClaim, LockWait, TxnId, TxnInfo};

use super::LockManager;
use super::detect::describe_held;
use super::shard::Latched;

/// A lock that is held.
///
/// ```
/// use duramen_base::{KeyspaceId, LockMode, LockOp};
/// use duramen_txn::{LockManager, OwnerSpec, Wait};
/// let locks = LockManager::standalone();
/// let mut owner = locks.owner(OwnerSpec::here());
/// owner.lock_key(KeyspaceId::new(1), b"k", LockMode::Update, LockOp::GetForUpdate, Wait::NoWait)?;
/// let all = locks.locks();
/// assert_eq!(all[0].claim.to_string(), "U on keyspace 1 key \"k\"");
/// assert_eq!(all[0].txn.id, owner.id());
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// Who holds it.
    pub txn: TxnInfo,
    /// What it covers, and how.
    pub claim: LockClaim,
}

/// A transaction that waits for a lock.
///
/// See [`WaitGraph`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWaiter {
    /// Who waits.
    pub txn: TxnInfo,
    /// For what, how long already, and who is in the way.
    pub wait: LockWait,
}

/// Somebody waits for somebody.
///
/// See [`WaitGraph`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitArrow {
    /// Who waits.
    pub from: TxnId,
    /// For whom.
    pub to: TxnId,
    /// For what.
    pub wanted: LockClaim,
    /// What the other one holds, or asked for earlier.
    pub in_the_way: LockClaim,
    /// Whether the other one holds it. If not, it is only queued before.
    pub holds: bool,
}

/// Who waits for whom, at one moment.
///
/// ```
/// use duramen_base::{KeyspaceId, LockMode, LockOp};
/// use duramen_txn::{LockManager, OwnerSpec, Wait};
/// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
/// let mut first = locks.owner(OwnerSpec::here());
/// first.lock_key(ks, b"k", LockMode::Exclusive, LockOp::Put, Wait::NoWait)?;
/// let mut second = locks.owner(OwnerSpec::here());
/// let (one, two) = (first.id(), second.id());
/// let waiter = std::thread::spawn(move || {
///     let soon = Wait::For(std::time::Duration::from_secs(60));
///     second.lock_key(ks, b"k", LockMode::Exclusive, LockOp::Put, soon)
/// });
/// while locks.lock_waits().is_empty() {
///     std::thread::yield_now();
/// }
/// let graph = locks.wait_graph();
/// assert_eq!((graph.arrows[0].from, graph.arrows[0].to, graph.arrows[0].holds), (two, one, true));
/// assert!(graph.to_dot().contains(&format!("t{} -> t{}", two.get(), one.get())));
/// assert_eq!(locks.lock_waits()[0].wait.blockers[0].txn.id, one);
/// drop(first);
/// waiter.join().expect("it did not panic")?;
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitGraph {
    /// Everybody who waits, or is waited for.
    pub txns: Vec<TxnInfo>,
    /// Who waits for whom.
    pub arrows: Vec<WaitArrow>,
}

impl WaitGraph {
    /// The graph in the DOT language: solid arrows lead to holders, dashed ones to earlier waiters.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph waits {\n");
        let mut line = |text: String| dot.write_str(&text).expect("writing to a String cannot fail");
        for txn in &self.txns {
            line(format!("  t{} [label=\"{}\"];\n", txn.id.get(), escape(&txn.to_string())));
        }
        for arrow in &self.arrows {
            let style = if arrow.holds { "solid" } else { "dashed" };
            let label = escape(&format!("{} / {}", arrow.wanted, arrow.in_the_way));
            line(format!("  t{} -> t{} [label=\"{label}\", style={style}];\n", arrow.from.get(), arrow.to.get()));
        }
        dot.push_str("}\n");
        dot
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

impl LockManager {
    /// Every lock that is held, each keyspace as of one moment.
    pub fn locks(&self) -> Vec<HeldLock> {
        let now = self.now();
        let mut all = Vec::new();
        for shard in &self.shards {
            for keyspace in &shard.lock().keyspaces {
                keyspace.table.each(|member, target, held| {
                    let txn = keyspace.table.members.owner(member).info(now);
                    all.push(HeldLock { txn, claim: describe_held(keyspace, target, held) });
                });
            }
        }
        all.iter_mut().for_each(|lock| self.name_claim(&mut lock.claim));
        all
    }

    /// Everybody who waits, each keyspace as of one moment. Not who was woken and only has to run to get its lock.
    pub fn lock_waits(&self) -> Vec<LockWaiter> {
        let now = self.now();
        let mut all = Vec::new();
        for shard in &self.shards {
            for keyspace in &shard.lock().keyspaces {
                for (_, waiter) in keyspace.queue.iter() {
                    let waited = now.saturating_sub(waiter.since);
                    let wait = self.describe(keyspace, waiter.member, &waiter.claim, waiter.rank, now, waited);
                    // Woken, and nobody in its way: it only has to run.
                    if !waiter.woken || !wait.blockers.is_empty() {
                        all.push(LockWaiter { txn: waiter.owner.info(now), wait });
                    }
                }
            }
        }
        all.into_iter().map(|waiter| LockWaiter { wait: self.name_wait(waiter.wait), ..waiter }).collect()
    }

    /// Who waits for whom, all of it at one moment: with every latch of the lock tables held. By definition: every holder in the way,
    /// and every earlier waiter in the way.
    pub fn wait_graph(&self) -> WaitGraph {
        let now = self.now();
        let mut graph = WaitGraph::default();
        let Latched::All(shards) = Latched::all(&self.shards) else { unreachable!("all were asked for") };
        for keyspace in shards.iter().flat_map(|shard| &shard.keyspaces) {
            for (id, waiter) in keyspace.queue.iter() {
                let wanted = waiter.claim.describe(keyspace.id);
                let mut arrow = |to: &TxnInfo, in_the_way: LockClaim, holds: bool| {
                    let wanted = wanted.clone();
                    graph.arrows.push(WaitArrow { from: waiter.owner.id, to: to.id, wanted, in_the_way, holds });
                    graph.txns.push(to.clone());
                };
                keyspace.table.each_in_the_way(waiter.member, &waiter.claim, &mut |holder, target, held| {
                    let owner = keyspace.table.members.owner(holder);
                    arrow(&owner.info(now), describe_held(keyspace, target, held), true);
                    true
                });
                keyspace.queue.first_in_conflict(&waiter.claim, waiter.rank, |other, before| {
                    if other != id {
                        arrow(&before.owner.info(now), before.claim.describe(keyspace.id), false);
                    }
                    false
                });
                graph.txns.push(waiter.owner.info(now));
            }
        }
        drop(shards);
        graph.txns.sort_by_key(|txn| txn.id);
        graph.txns.dedup_by_key(|txn| txn.id);
        for arrow in &mut graph.arrows {
            self.name_claim(&mut arrow.wanted);
            self.name_claim(&mut arrow.in_the_way);
        }
        graph
    }

    /// How many locks on keys and ranges are held, and how many requests wait, at about the same moment.
    pub fn counts(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        for shard in &self.shards {
            for keyspace in &shard.lock().keyspaces {
                counts = (counts.0 + keyspace.table.len(), counts.1 + keyspace.queue.len());
            }
        }
        counts
    }
}
