//! A mix like TPC-C's: new-order and payment, half and half, over eight tables in one transaction each.
//!
//! Smaller than the standard and without its screens: one warehouse, ten districts, 300 customers a district, 1,000 items, orders of 5 to 15
//! lines. Checked at the end: the amounts of all payments, the number of orders of each district, and the number of lines.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::compare::data::word;
use crate::compare::stand::{Stand, offered, same, wrong};
use crate::compare::threads::{Body, Tally, run as run_threads};
use crate::keys::Random;
use crate::peer::{Class, Engine, Outcome, Reading, Session, Span, Writing};

const WAREHOUSE: usize = 0;
const DISTRICT: usize = 1;
const CUSTOMER: usize = 2;
const STOCK: usize = 3;
const ORDER: usize = 4;
const NEW_ORDER: usize = 5;
const ORDER_LINE: usize = 6;
const HISTORY: usize = 7;
const TABLES: usize = 8;

const DISTRICTS: u64 = 10;
const CUSTOMERS: u64 = 300;
const ITEMS: u64 = 1_000;

/// Bytes of a row of each table, roughly the standard's.
const ROW_BYTES: [usize; TABLES] = [96, 96, 512, 256, 32, 16, 56, 48];

/// What all threads committed.
#[derive(Default)]
struct Committed {
    paid: AtomicU64,
    orders: AtomicU64,
    lines: AtomicU64,
    payments: AtomicU64,
}

pub(super) fn run(stand: &mut Stand, class: Class) -> Outcome<()> {
    stand.needs_answers()?;
    offered(stand.entry.offer.writes)?;
    offered(stand.entry.offer.atomic)?;
    offered(stand.entry.offer.scans)?;
    let engine = stand.open("tpcc", class, stand.entry.mode(), TABLES)?;
    load(&*engine)?;
    let committed = Committed::default();
    for threads in stand.plan.mixed_threads.clone() {
        let bodies = (0..threads as u64).map(|t| body(stand.seed(t + 900), &committed)).collect();
        let counted = run_threads(&*engine, &stand.folder, stand.plan.long_slice(), bodies)?;
        stand.more("mix", threads, "transactions/s", counted.per_second);
        stand.less("mix", threads, "aborted %", counted.abort_share * 100.0);
        stand.cpu("mix", threads, &counted);
        stand.tails("mix", threads, &counted);
    }
    verify(&*engine, &committed)
}

fn id(parts: &[u64]) -> Vec<u8> {
    parts.iter().flat_map(|part| (*part as u32).to_be_bytes()).collect()
}

/// A row: two words, then filler.
fn row(table: usize, first: u64, second: u64) -> Vec<u8> {
    let mut row = vec![b' '; ROW_BYTES[table].max(16)];
    row[..8].copy_from_slice(&first.to_le_bytes());
    row[8..16].copy_from_slice(&second.to_le_bytes());
    row
}

fn load(engine: &dyn Engine) -> Outcome<()> {
    let mut session = engine.session()?;
    session.write(&mut |tx| {
        tx.put(WAREHOUSE, &id(&[0]), &row(WAREHOUSE, 0, 0))?;
        (0..DISTRICTS).try_for_each(|d| tx.put(DISTRICT, &id(&[0, d]), &row(DISTRICT, 1, 0)))?;
        (0..ITEMS).try_for_each(|i| tx.put(STOCK, &id(&[0, i]), &row(STOCK, 100, 0)))
    })?;
    for d in 0..DISTRICTS {
        let customer = |c| (id(&[0, d, c]), row(CUSTOMER, 1_000_000, 0));
        session
            .write(&mut |tx| (0..CUSTOMERS).map(customer).try_for_each(|(key, row)| tx.put(CUSTOMER, &key, &row)))?;
    }
    drop(session);
    engine.settle()
}

/// Both words of a row that will be written.
fn words(tx: &mut dyn Writing, table: usize, key: &[u8]) -> Outcome<(u64, u64)> {
    let mut found = None;
    tx.get_for_update(table, key, &mut |row| found = Some((word(row, 0), word(row, 1))))?;
    found.map_or_else(|| wrong(format!("a row of table {table} is missing")), Ok)
}

fn body(seed: u64, committed: &Committed) -> impl Body {
    let mut random = Random::new(seed);
    move |session, tally| {
        let begun = std::time::Instant::now();
        if random.below(2) == 0 {
            new_order(session, tally, &mut random, committed)?;
        } else {
            payment(session, tally, &mut random, committed)?;
        }
        tally.latency.add(begun.elapsed().as_nanos() as u64);
        tally.operations += 1;
        Ok(())
    }
}

