//! Deadlock reports as JSON.

use duramen::{DeadlockMember, DeadlockReport, LockClaim, LockTarget};
use serde_json::{Value as Json, json};

/// A report for programs: everything that its text has, times in microseconds, keys as escaped text.
///
/// ```
/// use duramen::{DeadlockReason, DeadlockReport, TxnId, VictimPolicy};
/// use duramen_suite::deadlock_to_json;
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
/// let json = deadlock_to_json(&report);
/// assert_eq!((&json["victim"], &json["policy"], &json["found_after_us"]), (&88.into(), &"FewestLocks".into(), &41.into()));
/// ```
pub fn deadlock_to_json(report: &DeadlockReport) -> Json {
    json!({
        "number": report.number,
        "at_us": report.at.as_micros() as u64,
        "found_after_us": report.found_after.as_micros() as u64,
        "victim": report.victim.get(),
        "policy": report.policy.to_string(),
        "reason": format!("{:?}", report.reason),
        "why": report.why,
        "members": report.members.iter().map(member).collect::<Vec<_>>(),
    })
}

fn member(member: &DeadlockMember) -> Json {
    let txn = &member.txn;
    json!({
        "txn": txn.id.get(),
        "label": txn.origin.label,
        "begun_at": format!("{}:{}", txn.origin.begun_at.file(), txn.origin.begun_at.line()),
        "isolation": txn.isolation,
        "age_us": txn.age.as_micros() as u64,
        "attempt": txn.attempt,
        "priority": txn.priority,
        "locks": member.lock_count,
        "writes": member.write_count,
        "waited_us": member.waited.as_micros() as u64,
        "waits_for": member.waits_for.as_ref().map(claim),
        "blocked_by": member.blocked_by.as_ref().map(claim),
        "last_operations": member.last_operations.iter().map(claim).collect::<Vec<_>>(),
    })
}

fn claim(claim: &LockClaim) -> Json {
    let text = |key: &[u8]| key.escape_ascii().to_string();
    let target = match &claim.target {
        LockTarget::Key(key) => json!({"key": text(key)}),
        LockTarget::Range { low, high } => json!({"low": text(low), "high": high.as_deref().map(text)}),
        LockTarget::Keyspace => json!({"keyspace": true}),
    };
    json!({
        "keyspace": claim.keyspace_name.as_deref(),
        "target": target,
        "strength": claim.strength.to_string(),
        "by": claim.op.to_string(),
    })
}
