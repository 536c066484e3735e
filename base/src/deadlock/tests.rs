//! The text and the graph that a user sees.

use super::*;
use crate::conflict::TxnOrigin;
use crate::ids::KeyspaceId;
use crate::locks::{LockOp, LockStrength, LockTarget};

fn claim(target: LockTarget, strength: LockStrength, op: LockOp) -> LockClaim {
    LockClaim { keyspace: KeyspaceId::new(3), keyspace_name: Some("accounts".into()), target, strength, op }
}

fn key(key: &str, strength: LockStrength, op: LockOp) -> LockClaim {
    claim(LockTarget::Key(key.as_bytes().to_vec()), strength, op)
}

fn member(id: u64, label: &'static str, waits_for: LockClaim, blocked_by: LockClaim) -> DeadlockMember {
    let txn = TxnInfo {
        id: TxnId::new(id),
        origin: TxnOrigin::here(Some(label)),
        isolation: "Serializable/Pessimistic",
        age: Duration::from_millis(id - 76),
        ticket: id,
        attempt: if id == 88 { 2 } else { 1 },
        priority: 0,
    };
    DeadlockMember {
        txn,
        lock_count: 3,
        write_count: 1,
        waits_for: Some(waits_for),
        waited: Duration::from_millis(8),
        blocked_by: Some(blocked_by),
        last_operations: vec![key("alice", LockStrength::Exclusive, LockOp::GetForUpdate)],
    }
}

fn report() -> DeadlockReport {
    let range = LockTarget::Range { low: b"a".to_vec(), high: Some(b"c".to_vec()) };
    let bob = |strength, op| key("bob", strength, op);
    DeadlockReport {
        number: 17,
        at: Duration::from_secs(1),
        found_after: Duration::from_micros(41),
        members: vec![
            member(
                88,
                "transfer",
                bob(LockStrength::Exclusive, LockOp::Put),
                bob(LockStrength::Exclusive, LockOp::Put),
            ),
            member(
                91,
                "audit",
                claim(range, LockStrength::Shared, LockOp::Scan),
                key("alice", LockStrength::Exclusive, LockOp::GetForUpdate),
            ),
        ],
        victim: TxnId::new(88),
        policy: VictimPolicy::FewestLocks,
        reason: DeadlockReason::Cycle,
        why: "1 < 4".into(),
    }
}

#[test]
fn the_text_names_victim_sites_keys_and_what_each_did() {
    let text = report().to_string();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(
        line("DEADLOCK"),
        "DEADLOCK #17  cycle of 2  found 41µs after the request that closed it  victim txn 88 \"transfer\" (FewestLocks: 1 < 4)"
    );
    assert!(line(" (1)").contains("age 12ms") && line(" (1)").ends_with("locks 3  writes 1  attempt 2"));
    assert!(line(" (2)").contains("deadlock/tests.rs:"), "the site where it began");
    assert!(text.contains("WAITS 8ms for X on accounts key \"bob\"  held by txn 91 (X, by put)"));
    assert!(
        text.contains(
            "S on accounts [\"a\"..\"c\")  blocked by txn 88 (X on accounts key \"alice\", by get_for_update)"
        )
    );
    assert!(
        text.contains("last operations: get_for_update accounts key \"alice\"; put accounts key \"bob\" (blocked)")
    );
}

#[test]
fn the_graph_has_an_arrow_for_each_wait_and_fills_the_victim() {
    let dot = report().to_dot();
    assert!(dot.contains("t88 -> t91") && dot.contains("t91 -> t88"), "{dot}");
    assert_eq!(dot.matches("style=filled").count(), 1);
    assert_eq!(
        dot.matches('"').count() - dot.matches("\\\"").count(),
        2 * 4,
        "quotes inside labels are escaped: {dot}"
    );
}