fn new_order(session: &mut dyn Session, tally: &mut Tally, random: &mut Random, committed: &Committed) -> Outcome<()> {
    let (d, c) = (random.below(DISTRICTS), random.below(CUSTOMERS));
    let mut items: Vec<u64> = (0..5 + random.below(11)).map(|_| random.below(ITEMS)).collect();
    // In one order everywhere, so that locks do not wait in a circle.
    items.sort_unstable();
    items.dedup();
    tally.until_committed(|| {
        session.write(&mut |tx| {
            let (next, paid) = words(tx, DISTRICT, &id(&[0, d]))?;
            tx.put(DISTRICT, &id(&[0, d]), &row(DISTRICT, next + 1, paid))?;
            if !tx.get(CUSTOMER, &id(&[0, d, c]), &mut |_| {})? {
                return wrong("a customer is missing".to_owned());
            }
            for (line, &item) in items.iter().enumerate() {
                let (quantity, sold) = words(tx, STOCK, &id(&[0, item]))?;
                let left = if quantity > 10 { quantity - 1 } else { quantity + 91 };
                tx.put(STOCK, &id(&[0, item]), &row(STOCK, left, sold + 1))?;
                tx.put(ORDER_LINE, &id(&[0, d, next, line as u64]), &row(ORDER_LINE, item, 1))?;
            }
            tx.put(ORDER, &id(&[0, d, next]), &row(ORDER, c, items.len() as u64))?;
            tx.put(NEW_ORDER, &id(&[0, d, next]), &row(NEW_ORDER, 0, 0))
        })
    })?;
    committed.orders.fetch_add(1, Ordering::Relaxed);
    committed.lines.fetch_add(items.len() as u64, Ordering::Relaxed);
    Ok(())
}

fn payment(session: &mut dyn Session, tally: &mut Tally, random: &mut Random, committed: &Committed) -> Outcome<()> {
    let (d, c, amount) = (random.below(DISTRICTS), random.below(CUSTOMERS), 1 + random.below(5_000));
    let number = committed.payments.fetch_add(1, Ordering::Relaxed);
    tally.until_committed(|| {
        session.write(&mut |tx| {
            let (paid, _) = words(tx, WAREHOUSE, &id(&[0]))?;
            tx.put(WAREHOUSE, &id(&[0]), &row(WAREHOUSE, paid + amount, 0))?;
            let (next, paid) = words(tx, DISTRICT, &id(&[0, d]))?;
            tx.put(DISTRICT, &id(&[0, d]), &row(DISTRICT, next, paid + amount))?;
            let (balance, paid) = words(tx, CUSTOMER, &id(&[0, d, c]))?;
            let customer = row(CUSTOMER, balance.wrapping_sub(amount), paid + amount);
            tx.put(CUSTOMER, &id(&[0, d, c]), &customer)?;
            tx.put(HISTORY, &id(&[number]), &row(HISTORY, c, amount))
        })
    })?;
    committed.paid.fetch_add(amount, Ordering::Relaxed);
    Ok(())
}

/// Count, and sums of both words, of a table.
fn totals(tx: &mut dyn Reading, table: usize) -> Outcome<(u64, u64, u64)> {
    let (mut first, mut second) = (0u64, 0u64);
    let count = tx.scan(table, Span { from: None, limit: usize::MAX, reverse: false }, &mut |_, row| {
        first = first.wrapping_add(word(row, 0));
        second = second.wrapping_add(word(row, 1));
    })?;
    Ok((count as u64, first, second))
}

fn verify(engine: &dyn Engine, committed: &Committed) -> Outcome<()> {
    let (orders, lines) = (committed.orders.load(Ordering::Relaxed), committed.lines.load(Ordering::Relaxed));
    let paid = committed.paid.load(Ordering::Relaxed);
    engine.session()?.read(&mut |tx| {
        same("what the warehouse was paid", totals(tx, WAREHOUSE)?.1, paid)?;
        let (_, next, paid_there) = totals(tx, DISTRICT)?;
        same("what the districts were paid", paid_there, paid)?;
        same("the orders that districts counted", next - DISTRICTS, orders)?;
        same("what customers paid", totals(tx, CUSTOMER)?.2, paid)?;
        same("what was sold", totals(tx, STOCK)?.2, lines)?;
        same("the orders", totals(tx, ORDER)?.0, orders)?;
        same("the new orders", totals(tx, NEW_ORDER)?.0, orders)?;
        same("the order lines", totals(tx, ORDER_LINE)?.0, lines)?;
        same("the payments in the history", totals(tx, HISTORY)?.2, paid)
    })
}
