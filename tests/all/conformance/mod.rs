//! The conformance suite: what `trait Backend` and `trait BackendCursor` promise, on every backend alike.
//!
//! This is the real definition of the trait (K1 to K6 and C1 to C6 in `base/src/backend.rs`); each test names what it holds a backend to. It
//! knows no backend: `subject.rs` lists them, `fixture.rs` plays the engine around one. `against_model.rs` compares random histories step by
//! step with the model, which the other tests hold to hand-written answers.
//!
//! Next: `get.rs` for the plainest tests, `against_model.rs` for the widest.

mod admit;
mod against_model;
mod compact;
mod crash;
mod cursor;
mod fault;
mod fixture;
mod get;
mod host;
mod newer_seen;
mod persist;
mod prune;
mod range_delete;
mod subject;
mod threads;
mod words;
