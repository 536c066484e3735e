//! The one test binary: what needs more than one crate. Each folder says in its `mod.rs` what it holds Duramen to.
#![forbid(unsafe_code)]
// Helpers of tests are tests too: what is unwrapped here is what they assert.
#![allow(clippy::unwrap_used)]

mod api;
mod conformance;
mod crash;
mod damage;
mod fault;
mod fuzz;
mod isolation;
mod kill;
mod power_loss;
mod random;
mod tidy;
