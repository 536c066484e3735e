//! What may be found in a damaged database.

use std::collections::BTreeMap;

use duramen::{Database, Error, Reader};
use duramen_base::vfs::sim::{Image, SimVfs};

use super::sample::Sample;
use crate::fault::history::{Content, NAMES, read_all};
use crate::fault::run::Machine;
use crate::fault::watch::{Watch, watched};

/// What a damage may do beyond errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// Nothing.
    Nothing,
    /// Take the newest commits along: the documented exception.
    LoseTheTail,
}

/// What two damages at once may do.
pub(super) fn either(one: May, other: May) -> May {
    if one == May::Nothing { other } else { one }
}

/// What was found, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) cases: u64,
    /// Opening refused.
    pub(super) refused: u64,
    /// Some reads gave errors.
    pub(super) partly: u64,
    /// Of these, keyspaces of which some keys could be read and others not.
    pub(super) partly_readable: u64,
    /// The end of the log was gone, and an older state was shown ([`May::LoseTheTail`]).
    pub(super) older: u64,
    /// Everything was right.
    pub(super) harmless: u64,
}

/// One sample, damaged again and again.
pub(super) struct Judge<'a> {
    sample: &'a Sample,
    watch: &'a Watch,
    pub(super) figures: Figures,
    wrong: Vec<String>,
}

/// Runs `damage` on samples of all ends, under a watch.
pub(super) fn each_sample(name: &'static str, damage: impl Fn(&Sample, &mut Judge<'_>) + Send + 'static) {
    watched(move |watch| {
        for end in super::sample::End::ALL {
            let sample = Sample::build(end, 5, 0);
            let mut judge = Judge { sample: &sample, watch, figures: Figures::default(), wrong: Vec::new() };
            damage(&sample, &mut judge);
            println!("{name}, {end:?}: {:?}", judge.figures);
            assert!(
                judge.wrong.is_empty(),
                "{} wrong:\n{}",
                judge.wrong.len(),
                judge.wrong[..judge.wrong.len().min(30)].join("\n")
            );
            assert!(judge.figures.cases > 0, "something was damaged");
        }
    });
}

impl Judge<'_> {
    /// Opens what `damage` leaves, and looks.
    pub(super) fn case(&mut self, what: impl Fn() -> String, may: May, damage: impl FnOnce(&SimVfs)) {
        let disk = SimVfs::on(self.sample.image.clone());
        damage(&disk);
        self.watch.begin(format!("{:?}: {}", self.sample.end, what()), &disk);
        self.figures.cases += 1;
        let before = disk.image();
        let machine = Machine::on(disk);
        let verdict = match machine.open() {
            Ok(db) => self.look(&db, may),
            Err(error) => self.refused(&error, &before, &machine.disk.image()),
        };
        if let Err(wrong) = verdict {
            self.wrong.push(format!("{:?}: {}: {wrong}", self.sample.end, what()));
        }
    }

    /// A refusal names a file, and has changed nothing.
    fn refused(&mut self, error: &Error, before: &Image, after: &Image) -> Result<(), String> {
        self.figures.refused += 1;
        is_about_damage(error)?;
        let kept = |image: &Image| -> BTreeMap<String, u64> {
            image.files().into_iter().filter(|(path, _)| !path.ends_with("LOCK")).collect()
        };
        let (before, after) = (kept(before), kept(after));
        match before.keys().find(|path| !after.contains_key(*path)) {
            Some(gone) => Err(format!("refused ({error}), but {gone} was removed")),
            None => Ok(()),
        }
    }

    fn look(&mut self, db: &Database, may: May) -> Result<(), String> {
        if may == May::LoseTheTail {
            return self.look_for_an_older_state(db);
        }
        let mut errors = 0;
        let mut found = Content::new();
        let snapshot = db.snapshot().map_err(|error| error.to_string())?;
        for name in NAMES {
            let keyspace = db.open_keyspace(name).map_err(|error| format!("without an error {error}"))?;
            let (mut readable, mut unreadable) = (0, 0);
            for (of, key) in self.sample.content.keys().filter(|(of, _)| *of == name) {
                match snapshot.get(&keyspace, key) {
                    Ok(value) => {
                        readable += 1;
                        found.extend(value.map(|value| ((*of, key.clone()), value.to_vec())));
                    }
                    Err(error) => {
                        unreadable += 1;
                        is_about_damage(&error)?;
                        // Not known: taken for right, so that the comparison below is about what was read.
                        found.insert((*of, key.clone()), self.sample.content[&(*of, key.clone())].clone());
                    }
                }
            }
            for backwards in [false, true] {
                unreadable += u64::from(!self.scan(&snapshot, &keyspace, name, backwards)?);
            }
            errors += unreadable;
            self.figures.partly_readable += u64::from(readable > 0 && unreadable > 2);
        }
        if found != self.sample.content {
            return Err(format!("wrong data: {}", crate::fault::history::difference(&self.sample.content, &found)));
        }
        if errors == 0 {
            self.figures.harmless += 1;
        } else {
            self.figures.partly += 1;
        }
        Ok(())
    }

    /// Whole transactions only, up to some moment.
    fn look_for_an_older_state(&mut self, db: &Database) -> Result<(), String> {
        match read_all(db) {
            Ok(found) if self.sample.states.contains(&found) => {
                self.figures.older += u64::from(found != self.sample.content);
                Ok(())
            }
            Ok(_) => Err("transactions in part".into()),
            Err(error) => is_about_damage(&error),
        }
    }

    /// Reads a keyspace from one end; whether the other end was reached. What comes before an error is right, and without gaps.
    fn scan(
        &self,
        snapshot: &duramen::Snapshot,
        keyspace: &duramen::Keyspace,
        name: &str,
        backwards: bool,
    ) -> Result<bool, String> {
        let iter = match snapshot.iter(keyspace) {
            Ok(iter) => iter,
            Err(error) => return is_about_damage(&error).map(|()| false),
        };
        let mut entries: Box<dyn Iterator<Item = duramen::Result<duramen::Entry>>> =
            if backwards { Box::new(iter.rev()) } else { Box::new(iter) };
        let mut expected: Vec<_> = self.sample.content.iter().filter(|((of, _), _)| *of == name).collect();
        if backwards {
            expected.reverse();
        }
        for ((_, key), value) in expected {
            match entries.next() {
                Some(Ok(entry)) if *entry.key == key[..] && *entry.value == value[..] => {}
                Some(Err(error)) => return is_about_damage(&error).map(|()| false),
                other => return Err(format!("a scan of {name} gives {other:?} in place of {}", key.escape_ascii())),
            }
        }
        match entries.next() {
            None => Ok(true),
            Some(Err(error)) => is_about_damage(&error).map(|()| false),
            Some(Ok(entry)) => Err(format!("a scan of {name} ends with {:?} too much", entry.key)),
        }
    }
}

/// Damage is told as such, and where it is.
fn is_about_damage(error: &Error) -> Result<(), String> {
    match error {
        Error::Corruption { file, .. } | Error::UnsupportedFormat { file, .. } if file.starts_with("db") => Ok(()),
        other => Err(format!("an error that does not tell of damage: {other:?}")),
    }
}
