//! Locks between transactions of one thread, which never wait: what is granted, refused, given back.

mod oracle;
mod scenarios;
mod stepped;
mod storms;

use duramen_base::clock::ManualClock;
use duramen_base::{Budget, Error, KeyspaceId, LockMode, LockOp};

use super::*;

const KS: KeyspaceId = KeyspaceId::new(1);
const S: LockMode = LockMode::Shared;
const X: LockMode = LockMode::Exclusive;

pub(super) fn check(manager: &LockManager) {
    let clock = || manager.now();
    for shard in &manager.shards {
        for keyspace in &shard.lock().keyspaces {
            keyspace.check(&mut grant::Rules::new(manager.order(), &clock));
        }
    }
}

#[test]
fn all_that_was_locked_falls_together() {
    let locks = LockManager::standalone();
    let mut owner = locks.owner(OwnerSpec::here());
    for number in 0..200_u32 {
        let keyspace = KeyspaceId::new(1 + number % 40);
        let key = number.to_be_bytes();
        owner.lock_key(keyspace, &key, if number % 3 == 0 { S } else { X }, LockOp::Put, Wait::NoWait).unwrap();
        if number % 3 == 0 {
            owner.lock_key(keyspace, &key, X, LockOp::Put, Wait::NoWait).unwrap();
        }
        owner.lock_range(keyspace, &key, None, S, LockOp::Scan, Wait::NoWait).unwrap();
    }
    check(&locks);
    drop(owner);
    check(&locks);
    assert_eq!(locks.counts(), (0, 0));
}

#[test]
fn a_shared_range_costs_the_same_however_many_keys_in_it_others_share() {
    let locks = LockManager::standalone();
    let (mut others, mut reader) = (locks.owner(OwnerSpec::here()), locks.owner(OwnerSpec::here()));
    for number in 0..1_000_u32 {
        others.lock_key(KS, &number.to_be_bytes(), S, LockOp::Get, Wait::NoWait).unwrap();
    }
    let walked = || points::WALKED.replace(0);
    walked();
    reader.lock_range(KS, &[], None, S, LockOp::Scan, Wait::NoWait).unwrap();
    assert_eq!(walked(), 0, "H3: none of them is in the way");
    let mut writer = locks.owner(OwnerSpec::here());
    assert!(writer.lock_range(KS, &[], None, X, LockOp::DeleteRange, Wait::NoWait).is_err());
    assert!(walked() < 10, "H3: the first one is");
}

#[test]
fn memory_that_others_hold_refuses_no_lock() {
    let budget = Budget::new(64 << 10);
    let _others = budget.reserve_anyway(1 << 20);
    let locks = LockManager::new(Arc::new(ManualClock::default()), budget, LockOptions::default());
    let mut owner = locks.owner(OwnerSpec::here());
    for number in 0..200_u32 {
        owner.lock_key(KS, &number.to_be_bytes(), X, LockOp::Put, Wait::NoWait).unwrap();
    }
}

#[test]
fn a_lock_too_many_for_the_budget_is_refused_and_the_rest_stays() {
    let locks = LockManager::new(Arc::new(ManualClock::default()), Budget::new(64 << 10), LockOptions::default());
    let mut owner = locks.owner(OwnerSpec::here());
    let mut granted = 0_u32;
    let error = loop {
        match owner.lock_key(KS, &granted.to_be_bytes(), X, LockOp::Put, Wait::NoWait) {
            Ok(_) => granted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::LockBudget), "{error}");
    assert!((300..1000).contains(&granted), "{granted} locks of 128 bytes in 64 KiB");
    assert_eq!(locks.counts(), (granted as usize, 0));
    drop(owner);
    assert_eq!(locks.budget.used(), 0);
}
