//! The oracle: runs the committed sessions of a script one after the other on a map, in every order.

use std::collections::BTreeMap;

use crate::script::{Action, End, Named, Number, Script, ScriptRun, Seen, Span};

type State = BTreeMap<String, i64>;

/// Whether some order of the committed sessions shows what they saw and ends in the same state. In a `strict` one, who committed before another took its
/// first step comes first.
pub(super) fn is_explained(script: &Script, run: &ScriptRun, strict: bool) -> bool {
    let committed: Vec<usize> =
        (0..run.ends.len()).filter(|&session| matches!(run.ends[session], End::Committed(_))).collect();
    let mut order = Vec::new();
    some_order(&committed, &mut order, &|order| {
        (!strict || agrees_with_real_time(run, order)) && shows(script, run, order)
    })
}

fn some_order(all: &[usize], order: &mut Vec<usize>, fits: &dyn Fn(&[usize]) -> bool) -> bool {
    if order.len() == all.len() {
        return fits(order);
    }
    all.iter().any(|session| {
        !order.contains(session) && {
            order.push(*session);
            let found = some_order(all, order, fits);
            order.pop();
            found
        }
    })
}

fn agrees_with_real_time(run: &ScriptRun, order: &[usize]) -> bool {
    let (began, committed) = (|session: usize| run.moments[session].0, |session: usize| run.moments[session].1);
    let pairs =
        order.iter().enumerate().flat_map(|(at, early)| order[at + 1..].iter().map(move |late| (*early, *late)));
    pairs.into_iter().all(|(early, late)| committed(late) >= began(early))
}

fn shows(script: &Script, run: &ScriptRun, order: &[usize]) -> bool {
    let mut state: State = script.start.iter().cloned().collect();
    order.iter().all(|&session| one(script, session, &mut state, run)) && state == run.state
}

/// Runs a session on `state`; whether it sees what it saw.
fn one(script: &Script, session: usize, state: &mut State, run: &ScriptRun) -> bool {
    let mut saw: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut points: BTreeMap<&str, State> = BTreeMap::new();
    let mut cursors: BTreeMap<&str, Vec<(String, i64)>> = BTreeMap::new();
    let actions = script.steps.iter().filter(|step| step.session == session).flat_map(|step| &step.actions);
    for Named { action, name } in actions {
        let seen = match action {
            Action::Get { key, .. } => Seen::Value(state.get(key).copied()),
            Action::Scan { range, only, .. } => Seen::Rows(rows(state, range, *only)),
            Action::DeleteWhere { range, only } => {
                let found = rows(state, range, Some(*only));
                state.retain(|key, _| !found.iter().any(|(gone, _)| gone == key));
                Seen::Rows(found)
            }
            Action::Put { key, value } => {
                state.insert(key.clone(), number(value, &saw));
                Seen::Nothing
            }
            Action::Delete { key } => {
                state.remove(key);
                Seen::Nothing
            }
            Action::DeleteRange { range } => {
                state.retain(|key, _| *key < range.low || *key >= range.high);
                Seen::Nothing
            }
            Action::Cursor { range } => {
                cursors.insert(name.as_deref().unwrap_or_default(), rows(state, range, None));
                Seen::Nothing
            }
            Action::Next { cursor } => {
                let rest = cursors.get_mut(cursor.as_str());
                Seen::Rows(rest.filter(|rest| !rest.is_empty()).map(|rest| rest.remove(0)).into_iter().collect())
            }
            Action::Savepoint { point } => {
                points.insert(point, state.clone());
                Seen::Nothing
            }
            Action::BackTo { point } => {
                state.clone_from(&points[point.as_str()]);
                Seen::Nothing
            }
            Action::Begin | Action::Pin | Action::Commit | Action::Rollback => Seen::Nothing,
        };
        if let Some(name) = name {
            if run.saw.iter().any(|(of, real)| of == name && *real != seen.to_string()) {
                return false;
            }
            saw.insert(name, seen);
        }
    }
    true
}

fn rows(state: &State, range: &Span, only: Option<i64>) -> Vec<(String, i64)> {
    let found = state.range(range.low.clone()..range.high.clone());
    found
        .filter(|(_, value)| only.is_none_or(|only| only == **value))
        .map(|(key, value)| (key.clone(), *value))
        .collect()
}

fn number(number: &Number, saw: &BTreeMap<&str, Seen>) -> i64 {
    let of = number.of.as_ref().map_or(0, |name| match saw.get(name.as_str()) {
        Some(Seen::Value(value)) => value.unwrap_or(0),
        Some(Seen::Rows(rows)) => rows.iter().map(|(_, value)| value).sum(),
        Some(Seen::Nothing) | None => 0,
    });
    of + number.plus
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Outcome;

    fn explained(text: &str, saw: &[(&str, &str)], state: &[(&str, i64)], strict: bool) -> bool {
        let script = Script::parse("s", text).expect("a script");
        let run = ScriptRun {
            outcome: Outcome::NotSeen,
            events: Vec::new(),
            saw: saw.iter().map(|(name, seen)| ((*name).to_owned(), (*seen).to_owned())).collect(),
            ends: vec![End::Committed(None); script.session_count()],
            state: state.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
            moments: (0..script.session_count()).map(|session| moments(&script, session)).collect(),
        };
        is_explained(&script, &run, strict)
    }

    /// Steps run where they stand.
    fn moments(script: &Script, session: usize) -> (u64, u64) {
        let at = |index: Option<usize>| index.map_or(0, |index| index as u64);
        let mut steps = script.steps.iter();
        let first = steps.position(|step| step.session == session);
        (at(first), at(script.steps.iter().rposition(|step| step.session == session)))
    }

    const ADDERS: &str =
        "start: x=1\nT1: get x -> a\nT2: get x -> b\nT1: put x=a+1\nT2: put x=b+1\nT1: commit\nT2: commit";

    #[test]
    fn what_an_order_shows_is_explained_and_nothing_else() {
        assert!(explained(ADDERS, &[("a", "1"), ("b", "2")], &[("x", 3)], true));
        assert!(explained(ADDERS, &[("a", "2"), ("b", "1")], &[("x", 3)], true));
        assert!(!explained(ADDERS, &[("a", "1"), ("b", "1")], &[("x", 2)], true));
        assert!(!explained(ADDERS, &[("a", "1"), ("b", "2")], &[("x", 2)], true));
    }

    #[test]
    fn an_order_against_real_time_explains_only_without_it() {
        let text = "start: x=1\nT1: put x=2\nT1: commit\nT2: get x -> a\nT2: commit";
        assert!(explained(text, &[("a", "1")], &[("x", 2)], false));
        assert!(!explained(text, &[("a", "1")], &[("x", 2)], true));
    }
}
