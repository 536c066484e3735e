//! Writing scripts, in the form in which `parse.rs` reads them: what shrinking a failing interleaving ends in.

use std::fmt;

use super::{Action, Fact, Lock, Named, Number, Script, Span};

/// Width of a comment.
const COMMENT_CHARS_MAX: usize = 110;

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in wrap(&self.about) {
            writeln!(f, "# {line}")?;
        }
        if let Some(anomaly) = self.anomaly {
            writeln!(f, "anomaly: {anomaly}")?;
        }
        if !self.start.is_empty() {
            let pairs: Vec<String> = self.start.iter().map(|(key, value)| format!("{key}={value}")).collect();
            writeln!(f, "start: {}", pairs.join(" "))?;
        }
        writeln!(f)?;
        for step in &self.steps {
            let actions: Vec<String> = step.actions.iter().map(Named::to_string).collect();
            writeln!(f, "T{}: {}", step.session + 1, actions.join("; "))?;
        }
        writeln!(f)?;
        for facts in &self.shown {
            let facts: Vec<String> = facts.iter().map(Fact::to_string).collect();
            writeln!(f, "shown if: {}", facts.join(", "))?;
        }
        Ok(())
    }
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < COMMENT_CHARS_MAX => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        match &self.name {
            Some(name) => write!(f, " -> {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Begin => f.write_str("begin"),
            Action::Pin => f.write_str("pin"),
            Action::Get { key, lock } => write!(f, "get{lock} {key}"),
            Action::Scan { range, only: None, lock } => write!(f, "scan{lock} {range}"),
            Action::Scan { range, only: Some(only), lock } => write!(f, "scan{lock} {range} where {only}"),
            Action::Put { key, value } => write!(f, "put {key}={value}"),
            Action::Delete { key } => write!(f, "delete {key}"),
            Action::DeleteRange { range } => write!(f, "delete-range {range}"),
            Action::DeleteWhere { range, only } => write!(f, "delete {range} where {only}"),
            Action::Cursor { range } => write!(f, "cursor {range}"),
            Action::Next { cursor } => write!(f, "next {cursor}"),
            Action::Savepoint { point } => write!(f, "savepoint {point}"),
            Action::BackTo { point } => write!(f, "back-to {point}"),
            Action::Commit => f.write_str("commit"),
            Action::Rollback => f.write_str("rollback"),
        }
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lock::None => "",
            Lock::Share => "-for-share",
            Lock::Update => "-for-update",
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.low, self.high)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            None => write!(f, "{}", self.plus),
            Some(name) if self.plus == 0 => write!(f, "{name}"),
            Some(name) => write!(f, "{name}{:+}", self.plus),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Saw { name, equal, seen } => write!(f, "{name}{}={seen}", if *equal { "" } else { "!" }),
            Fact::Commits(session) => write!(f, "T{} commits", session + 1),
            Fact::Aborts(session) => write!(f, "T{} aborts", session + 1),
            Fact::Final { key, value: Some(value) } => write!(f, "final {key}={value}"),
            Fact::Final { key, value: None } => write!(f, "final {key}=nothing"),
        }
    }
}
