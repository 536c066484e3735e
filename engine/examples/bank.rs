//! A bank under contention: several threads transfer money, an auditor watches, and no moment shows a wrong total.
//!
//! Balances lie in a B-tree keyspace, the journal of transfers in an LSM keyspace; a transfer writes both in one transaction. The auditor adds up
//! all balances from snapshots, again and again, while transfers run. At the end the journal is replayed from the opening balances: each
//! account must come out as it stands. Not a benchmark: the figures printed tell what happened, not what the engine can do.
//!
//! ```text
//! cargo run --release -p duramen --example bank            # 5 seconds, 4 threads
//! cargo run --release -p duramen --example bank -- 30 8    # 30 seconds, 8 threads
//! ```
//! Ends with an error, and a non-zero exit code, if an audit fails.
//!
//! # Why snapshot isolation is enough here
//! Optimistic snapshot isolation permits write skew: two transactions read the same rows and each writes another of them. A transfer writes
//! *both* accounts whose balances it read, so two transfers that share an account conflict, and one runs again. A rule over rows that are
//! only read (say, "all accounts of a customer together stay above zero") would not be safe this way.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use duramen::{BackendKind, Database, Keyspace, Reader, Snapshot};

const ACCOUNT_COUNT: u32 = 100;
const OPENING_BALANCE: u64 = 1_000;
const AMOUNT_MAX: u64 = 200;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Bank {
    db: Database,
    /// Account -> balance.
    accounts: Keyspace,
    /// Teller and number of the transfer -> from, to, amount.
    journal: Keyspace,
    is_open: AtomicBool,
}

/// What one teller did.
#[derive(Default)]
struct Day {
    transfers: u64,
    refusals: u64,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let teller_count: u32 = arguments.next().map_or(Ok(4), |text| text.parse())?;

    let path = std::env::temp_dir().join(format!("duramen-bank-{}", std::process::id()));
    let outcome =
        Bank::found(Database::open(&path)?).and_then(|bank| bank.run(Duration::from_secs(seconds), teller_count));
    std::fs::remove_dir_all(&path)?;
    outcome
}

impl Bank {
    /// A bank whose accounts all hold the opening balance.
    fn found(db: Database) -> Outcome<Bank> {
        let accounts = db.keyspace("accounts", BackendKind::BTree)?;
        let journal = db.keyspace("journal", BackendKind::Lsm)?;
        db.update(|tx| {
            (0..ACCOUNT_COUNT)
                .try_for_each(|account| tx.put(&accounts, account.to_be_bytes(), OPENING_BALANCE.to_le_bytes()))
        })?;
        Ok(Bank { db, accounts, journal, is_open: AtomicBool::new(true) })
    }

    /// Tellers and the auditor at work for a while, and the figures.
    fn run(&self, duration: Duration, teller_count: u32) -> Outcome<()> {
        let started = Instant::now();
        let (days, audits) = thread::scope(|scope| {
            let tellers: Vec<_> = (0..teller_count).map(|teller| scope.spawn(move || self.serve(teller))).collect();
            let auditor = scope.spawn(|| self.audit_while_open());
            // Ends early if somebody stumbled: who fails closes the bank.
            while started.elapsed() < duration && self.is_open.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            self.is_open.store(false, Ordering::Relaxed);
            let days: Vec<Outcome<Day>> =
                tellers.into_iter().map(|teller| teller.join().expect("a teller panicked")).collect();
            (days, auditor.join().expect("the auditor panicked"))
        });
        let seconds = started.elapsed().as_secs_f64();
        let audits = audits?;
        let days = days.into_iter().collect::<Outcome<Vec<Day>>>()?;
        let transfers: u64 = days.iter().map(|day| day.transfers).sum();
        let refusals: u64 = days.iter().map(|day| day.refusals).sum();
        self.replay_journal(transfers)?;

        let stats = self.db.stats();
        println!(
            "transfers   {transfers} ({:.0} a second), {refusals} refused for lack of money",
            transfers as f64 / seconds
        );
        println!("conflicts   {}, each run again by `update`", stats.conflicts);
        println!(
            "syncs       {} ({:.1} commits each)",
            stats.log.syncs,
            stats.commits as f64 / stats.log.syncs.max(1) as f64
        );
        println!("audits      {audits}, every one found {}", total());
        println!("journal     replayed: all {ACCOUNT_COUNT} balances agree");
        Ok(())
    }

