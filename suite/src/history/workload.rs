//! Making a history: threads that run random transactions on a few hot keys and note everything.

use std::ops::Bound;

use duramen::{Concurrency, Database, Error, IsolationLevel, Keyspace, Reader, Result, Transaction};

use super::{End, History, HistoryKind, HistoryOptions, Op, Txn, What};
use crate::dice::Dice;
use crate::locking;
use crate::script::Lock;
use crate::setting::Setting;
use crate::target::Target;
use crate::threads::{AtomicU64, Ordering, scope, yield_now};

/// Most operations of one transaction.
const OPS_MAX: u64 = 5;

pub(super) fn make(options: &HistoryOptions, target: &Target, settings: &[Setting]) -> Result<History> {
    let (db, keyspace) = target.open()?;
    let clock = AtomicU64::new(1);
    let made: Vec<Result<Vec<Txn>>> = scope(|threads| {
        let started: Vec<_> = (0..options.threads)
            .map(|process| {
                let worker = Worker {
                    options,
                    db: &db,
                    keyspace: &keyspace,
                    clock: &clock,
                    process,
                    written: 0,
                    dice: Dice::new(options.seed.wrapping_mul(1000).wrapping_add(process as u64)),
                };
                threads.spawn(move || worker.run(settings))
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
    });
    let mut history = History { lists: options.kind == HistoryKind::Lists, ..History::default() };
    for transactions in made {
        history.transactions.extend(transactions?);
    }
    history.transactions.sort_by_key(|txn| txn.began);
    for row in db.snapshot()?.iter(&keyspace)? {
        let row = row?;
        history.state.insert(number_of(&row.key), list_of(&row.value));
    }
    Ok(history)
}

struct Worker<'a> {
    options: &'a HistoryOptions,
    db: &'a Database,
    keyspace: &'a Keyspace,
    clock: &'a AtomicU64,
    process: usize,
    written: u64,
    dice: Dice,
}

impl Worker<'_> {
    fn run(mut self, settings: &[Setting]) -> Result<Vec<Txn>> {
        (0..self.options.transactions)
            .map(|_| {
                let setting = self.dice.of(settings);
                self.transaction(setting)
            })
            .collect()
    }

    /// H3. Sequentially consistent, so that the counter's order is one that all threads agree on.
    fn moment(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn transaction(&mut self, setting: Setting) -> Result<Txn> {
        let mut txn = Txn {
            process: self.process,
            setting,
            began: self.moment(),
            ended: 0,
            pinned: None,
            ops: Vec::new(),
            end: End::Aborted,
        };
        let tx = self.db.begin_with(setting.options())?;
        match self.work(&tx, &mut txn) {
            Ok(()) => match tx.commit() {
                Ok(info) => txn.end = End::Committed(info.map(|info| info.ts.get())),
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error),
            },
            Err(error) if error.is_retryable() => tx.rollback(),
            Err(error) => return Err(error),
        }
        txn.ended = self.moment();
        Ok(txn)
    }

    fn work(&mut self, tx: &Transaction, txn: &mut Txn) -> Result<()> {
        let keeps_snapshot = txn.setting.level == IsolationLevel::Snapshot || is_ssi(txn.setting);
        if keeps_snapshot && self.dice.one_in(2) {
            txn.pinned = Some(tx.pin_snapshot()?.get());
        }
        // One in four only reads.
        let writes = !self.dice.one_in(4);
        for _ in 0..=self.dice.below(OPS_MAX) {
            self.operation(tx, txn, writes)?;
            if self.dice.one_in(txn.setting.pauses_once_in()) {
                yield_now();
            }
        }
        Ok(())
    }

    fn operation(&mut self, tx: &Transaction, txn: &mut Txn, writes: bool) -> Result<()> {
        let key = self.dice.below(u64::from(self.options.keys)) as u32;
        if self.options.kind == HistoryKind::Ranges && self.dice.one_in(3) {
            return self.scan(tx, txn, key);
        }
        if !writes || self.dice.one_in(2) {
            let lock =
                if writes && self.dice.one_in(4) { self.dice.of(&[Lock::Share, Lock::Update]) } else { Lock::None };
            return match self.read(tx, txn, key, lock) {
                // Not offered: then without.
                Err(Error::Unsupported { .. }) => self.read(tx, txn, key, Lock::None).map(drop),
                read => read.map(drop),
            };
        }
        self.written += 1;
        let element = (self.process as u64 + 1) * 1_000_000 + self.written;
        let value = match self.options.kind {
            HistoryKind::Lists => {
                let mut list = self.read(tx, txn, key, lock_of_append(txn.setting))?;
                list.push(element);
                list
            }
            HistoryKind::Registers | HistoryKind::Ranges => vec![element],
        };
        let start = self.moment();
        tx.put(self.keyspace, key_of(key), text_of(&value))?;
        txn.ops.push(Op { start, what: What::Write { key, value } });
        Ok(())
    }

    fn read(&self, tx: &Transaction, txn: &mut Txn, key: u32, lock: Lock) -> Result<Vec<u64>> {
        let start = self.moment();
        let seen =
            locking::get_bytes(tx, self.keyspace, &key_of(key), lock)?.map_or(Vec::new(), |value| list_of(&value));
        txn.ops.push(Op { start, what: What::Read { key, seen: seen.clone(), locked: lock != Lock::None } });
        Ok(seen)
    }

    fn scan(&mut self, tx: &Transaction, txn: &mut Txn, low: u32) -> Result<()> {
        let high = low + 1 + self.dice.below(u64::from(self.options.keys - low)) as u32;
        let start = self.moment();
        let (from, to) = (key_of(low), key_of(high));
        let bounds = (Bound::Included(from.as_str()), Bound::Excluded(to.as_str()));
        let mut rows = Vec::new();
        for row in tx.range::<&str>(self.keyspace, bounds)? {
            let row = row?;
            rows.push((number_of(&row.key), list_of(&row.value)));
            if self.dice.one_in(txn.setting.pauses_once_in() + 1) {
                yield_now();
            }
        }
        txn.ops.push(Op { start, what: What::Scan { low, high, rows } });
        Ok(())
    }
}

/// Serializable and optimistic: it reads one snapshot.
pub(super) fn is_ssi(setting: Setting) -> bool {
    setting == Setting { level: IsolationLevel::Serializable, mode: Concurrency::Optimistic }
}

/// An append must not lose another one: below RepeatableRead only a locking read promises that.
fn lock_of_append(setting: Setting) -> Lock {
    match setting.level {
        IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted => Lock::Update,
        IsolationLevel::RepeatableRead | IsolationLevel::Snapshot | IsolationLevel::Serializable => Lock::None,
    }
}

fn key_of(key: u32) -> String {
    format!("k{key:04}")
}

fn number_of(key: &[u8]) -> u32 {
    std::str::from_utf8(key).ok().and_then(|text| text.trim_start_matches('k').parse().ok()).unwrap_or(u32::MAX)
}

fn text_of(list: &[u64]) -> String {
    list.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn list_of(value: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.split(',').map(|element| element.parse().unwrap_or(u64::MAX)).collect()
}
