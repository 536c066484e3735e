//! Who is given up: one rule for each policy, and the same answer every time.
//!
//! Next: `docs/isolation.md` on what each policy is good for.

use std::cmp::Reverse;

use duramen_base::{DeadlockMember, TxnId, VictimPolicy, mutant};

/// Which of the members of a circle is given up, and the comparison that decided. Equal ones are told apart by age, the youngest
/// going first; retries have an age of their own only by their number.
pub(crate) fn choose(members: &[DeadlockMember], requester: TxnId, policy: VictimPolicy) -> (TxnId, String) {
    debug_assert!(!members.is_empty(), "a circle has members");
    let youngest = |member: &DeadlockMember| (Reverse(member.txn.ticket), Reverse(member.txn.id));
    let numbers = |number: fn(&DeadlockMember) -> i128| {
        let chosen = members.iter().min_by_key(|member| (number(member), youngest(member)));
        let chosen = chosen.expect("a circle has members");
        let others = members.iter().filter(|member| member.txn.id != chosen.txn.id);
        let next = others.map(number).min();
        let why = match next {
            Some(next) if next > number(chosen) => format!("{} < {next}", number(chosen)),
            Some(_) => format!("{} each, the youngest", number(chosen)),
            None => "the only one".to_owned(),
        };
        (chosen.txn.id, why)
    };
    match policy {
        VictimPolicy::Requester => (requester, "its request closed the circle".to_owned()),
        VictimPolicy::FewestLocks => numbers(|member| member.lock_count as i128),
        VictimPolicy::LeastWork => numbers(|member| i128::from(member.write_count)),
        VictimPolicy::Priority => numbers(|member| i128::from(member.txn.priority)),
        VictimPolicy::Youngest if mutant!("retry_loses_its_age") => {
            let last = members.iter().max_by_key(|member| member.txn.id).expect("a circle has members");
            (last.txn.id, "the last number".to_owned())
        }
        VictimPolicy::Youngest => {
            let chosen = members.iter().min_by_key(|member| youngest(member)).expect("a circle has members");
            (chosen.txn.id, format!("ticket {} is the last", chosen.txn.ticket))
        }
        VictimPolicy::Oldest => {
            let chosen = members.iter().max_by_key(|member| youngest(member)).expect("a circle has members");
            (chosen.txn.id, format!("ticket {} is the first", chosen.txn.ticket))
        }
    }
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use std::time::Duration;

    use duramen_base::{TxnInfo, TxnOrigin};

    use super::*;

    /// `(ticket, locks, writes, priority)`; the number is the place.
    fn chosen(policy: VictimPolicy, members: &[(u64, usize, u64, i32)]) -> (u64, String) {
        let member = |(place, &(ticket, lock_count, write_count, priority)): (usize, &(u64, usize, u64, i32))| {
            let id = TxnId::new(place as u64);
            let origin = TxnOrigin::here(None);
            let txn = TxnInfo { id, origin, isolation: "", age: Duration::ZERO, ticket, attempt: 1, priority };
            DeadlockMember {
                txn,
                lock_count,
                write_count,
                waits_for: None,
                waited: Duration::ZERO,
                blocked_by: None,
                last_operations: Vec::new(),
            }
        };
        let members: Vec<DeadlockMember> = members.iter().enumerate().map(member).collect();
        let (victim, why) = choose(&members, TxnId::new(0), policy);
        let mut turned = members;
        turned.rotate_left(1);
        assert_eq!(choose(&turned, TxnId::new(0), policy), (victim, why.clone()), "the order does not matter");
        (victim.get(), why)
    }

    #[test]
    fn each_policy_chooses_by_its_own_number() {
        let members = [(5, 4, 1, 7), (9, 3, 2, 6), (7, 1, 9, 9), (3, 2, 3, 1)];
        assert_eq!(chosen(VictimPolicy::Youngest, &members).0, 1);
        assert_eq!(chosen(VictimPolicy::Oldest, &members).0, 3);
        assert_eq!(chosen(VictimPolicy::FewestLocks, &members), (2, "1 < 2".to_owned()));
        assert_eq!(chosen(VictimPolicy::LeastWork, &members).0, 0);
        assert_eq!(chosen(VictimPolicy::Priority, &members).0, 3);
        assert_eq!(chosen(VictimPolicy::Requester, &members).0, 0);
    }

    #[test]
    fn equal_ones_are_told_apart_by_age() {
        let members = [(5, 2, 0, 0), (9, 2, 0, 0), (7, 3, 0, 0)];
        assert_eq!(chosen(VictimPolicy::FewestLocks, &members), (1, "2 each, the youngest".to_owned()));
        assert_eq!(chosen(VictimPolicy::LeastWork, &members).0, 1);
    }
}
