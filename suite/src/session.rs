//! One session: a transaction at a time, doing what a script or a workload says.
//!
//! Knows nothing of other sessions, of order, or of what is expected.

use std::collections::BTreeMap;

use duramen::{Database, Entry, Error, Iter, Keyspace, Reader, Result, Savepoint, Timestamp, Transaction, TxnOptions};

use crate::locking;
use crate::script::{Action, Named, Number, Seen, Span, Step};

/// What became of a step: what it saw, up to the action that failed.
pub(crate) struct Done {
    pub(crate) seen: Vec<(String, Seen)>,
    pub(crate) failed: Option<(Action, Error)>,
    /// When it committed and had written something.
    pub(crate) commit_ts: Option<Timestamp>,
}

pub(crate) struct Session {
    db: Database,
    keyspace: Keyspace,
    options: TxnOptions,
    tx: Option<Transaction>,
    cursors: BTreeMap<String, Iter>,
    points: BTreeMap<String, Savepoint>,
    names: BTreeMap<String, Seen>,
    commit_ts: Option<Timestamp>,
}

impl Session {
    pub(crate) fn new(db: &Database, keyspace: &Keyspace, options: TxnOptions) -> Session {
        Session {
            db: db.clone(),
            keyspace: keyspace.clone(),
            options,
            tx: None,
            cursors: BTreeMap::new(),
            points: BTreeMap::new(),
            names: BTreeMap::new(),
            commit_ts: None,
        }
    }

    /// Does the actions of `step` up to the first that fails; a failure leaves no transaction behind.
    pub(crate) fn perform(&mut self, step: &Step) -> Done {
        let mut done = Done { seen: Vec::new(), failed: None, commit_ts: None };
        for Named { action, name } in &step.actions {
            match self.act(action, name.as_deref()) {
                Ok(seen) => {
                    if let Some(name) = name {
                        self.names.insert(name.clone(), seen.clone());
                        done.seen.push((name.clone(), seen));
                    }
                }
                Err(error) => {
                    self.roll_back();
                    done.failed = Some((action.clone(), error));
                    break;
                }
            }
        }
        done.commit_ts = self.commit_ts.take();
        done
    }

    /// Ends what is open, without a commit.
    pub(crate) fn roll_back(&mut self) {
        self.cursors.clear();
        self.points.clear();
        if let Some(tx) = self.tx.take() {
            tx.rollback();
        }
    }

    fn act(&mut self, action: &Action, name: Option<&str>) -> Result<Seen> {
        match action {
            Action::Commit => return self.commit(),
            Action::Rollback => {
                self.roll_back();
                return Ok(Seen::Nothing);
            }
            Action::Next { cursor } => return self.next(cursor),
            _ => {}
        }
        if self.tx.is_none() {
            self.tx = Some(self.db.begin_with(self.options.clone())?);
        }
        let tx = self.tx.as_ref().expect("it was begun");
        let keyspace = &self.keyspace;
        match action {
            Action::Begin => {}
            Action::Pin => {
                tx.pin_snapshot()?;
            }
            Action::Get { key, lock } => return Ok(Seen::Value(locking::get(tx, keyspace, key, *lock)?)),
            Action::Scan { range, only, lock } => {
                let mut rows = locking::scan(tx, keyspace, range, *lock)?;
                rows.retain(|(_, value)| only.is_none_or(|only| only == *value));
                return Ok(Seen::Rows(rows));
            }
            Action::Put { key, value } => tx.put(keyspace, key, self.number(value).to_string())?,
            Action::Delete { key } => tx.delete(keyspace, key)?,
            Action::DeleteRange { range } => tx.delete_range(keyspace, &range.low, &range.high)?,
            Action::DeleteWhere { range, only } => return delete_where(tx, keyspace, range, *only),
            Action::Cursor { range } => {
                let cursor = tx.range(keyspace, range.low.as_str()..range.high.as_str())?;
                self.cursors.insert(name.unwrap_or_default().to_owned(), cursor);
            }
            Action::Savepoint { point } => {
                self.points.insert(point.clone(), tx.savepoint()?);
            }
            Action::BackTo { point } => match self.points.get(point) {
                Some(point) => tx.rollback_to(point)?,
                None => return Err(Error::InvalidArgument { what: "no savepoint has this name" }),
            },
            Action::Commit | Action::Rollback | Action::Next { .. } => {}
        }
        Ok(Seen::Nothing)
    }

    fn commit(&mut self) -> Result<Seen> {
        self.cursors.clear();
        self.points.clear();
        if let Some(tx) = self.tx.take() {
            self.commit_ts = tx.commit()?.map(|info| info.ts);
        }
        Ok(Seen::Nothing)
    }

    fn next(&mut self, cursor: &str) -> Result<Seen> {
        let cursor = self.cursors.get_mut(cursor).ok_or(Error::InvalidArgument { what: "no cursor has this name" })?;
        let row = cursor.next().transpose()?;
        Ok(Seen::Rows(row.iter().map(row_of).collect()))
    }

    fn number(&self, number: &Number) -> i64 {
        let read = number.of.as_ref().and_then(|name| match self.names.get(name) {
            Some(Seen::Value(value)) => *value,
            Some(Seen::Rows(rows)) => Some(rows.iter().map(|(_, value)| value).sum()),
            Some(Seen::Nothing) | None => None,
        });
        read.unwrap_or(0) + number.plus
    }
}

fn delete_where(tx: &Transaction, keyspace: &Keyspace, range: &Span, only: i64) -> Result<Seen> {
    let mut rows = locking::scan(tx, keyspace, range, crate::script::Lock::None)?;
    rows.retain(|(_, value)| *value == only);
    for (key, _) in &rows {
        tx.delete(keyspace, key)?;
    }
    Ok(Seen::Rows(rows))
}

/// A key and its number; values of scripts are numbers as text.
pub(crate) fn row_of(entry: &Entry) -> (String, i64) {
    (String::from_utf8_lossy(&entry.key).into_owned(), number_of(&entry.value))
}

pub(crate) fn number_of(value: &[u8]) -> i64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
}
