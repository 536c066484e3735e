//! A queue of jobs and several workers: each takes the first job that nobody else has taken, without waiting for anybody.
//!
//! `skip_locked` passes over what another worker has locked. The job is deleted by the transaction that does it: if that fails, the job is there again.
//!
//! `cargo run -p duramen --example job_queue`

use duramen::{BackendKind, Concurrency, Database, IsolationLevel, Keyspace, LockRead, Reader, Result, TxnOptions};

const JOBS: u32 = 200;
const WORKERS: usize = 4;

fn main() -> Result<()> {
    let db = Database::in_memory()?;
    let jobs = db.keyspace("jobs", BackendKind::BTree)?;
    let done = db.keyspace("done", BackendKind::Lsm)?;
    db.update(|tx| (0..JOBS).try_for_each(|n| tx.put(&jobs, format!("job {n:04}"), "to do")))?;

    let counts: Vec<Result<u32>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                scope.spawn({
                    let (db, jobs, done) = (&db, &jobs, &done);
                    move || work(db, jobs, done, number)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    for (number, count) in counts.into_iter().enumerate() {
        println!("worker {number} did {} jobs", count?);
    }
    let snapshot = db.snapshot()?;
    println!(
        "{} jobs left, {} done, {} run again",
        snapshot.iter(&jobs)?.count(),
        snapshot.iter(&done)?.count(),
        db.stats().retries
    );
    Ok(())
}

/// Takes jobs until there is none that nobody has.
fn work(db: &Database, jobs: &Keyspace, done: &Keyspace, number: usize) -> Result<u32> {
    // Read committed is enough: a job that is locked cannot change, and one that is gone is not found.
    let options = TxnOptions::default()
        .isolation(IsolationLevel::ReadCommitted)
        .concurrency(Concurrency::Pessimistic)
        .label("worker");
    let mut count = 0;
    loop {
        let took_one = db.update_with(options.clone(), |tx| {
            let mut free = tx.range_locked(jobs, "job ".."job:", LockRead::for_update().skip_locked())?;
            let Some(job) = free.next().transpose()? else { return Ok(false) };
            tx.put(done, &*job.key, format!("by worker {number}"))?;
            tx.delete(jobs, &*job.key)?;
            Ok(true)
        })?;
        if !took_one {
            return Ok(count);
        }
        count += 1;
    }
}
