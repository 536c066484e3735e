//! Runs a script on one thread, step by step. For optimistic transactions, which never wait for one another; a thousand times faster than threads.

use std::collections::BTreeMap;

use duramen::{Error, Reader, Result, Transaction};

use crate::script::{Action, End, Event, Outcome, Script, ScriptRun, kind_of};
use crate::session::{Session, row_of};
use crate::setting::Setting;
use crate::target::Target;

/// What the script came to, in the order in which it stands. Its facts are not judged.
pub(super) fn run(script: &Script, target: &Target, setting: Setting) -> ScriptRun {
    let mut run = ScriptRun {
        outcome: Outcome::NotSeen,
        events: Vec::new(),
        saw: Vec::new(),
        ends: vec![End::Open; script.session_count()],
        state: BTreeMap::new(),
        moments: vec![(0, u64::MAX); script.session_count()],
    };
    match play(script, target, setting, &mut run) {
        Ok(()) => {}
        Err(Error::Unsupported { .. }) => run.outcome = Outcome::NotOffered,
        Err(error) => run.outcome = Outcome::Failed(error.to_string()),
    }
    run
}

fn play(script: &Script, target: &Target, setting: Setting, run: &mut ScriptRun) -> Result<()> {
    let (db, keyspace) = target.open()?;
    let fill =
        |tx: &Transaction| script.start.iter().try_for_each(|(key, value)| tx.put(&keyspace, key, value.to_string()));
    db.update(fill)?;
    let mut sessions: Vec<Session> =
        (0..script.session_count()).map(|_| Session::new(&db, &keyspace, setting.options())).collect();
    for (now, step) in (1..).zip(&script.steps) {
        let session = step.session;
        if run.ends[session] != End::Open {
            continue;
        }
        if run.moments[session].0 == 0 {
            run.moments[session].0 = now;
        }
        let done = sessions[session].perform(step);
        run.saw.extend(done.seen.iter().map(|(name, seen)| (name.clone(), seen.to_string())));
        match done.failed {
            Some((action, error)) if error.is_retryable() => {
                run.ends[session] = End::Aborted;
                let (at, kind) = (action.to_string(), kind_of(&error));
                run.events.push(Event::Aborted { session: session + 1, at, error: error.to_string(), kind });
            }
            Some((_, error)) => return Err(error),
            None => match step.actions.last().map(|named| &named.action) {
                Some(Action::Commit) => {
                    run.moments[session].1 = now;
                    run.ends[session] = End::Committed(done.commit_ts);
                }
                Some(Action::Rollback) => run.ends[session] = End::RolledBack,
                _ => {}
            },
        }
    }
    sessions.iter_mut().for_each(Session::roll_back);
    for row in db.snapshot()?.iter(&keyspace)? {
        let (key, value) = row_of(&row?);
        run.state.insert(key, value);
    }
    Ok(())
}
