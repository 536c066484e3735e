//! The cursor of the model.
//!
//! It reads the live content at each step. What it shows stays what it was, because the versions that its timestamp sees stay.

use std::ops::Bound;

use super::content::Content;
use crate::backend::BackendCursor;
use crate::bounds::KeyBounds;
use crate::error::Result;
use crate::ids::Timestamp;
use crate::sync::{Arc, RwLock};
use crate::value::Value;

/// Cursor of the model.
pub struct ModelCursor {
    content: Arc<RwLock<Content>>,
    at: Timestamp,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    place: Place,
    newer_seen: bool,
}

enum Place {
    Nowhere,
    BeforeFirst,
    On { key: Vec<u8>, value: Value, ts: Timestamp },
    AfterLast,
}

impl ModelCursor {
    pub(super) fn new(content: Arc<RwLock<Content>>, at: Timestamp, bounds: KeyBounds<'_>) -> ModelCursor {
        ModelCursor {
            content,
            at,
            lower: bounds.lower.map(<[u8]>::to_vec),
            upper: bounds.upper.map(<[u8]>::to_vec),
            place: Place::Nowhere,
            newer_seen: false,
        }
    }

    /// Goes to the first (`forward`) or last key that is there at `self.at` between `lower` and `upper`, or beyond that end.
    fn walk(&mut self, lower: Bound<Vec<u8>>, upper: Bound<Vec<u8>>, forward: bool) -> bool {
        let content = self.content.read();
        let mut walked = KeyBounds { lower: as_slice(&lower), upper: as_slice(&upper) };
        let on = |key: &[u8]| match content.newest_change(key, self.at) {
            Some((ts, Some(value))) => Some(Place::On { key: key.to_vec(), value: value.clone(), ts }),
            Some((_, None)) | None => None,
        };
        let mut keys = content.versions_in(walked).map(|(key, _)| key);
        let found = if forward { keys.find_map(on) } else { keys.rev().find_map(on) };
        self.place = found.unwrap_or(if forward { Place::AfterLast } else { Place::BeforeFirst });
        match (&self.place, forward) {
            (Place::On { key, .. }, true) => walked.upper = Bound::Included(key),
            (Place::On { key, .. }, false) => walked.lower = Bound::Included(key),
            (Place::Nowhere | Place::BeforeFirst | Place::AfterLast, _) => {}
        }
        self.newer_seen |= content.any_newer_in(walked, self.at);
        matches!(self.place, Place::On { .. })
    }

    fn bounds(&self) -> KeyBounds<'_> {
        KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) }
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

impl BackendCursor for ModelCursor {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        let from = if self.bounds().is_below(key) { self.lower.clone() } else { Bound::Included(key.to_vec()) };
        self.newer_seen = false;
        Ok(self.walk(from, self.upper.clone(), true))
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        let from = if self.bounds().is_above(key) { self.upper.clone() } else { Bound::Included(key.to_vec()) };
        self.newer_seen = false;
        Ok(self.walk(self.lower.clone(), from, false))
    }

    fn next(&mut self) -> Result<bool> {
        let from = match &self.place {
            Place::Nowhere | Place::BeforeFirst => self.lower.clone(),
            Place::On { key, .. } => Bound::Excluded(key.clone()),
            Place::AfterLast => return Ok(false),
        };
        Ok(self.walk(from, self.upper.clone(), true))
    }

    fn prev(&mut self) -> Result<bool> {
        let from = match &self.place {
            Place::Nowhere | Place::AfterLast => self.upper.clone(),
            Place::On { key, .. } => Bound::Excluded(key.clone()),
            Place::BeforeFirst => return Ok(false),
        };
        Ok(self.walk(self.lower.clone(), from, false))
    }

    fn key(&self) -> &[u8] {
        match &self.place {
            Place::On { key, .. } => key,
            Place::Nowhere | Place::BeforeFirst | Place::AfterLast => panic!("the cursor stands on no key"),
        }
    }

    fn value(&self) -> &[u8] {
        match &self.place {
            Place::On { value, .. } => value,
            Place::Nowhere | Place::BeforeFirst | Place::AfterLast => panic!("the cursor stands on no key"),
        }
    }

    fn ts(&self) -> Timestamp {
        match &self.place {
            Place::On { ts, .. } => *ts,
            Place::Nowhere | Place::BeforeFirst | Place::AfterLast => panic!("the cursor stands on no key"),
        }
    }

    fn newer_seen(&self) -> bool {
        self.newer_seen
    }
}
