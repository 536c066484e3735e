//! Reading scripts. Total: any text gives a script or an error that names the line.

use std::collections::BTreeMap;
use std::fmt;

use super::{Action, Fact, Lock, Named, Number, Script, Span, Step};
use crate::anomaly::Anomaly;

/// Most sessions of a script: each has a label of its own.
pub(crate) const SESSIONS_MAX: usize = 9;

/// A line of a script that cannot be read.
///
/// ```
/// let error = duramen_suite::Script::parse("bad", "T1: get\n").expect_err("a key is missing");
/// assert_eq!(error.to_string(), "bad:1: get needs a key");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    script: String,
    line: usize,
    what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.script, self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

type Read<T> = Result<T, String>;

pub(super) fn parse(name: &str, text: &str) -> Result<Script, ScriptError> {
    let mut reader = Reader {
        script: Script {
            name: name.to_owned(),
            about: String::new(),
            anomaly: None,
            start: Vec::new(),
            steps: Vec::new(),
            shown: Vec::new(),
        },
        readers: BTreeMap::new(),
    };
    let error = |line, what| ScriptError { script: name.to_owned(), line, what };
    for (index, line) in text.lines().enumerate() {
        reader.line(line.trim()).map_err(|what| error(index + 1, what))?;
    }
    reader.check().map_err(|what| error(text.lines().count(), what))?;
    Ok(reader.script)
}

struct Reader {
    script: Script,
    /// Which session reads each name.
    readers: BTreeMap<String, usize>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Read<()> {
        if let Some(comment) = line.strip_prefix('#') {
            if !self.script.about.is_empty() {
                self.script.about.push(' ');
            }
            self.script.about.push_str(comment.trim());
            return Ok(());
        }
        if line.is_empty() {
            return Ok(());
        }
        let (head, rest) = line.split_once(':').ok_or("a line is `name: ...`, or a comment")?;
        let rest = rest.trim();
        match head.trim() {
            "anomaly" => {
                self.script.anomaly = Some(Anomaly::parse(rest).ok_or_else(|| format!("no anomaly is called {rest}"))?)
            }
            "start" => self.script.start = rest.split_whitespace().map(pair).collect::<Read<_>>()?,
            "shown if" => {
                let facts = rest.split(',').map(|fact| self.fact(fact.trim())).collect::<Read<_>>()?;
                self.script.shown.push(facts);
            }
            head => {
                let session = session(head)?;
                let actions = rest.split(';').map(|action| self.named(session, action.trim()));
                let actions = actions.collect::<Read<_>>()?;
                self.script.steps.push(Step { session, actions });
            }
        }
        Ok(())
    }

    fn named(&mut self, session: usize, text: &str) -> Read<Named> {
        let (text, name) = match text.split_once("->") {
            Some((text, name)) => (text.trim(), Some(word(name.trim())?)),
            None => (text, None),
        };
        let action = self.action(session, text)?;
        let has_result = matches!(
            action,
            Action::Get { .. }
                | Action::Scan { .. }
                | Action::DeleteWhere { .. }
                | Action::Cursor { .. }
                | Action::Next { .. }
        );
        if name.is_some() && !has_result {
            return Err(format!("{text} reads nothing that could have a name"));
        }
        if let Some(name) = &name
            && self.readers.insert(name.clone(), session).is_some()
        {
            return Err(format!("{name} is the name of two things"));
        }
        Ok(Named { action, name })
    }

