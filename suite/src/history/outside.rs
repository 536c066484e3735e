//! The outside opinion: histories in the format of the crate `adya` (and of Elle), and what it says of them.
//!
//! `adya` infers the order of versions from what was read; for registers it is told the order of commits. It knows no predicates and nothing of
//! this suite, so it is an oracle of its own. "Unknown" is a complaint (H4).

use std::collections::HashMap;

use adya::{Opts, Valid, Workload};
use duramen::IsolationLevel;
use serde_json::{Value as Json, json};

use super::{End, History, HistoryKind, Txn, What};
use crate::setting::Setting;

/// The history as JSON lines.
pub(super) fn lines(kind: HistoryKind, history: &History) -> String {
    let lines = events(history).into_iter().enumerate().map(|(index, (txn, is_end))| {
        let name = match (is_end, txn.end) {
            (false, _) => "invoke",
            (true, End::Committed(_)) => "ok",
            (true, End::Aborted) => "fail",
        };
        let ops: Vec<Json> = txn.ops.iter().filter_map(|op| micro_op(kind, &op.what, name == "ok")).collect();
        json!({"index": index, "type": name, "process": txn.process, "value": ops}).to_string() + "\n"
    });
    lines.collect()
}

/// Beginnings and ends, in order of time.
fn events(history: &History) -> Vec<(&Txn, bool)> {
    let both = history.transactions.iter().flat_map(|txn| [(txn.began, txn, false), (txn.ended, txn, true)]);
    let mut events: Vec<_> = both.collect();
    events.sort_by_key(|(moment, ..)| *moment);
    events.into_iter().map(|(_, txn, is_end)| (txn, is_end)).collect()
}

fn micro_op(kind: HistoryKind, what: &What, is_known: bool) -> Option<Json> {
    Some(match (kind, what) {
        (_, What::Read { key, .. }) if !is_known => json!(["r", key, Json::Null]),
        (HistoryKind::Lists, What::Read { key, seen, .. }) => json!(["r", key, seen]),
        (_, What::Read { key, seen, .. }) => json!(["r", key, seen.last()]),
        (HistoryKind::Lists, What::Write { key, value }) => json!(["append", key, value.last()?]),
        (_, What::Write { key, value }) => json!(["w", key, value.last()?]),
        (_, What::Scan { .. }) => return None,
    })
}

/// What it complains of.
pub(super) fn check(kind: HistoryKind, history: &History, lines: &str, settings: &[Setting]) -> Option<String> {
    if history.transactions.iter().all(|txn| txn.commit_ts().is_none()) {
        return None;
    }
    let workload = if kind == HistoryKind::Lists { Workload::ListAppend } else { Workload::RwRegister };
    let parsed = match adya::History::from_json(lines) {
        Ok(parsed) => parsed,
        Err(error) => return Some(format!("adya cannot read the history: {error}")),
    };
    let order = events(history).into_iter().enumerate().filter(|(_, (_, is_end))| *is_end);
    let order: HashMap<u64, i64> =
        order.filter_map(|(index, (txn, _))| Some((index as u64, txn.commit_ts()? as i64))).collect();
    let options = Opts { models: promised(settings), transaction_order: Some(order), ..Opts::default() };
    let report = adya::check(&parsed, workload, &options);
    match report.valid {
        Valid::True => None,
        Valid::Unknown => Some(format!("adya cannot tell: {:?}", report.anomaly_types)),
        Valid::False => {
            let first = report.anomalies.values().flatten().next().map(|anomaly| anomaly.explanation.clone());
            Some(format!("adya: {:?}: {}", report.anomaly_types, first.unwrap_or_default()))
        }
    }
}

/// Its names for what every transaction is promised, whatever its setting of these.
fn promised(settings: &[Setting]) -> Vec<String> {
    let of_level = |level: IsolationLevel| -> &[&str] {
        match level {
            IsolationLevel::ReadUncommitted => &["read-uncommitted"],
            IsolationLevel::ReadCommitted => &["strong-read-committed", "monotonic-atomic-view"],
            IsolationLevel::RepeatableRead => &["repeatable-read", "strong-read-committed"],
            IsolationLevel::Snapshot => &["strong-snapshot-isolation"],
            IsolationLevel::Serializable => &["strict-serializable"],
        }
    };
    let level = settings[0].level;
    let weakest: &[&str] = if settings.iter().all(|setting| setting.level == level) {
        of_level(level)
    } else if settings.iter().any(|setting| setting.level == IsolationLevel::ReadUncommitted) {
        of_level(IsolationLevel::ReadUncommitted)
    } else {
        of_level(IsolationLevel::ReadCommitted)
    };
    weakest.iter().map(|name| (*name).to_owned()).collect()
}
