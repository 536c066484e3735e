//! The wait graph without its nodes: finding a circle, choosing who is given up, finding an order of a queue without a circle.
//!
//! Pure. What the nodes and arrows are is said by `locks/detect.rs`, which reads them off the lock tables under their latches; so
//! there is no graph that could be out of date.
//!
//! D1  A waiter has an arrow to every holder in its way, and to every earlier waiter in its way.
//! D2  A circle of arrows to holders costs exactly one victim; any other circle costs none (`reorder.rs`).
//! D3  A new circle goes through the transaction that began to wait last. So looking from there, when it begins to wait, finds all.
//!
//! Why D3: a circle consists of waiters. An arrow between two waiters appears (a) when the first begins to wait: it is the one; (b)
//! when the second is put before the first, as an upgrade: then the second has just begun to wait; (c) by reordering, which leaves no
//! circle behind; (d) when somebody is granted something: but who is granted waits no longer, so nothing leads on from there until it
//! waits again, and that is (a). Hence a grant needs no search of its own.

pub(crate) mod reorder;
pub(crate) mod search;
pub(crate) mod victim;