    fn action(&self, session: usize, text: &str) -> Read<Action> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        let key = || word(rest).map_err(|_| format!("{verb} needs a key"));
        Ok(match verb {
            "begin" => Action::Begin,
            "pin" => Action::Pin,
            "get" => Action::Get { key: key()?, lock: Lock::None },
            "get-for-share" => Action::Get { key: key()?, lock: Lock::Share },
            "get-for-update" => Action::Get { key: key()?, lock: Lock::Update },
            "scan" => scan(rest, Lock::None)?,
            "scan-for-share" => scan(rest, Lock::Share)?,
            "scan-for-update" => scan(rest, Lock::Update)?,
            "put" => {
                let (key, value) = rest.split_once('=').ok_or("put needs key=value")?;
                Action::Put { key: word(key.trim())?, value: self.number(session, value.trim())? }
            }
            "delete" if rest.contains("..") => match scan(rest, Lock::None)? {
                Action::Scan { range, only: Some(only), .. } => Action::DeleteWhere { range, only },
                _ => return Err("delete of a range needs `where`; without, it is delete-range".into()),
            },
            "delete" => Action::Delete { key: key()? },
            "delete-range" => Action::DeleteRange { range: span(rest)? },
            "cursor" => Action::Cursor { range: span(rest)? },
            "next" => Action::Next { cursor: self.own_name(session, rest)? },
            "savepoint" => Action::Savepoint { point: key()? },
            "back-to" => Action::BackTo { point: key()? },
            "commit" => Action::Commit,
            "rollback" => Action::Rollback,
            other => return Err(format!("no action is called {other}")),
        })
    }

    fn number(&self, session: usize, text: &str) -> Read<Number> {
        if let Ok(plus) = text.parse() {
            return Ok(Number { of: None, plus });
        }
        let at = text.find(['+', '-']).unwrap_or(text.len());
        let of = self.own_name(session, text[..at].trim())?;
        let plus = match text[at..].replace([' ', '+'], "").as_str() {
            "" => 0,
            number => number.parse().map_err(|_| format!("{text} is no number and no name with a number"))?,
        };
        Ok(Number { of: Some(of), plus })
    }

    /// A name that the same session gave before.
    fn own_name(&self, session: usize, name: &str) -> Read<String> {
        match self.readers.get(name) {
            Some(&reader) if reader == session => Ok(name.to_owned()),
            Some(_) => Err(format!("{name} was read by another session")),
            None => Err(format!("nothing is called {name}")),
        }
    }

    fn fact(&self, text: &str) -> Read<Fact> {
        if let Some(who) = text.strip_suffix(" commits") {
            return Ok(Fact::Commits(session(who)?));
        }
        if let Some(who) = text.strip_suffix(" aborts") {
            return Ok(Fact::Aborts(session(who)?));
        }
        let (left, right) = text.split_once('=').ok_or("a fact is a=1, a!=1, final x=1, T1 commits or T1 aborts")?;
        let (left, right) = (left.trim(), right.trim());
        if let Some(key) = left.strip_prefix("final ") {
            let value = if right == "nothing" { None } else { Some(integer(right)?) };
            return Ok(Fact::Final { key: word(key.trim())?, value });
        }
        let (name, equal) = match left.strip_suffix('!') {
            Some(name) => (name.trim(), false),
            None => (left, true),
        };
        if !self.readers.contains_key(name) {
            return Err(format!("nothing is called {name}"));
        }
        Ok(Fact::Saw { name: name.to_owned(), equal, seen: right.to_owned() })
    }

    fn check(&self) -> Read<()> {
        if self.script.steps.is_empty() {
            return Err("nobody does anything".into());
        }
        Ok(())
    }
}

fn session(text: &str) -> Read<usize> {
    match text.trim().strip_prefix('T').and_then(|number| number.parse().ok()) {
        Some(number @ 1..=SESSIONS_MAX) => Ok(number - 1),
        _ => Err(format!("{text} is no session: they are T1 to T{SESSIONS_MAX}")),
    }
}

fn scan(text: &str, lock: Lock) -> Read<Action> {
    let (range, only) = match text.split_once(" where ") {
        Some((range, value)) => (range, Some(integer(value.trim())?)),
        None => (text, None),
    };
    Ok(Action::Scan { range: span(range)?, only, lock })
}

fn span(text: &str) -> Read<Span> {
    let (low, high) = text.trim().split_once("..").ok_or("a range is low..high")?;
    Ok(Span { low: word(low)?, high: word(high)? })
}

fn pair(text: &str) -> Read<(String, i64)> {
    let (key, value) = text.split_once('=').ok_or("the start is key=number key=number")?;
    Ok((word(key)?, integer(value)?))
}

fn integer(text: &str) -> Read<i64> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn word(text: &str) -> Read<String> {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_word { Ok(text.to_owned()) } else { Err(format!("{text:?} is no word")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("\nT1: fly", "s:2: no action is called fly"),
            ("me: commit", "s:1: me is no session: they are T1 to T9"),
            ("hello", "s:1: a line is `name: ...`, or a comment"),
            ("anomaly: G9\nT1: commit", "s:1: no anomaly is called G9"),
            ("T1: get x -> a\nT2: put x=a", "s:2: a was read by another session"),
            ("T1: get x -> a\nT1: get y -> a", "s:2: a is the name of two things"),
            ("T1: commit -> a", "s:1: commit reads nothing that could have a name"),
            ("T1: get x\nshown if: a=1", "s:2: nothing is called a"),
            ("T1: scan a -> s", "s:1: a range is low..high"),
            ("# nothing", "s:1: nobody does anything"),
        ] {
            assert_eq!(parse("s", text).expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn a_script_reads_back_as_it_is_written() {
        for script in Script::library() {
            let again = parse(&script.name, &script.to_string()).unwrap_or_else(|error| panic!("{error}\n{script}"));
            assert_eq!(again, script, "{script}");
        }
    }

    #[test]
    fn several_actions_and_sums_are_read() {
        let script = parse("s", "start: x=1\nT1: get x -> a; put x = a - 3\nshown if: final x=-2").expect("a script");
        assert_eq!(script.steps.len(), 1);
        let put = Action::Put { key: "x".into(), value: Number { of: Some("a".into()), plus: -3 } };
        assert_eq!(script.steps[0].actions[1], Named { action: put, name: None });
    }
}
