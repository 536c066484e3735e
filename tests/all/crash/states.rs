//! Every state that a crash can leave at every entry of a journal, each looked at once.
//!
//! CS1  A state that was met before is not opened again, but what was found in it is held against the promises of the new position.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use duramen_base::vfs::sim::{CrashModel, Image, Journal, Keep, OpKind, Replay};

use super::check::{Found, Loss, Promise};

const SECTORS: [u64; 2] = [512, 4096];
pub(super) const MODELS: [CrashModel; 2] = [CrashModel::Strict, CrashModel::Ext4Like];

/// How a state came to be: enough to make it again from the same journal.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "shown when a check fails")]
pub(super) enum How {
    ProcessDeath,
    PowerLoss { model: CrashModel, keep: Keep, sector_bytes: u64 },
}

/// One state.
pub(super) struct State {
    /// Entries of the journal before the crash.
    pub(super) at: usize,
    /// The last of them that is no note.
    pub(super) last: Option<OpKind>,
    pub(super) how: How,
    pub(super) loss: Loss,
    pub(super) image: Image,
    pub(super) digest: u128,
}

/// Visits the states of `journal`. `look` is asked once for each distinct image; what it found is checked against `promise` as it grows
/// with the notes. Stops at the first complaint.
pub(super) fn each_state(
    journal: &Journal,
    start: &Promise,
    random: u64,
    mut look: impl FnMut(&State) -> Result<Found, String>,
) -> Result<(), String> {
    let mut met: HashMap<u128, Found> = HashMap::new();
    for model in MODELS {
        let mut walk = Walk { replay: journal.replay(model), model, random, last: None, here: Vec::new() };
        let mut promise = start.clone();
        let mut notes = journal.notes(journal.len()).peekable();
        loop {
            let at = walk.replay.position();
            let noted = notes.next_if(|(index, _)| index + 1 == at);
            match noted {
                // The disk is as it was, only more was promised.
                Some((_, note)) => promise.add(note),
                None => {
                    walk.last = at.checked_sub(1).and_then(|index| journal.kind(index));
                    let mut here = Vec::new();
                    walk.visit(|state| {
                        if let Entry::Vacant(new) = met.entry(state.digest) {
                            new.insert(look(&state).map_err(|error| complain(&state, &error))?);
                        }
                        here.push((state.how, state.loss, state.digest));
                        Ok(())
                    })?;
                    walk.here = here;
                }
            }
            for (how, loss, digest) in &walk.here {
                let kept = promise.check(&met[digest], *loss);
                kept.map_err(|error| format!("behind entry {at} ({:?}), {how:?}: {error}", walk.last))?;
            }
            if !walk.replay.step() {
                break;
            }
        }
    }
    Ok(())
}

fn complain(state: &State, error: &str) -> String {
    format!("behind entry {} ({:?}), {:?}: {error}\n{:?}", state.at, state.last, state.how, state.image)
}

struct Walk {
    replay: Replay,
    model: CrashModel,
    random: u64,
    last: Option<OpKind>,
    /// The states of this position.
    here: Vec<(How, Loss, u128)>,
}

impl Walk {
    fn visit(&self, mut visit: impl FnMut(State) -> Result<(), String>) -> Result<(), String> {
        let at = self.replay.position();
        let mut give = |how: How, loss: Loss, image: Image| {
            let digest = image.digest();
            visit(State { at, last: self.last, how, loss, image, digest })
        };
        if self.model == CrashModel::Strict {
            give(How::ProcessDeath, Loss::Process, self.replay.process_death())?;
        }
        if !self.replay.has_pending() {
            let how = How::PowerLoss { model: self.model, keep: Keep::All, sector_bytes: SECTORS[0] };
            return give(how, Loss::Power, self.replay.crash(Keep::All, SECTORS[0]));
        }
        for keep in Keep::each(crate::random::seed() ^ at as u64, self.random) {
            // Whole writes are kept or lost the same way whatever the sectors are.
            let sectors =
                if matches!(keep, Keep::Random(_) | Keep::TornLast(_)) { &SECTORS[..] } else { &SECTORS[..1] };
            for &sector_bytes in sectors {
                let how = How::PowerLoss { model: self.model, keep, sector_bytes };
                give(how, Loss::Power, self.replay.crash(keep, sector_bytes))?;
            }
        }
        Ok(())
    }
}
