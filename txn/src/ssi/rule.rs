//! The rule: of a serializable transaction T that read at S, held against facts about others.
//!
//! ```text
//! OUT = commits W with W.ts > S that wrote something T read                  min_out = min W.ts in OUT
//! IN  = commits X with X.ts > S that read something T writes                 (a read-only X: X.ts = what it read at)
//! refuse T if some W in OUT has a min_out                      (a read-only T: only if that is <= S)
//! refuse T if OUT is not empty and some X in IN has min_out <= X.ts           (equality is write skew)
//! ```
//! A history that is not serializable contains T1 -rw-> T2 -rw-> T3 with T3 the first of them to commit, where T1 and T3
//! may be one (Fekete et al. 2005). The last of them to commit sees both edges here and is refused: as T1 by the first
//! condition, as T2 by the second; T3 is never the last. Between T1 and T2 the edge is found from whichever commits later.
//!
//! Decides only; `facts.rs` shows it each fact once.

use duramen_base::sync::Arc;
use duramen_base::{ConflictPlace, Error, Result, SsiParty, SsiReport, Timestamp, TxnOrigin, mutant};

use super::Claim;
use super::facts::{Fact, MinOut};

/// A transaction being judged.
pub(super) struct Check<'a> {
    claim: &'a Claim,
    read_only: bool,
    /// The earliest in OUT.
    out: Option<Met>,
    /// The latest in IN.
    latest_in: Option<Met>,
}

/// A fact that is in conflict, and where.
struct Met {
    fact: Arc<Fact>,
    place: ConflictPlace,
}

impl<'a> Check<'a> {
    pub(super) fn new(claim: &'a Claim, read_only: bool) -> Check<'a> {
        Check { claim, read_only, out: None, latest_in: None }
    }

    /// What it read at; `None`: it has seen nothing, and nothing is to be judged.
    pub(super) fn snapshot_ts(&self) -> Option<Timestamp> {
        self.claim.snapshot_ts
    }

    /// Holds it against one fact; fails if that alone refuses it.
    pub(super) fn see(&mut self, fact: &Arc<Fact>) -> Result<()> {
        if self.claim.snapshot_ts.is_none_or(|snapshot_ts| fact.ts <= snapshot_ts) {
            return Ok(()); // Not concurrent: T saw it.
        }
        if let Some(place) = self.claim.reads.overlap(&fact.writes) {
            if let Some(out) = fact.min_out
                && (!self.read_only || self.claim.snapshot_ts.is_some_and(|snapshot_ts| out.ts <= snapshot_ts))
            {
                return Err(self.refused_as_reader(fact, out, place));
            }
            if self.out.as_ref().is_none_or(|met| fact.ts < met.fact.ts) {
                self.out = Some(Met { fact: Arc::clone(fact), place });
            }
        }
        if self.latest_in.as_ref().is_none_or(|met| met.fact.ts < fact.ts)
            && let Some(place) = self.claim.writes.overlap(&fact.reads)
        {
            self.latest_in = Some(Met { fact: Arc::clone(fact), place });
        }
        Ok(())
    }

    /// The verdict over all facts seen.
    pub(super) fn judge(&self) -> Result<()> {
        let (Some(out), Some(latest_in)) = (&self.out, &self.latest_in) else { return Ok(()) };
        let (min_out, in_ts) = (out.fact.ts, latest_in.fact.ts);
        let refused = if mutant!("ssi_strictly_less") { min_out < in_ts } else { min_out <= in_ts };
        if refused { Err(self.refused_as_pivot(out, latest_in)) } else { Ok(()) }
    }

    /// What becomes part of its own fact.
    pub(super) fn into_min_out(self) -> Option<MinOut> {
        self.out.map(|met| MinOut { ts: met.fact.ts, origin: met.fact.origin })
    }

    fn refused_as_reader(&self, pivot: &Fact, out: MinOut, place: ConflictPlace) -> Error {
        Error::SerializationFailure(Box::new(SsiReport {
            reader: self.party(),
            pivot: party_of(pivot),
            writer: committed(out.ts, out.origin),
            read: Some(place),
            overwritten: None,
        }))
    }

    fn refused_as_pivot(&self, out: &Met, latest_in: &Met) -> Error {
        Error::SerializationFailure(Box::new(SsiReport {
            reader: party_of(&latest_in.fact),
            pivot: self.party(),
            writer: party_of(&out.fact),
            read: Some(latest_in.place.clone()),
            overwritten: Some(out.place.clone()),
        }))
    }

    fn party(&self) -> SsiParty {
        SsiParty { origin: Some(self.claim.origin), snapshot_ts: self.claim.snapshot_ts, commit_ts: None }
    }
}

fn party_of(fact: &Fact) -> SsiParty {
    committed(fact.ts, fact.origin)
}

fn committed(ts: Timestamp, origin: TxnOrigin) -> SsiParty {
    SsiParty { origin: Some(origin), snapshot_ts: None, commit_ts: Some(ts) }
}