    /// Transfers until the bank closes.
    fn serve(&self, teller: u32) -> Outcome<Day> {
        let mut random = Random(u64::from(teller) + 1);
        let mut day = Day::default();
        while self.is_open.load(Ordering::Relaxed) {
            let from = random.below(u64::from(ACCOUNT_COUNT)) as u32;
            let to = (from + 1 + random.below(u64::from(ACCOUNT_COUNT) - 1) as u32) % ACCOUNT_COUNT;
            let amount = 1 + random.below(AMOUNT_MAX);
            match self.transfer(teller, day.transfers, (from, to, amount)) {
                Ok(true) => day.transfers += 1,
                Ok(false) => day.refusals += 1,
                Err(error) => {
                    self.is_open.store(false, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(day)
    }

    /// Moves money and notes it, in one transaction; whether there was enough of it.
    fn transfer(&self, teller: u32, number: u64, (from, to, amount): (u32, u32, u64)) -> Outcome<bool> {
        // `update` runs the closure again after a conflict: it must start from what it reads, and touch nothing outside.
        Ok(self.db.update(|tx| {
            let (rich, poor) = (self.balance(tx, from)?, self.balance(tx, to)?);
            if rich < amount {
                return Ok(false);
            }
            tx.put(&self.accounts, from.to_be_bytes(), (rich - amount).to_le_bytes())?;
            tx.put(&self.accounts, to.to_be_bytes(), (poor + amount).to_le_bytes())?;
            let key = [&teller.to_be_bytes()[..], &number.to_be_bytes()].concat();
            tx.put(&self.journal, key, [&from.to_be_bytes()[..], &to.to_be_bytes(), &amount.to_le_bytes()].concat())?;
            Ok(true)
        })?)
    }

    /// What an account holds, as `view` sees it.
    fn balance(&self, view: &impl Reader, account: u32) -> duramen::Result<u64> {
        view.get_with(&self.accounts, account.to_be_bytes(), |value| value.map_or(0, amount_of))
    }

    /// Audits until the bank closes; how many there were.
    fn audit_while_open(&self) -> Outcome<u64> {
        let mut audits = 0;
        while self.is_open.load(Ordering::Relaxed) {
            if let Err(error) = self.audit() {
                self.is_open.store(false, Ordering::Relaxed);
                return Err(error);
            }
            audits += 1;
        }
        Ok(audits)
    }

    /// The total of one snapshot is right, read from either end.
    fn audit(&self) -> Outcome<()> {
        let snapshot = self.db.snapshot()?;
        let mut sums = [0, 0];
        for entry in snapshot.iter(&self.accounts)? {
            sums[0] += amount_of(&entry?.value);
        }
        for entry in snapshot.iter(&self.accounts)?.rev() {
            sums[1] += amount_of(&entry?.value);
        }
        if sums != [total(); 2] {
            return Err(format!("audit failed at {}: {sums:?} instead of {}", snapshot.ts(), total()).into());
        }
        Ok(())
    }

    /// The journal holds each transfer once, and leads from the opening balances to those of today.
    fn replay_journal(&self, transfers: u64) -> Outcome<()> {
        let snapshot = self.db.snapshot()?;
        let (replayed, entries) = self.replayed(&snapshot)?;
        if entries != transfers {
            return Err(format!("the journal holds {entries} transfers, {transfers} were made").into());
        }
        for (account, expected) in replayed {
            let found = self.balance(&snapshot, account)?;
            if i128::from(found) != expected {
                return Err(format!("account {account} holds {found}, by the journal {expected}").into());
            }
        }
        self.audit()
    }

    /// Balances by the journal, and its length. In the order of tellers, not of time, so a balance may be negative on the way.
    fn replayed(&self, snapshot: &Snapshot) -> Outcome<(BTreeMap<u32, i128>, u64)> {
        let opening = i128::from(OPENING_BALANCE);
        let mut balances: BTreeMap<u32, i128> = (0..ACCOUNT_COUNT).map(|account| (account, opening)).collect();
        let mut entries = 0;
        for entry in snapshot.iter(&self.journal)? {
            let value = entry?.value;
            let (accounts, amount) = value.split_at_checked(8).ok_or("a journal entry is too short")?;
            let (from, to) = accounts.split_at(4);
            *balances.entry(account_of(from)).or_default() -= i128::from(amount_of(amount));
            *balances.entry(account_of(to)).or_default() += i128::from(amount_of(amount));
            entries += 1;
        }
        Ok((balances, entries))
    }
}

/// What all accounts hold together, always.
fn total() -> u64 {
    u64::from(ACCOUNT_COUNT) * OPENING_BALANCE
}

fn amount_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("amounts are written as 8 bytes"))
}

fn account_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("accounts are written as 4 bytes"))
}

/// Numbers without a pattern that matters here (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
