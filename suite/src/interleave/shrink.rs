//! Makes a failing script small: leaves out whatever it fails without, until nothing more can go.

use std::collections::BTreeSet;

use crate::script::{Action, Script, Step};

/// The smallest script found by leaving things out for which `fails` still holds. `fails` must hold of `script`.
pub(super) fn shrink(script: &Script, fails: &dyn Fn(&Script) -> bool) -> Script {
    let mut small = script.clone();
    small.name = "shrunk".to_owned();
    while let Some(smaller) = candidates(&small).into_iter().find(|candidate| fails(candidate)) {
        small = smaller;
    }
    small
}

/// Everything that is one thing shorter, the largest things first; and fewer changes from session to session.
fn candidates(script: &Script) -> Vec<Script> {
    let sessions: BTreeSet<usize> = script.steps.iter().map(|step| step.session).collect();
    let without_session = sessions.iter().map(|session| keep(script, |step| step.session != *session));
    let steps = (0..script.steps.len()).filter(|&at| !ends(&script.steps[at]));
    let without_step = steps.map(|at| {
        let mut shorter = script.clone();
        shorter.steps.remove(at);
        shorter
    });
    let without_action = (0..script.steps.len()).flat_map(|at| {
        let count = script.steps[at].actions.len();
        (0..count).filter(move |_| count > 1).map(move |action| (at, action))
    });
    let without_action = without_action.map(|(at, action)| {
        let mut shorter = script.clone();
        shorter.steps[at].actions.remove(action);
        shorter
    });
    let without_key = (0..script.start.len()).map(|at| {
        let mut shorter = script.clone();
        shorter.start.remove(at);
        shorter
    });
    let all = without_session.chain(without_step).chain(without_action).chain(without_key).chain(calmer(script));
    all.map(renamed).filter(is_whole).collect()
}

fn keep(script: &Script, is_kept: impl Fn(&Step) -> bool) -> Script {
    let steps = script.steps.iter().filter(|step| is_kept(step)).cloned().collect();
    Script { steps, ..script.clone() }
}

fn ends(step: &Step) -> bool {
    step.actions.iter().any(|named| matches!(named.action, Action::Commit | Action::Rollback))
}

/// Neighbouring steps of two sessions exchanged, if the sessions then change less often.
fn calmer(script: &Script) -> Vec<Script> {
    let changes = |steps: &[Step]| steps.windows(2).filter(|pair| pair[0].session != pair[1].session).count();
    let now = changes(&script.steps);
    let exchanged = (1..script.steps.len()).filter(|&at| script.steps[at - 1].session != script.steps[at].session);
    let exchanged = exchanged.map(|at| {
        let mut other = script.clone();
        other.steps.swap(at - 1, at);
        other
    });
    exchanged.filter(|other| changes(&other.steps) < now).collect()
}

/// Sessions numbered without gaps.
fn renamed(mut script: Script) -> Script {
    let sessions: BTreeSet<usize> = script.steps.iter().map(|step| step.session).collect();
    let sessions: Vec<usize> = sessions.into_iter().collect();
    for step in &mut script.steps {
        step.session = sessions.iter().position(|session| *session == step.session).unwrap_or(0);
    }
    script
}

/// Whether it can be read again: every name that is used was given before.
fn is_whole(script: &Script) -> bool {
    !script.steps.is_empty() && Script::parse(&script.name, &without_facts(script).to_string()).is_ok()
}

fn without_facts(script: &Script) -> Script {
    Script { shown: Vec::new(), ..script.clone() }
}
