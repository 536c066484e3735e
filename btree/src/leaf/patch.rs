//! A leaf changed in a few keys without taking it apart: what stays is copied.
//!
//! The keys of the operations, and those with history, get what a rebuild gives them (merge and prune); the other keys keep even the timestamps that
//! a rebuild would forget, which no reader can tell. Not for leaves with a spill or under range deletes: those are rebuilt (`leaf.rs`).

use duramen_base::image::{Change, Image, Record};

use super::{LeafRef, Point, Rules, Version};

/// A patch as it grows, key by key in ascending order.
struct Patch<'a, 'r> {
    image: &'a Image,
    rules: &'r Rules<'r>,
    /// First history record not yet walked.
    hist: usize,
    changes: Vec<Change<'a>>,
    history: Vec<Record<'a>>,
    /// Whether `history` is other than what the image has.
    is_history_new: bool,
    versions: Vec<Version<'a>>,
    key: Vec<u8>,
}

impl<'a> LeafRef<'a> {
    /// The leaf with `points` (by key ascending, all inside its fences) merged in. `None`: it must be rebuilt, or would have more than
    /// `bytes_max` bytes.
    pub(crate) fn patched(self, points: &[Point<'a>], rules: &Rules<'_>, bytes_max: usize) -> Option<Image> {
        // Many changes leave no runs worth copying; of a key with several new versions some may be history at once.
        let has_many =
            points.len() > 1 + self.image.count() / 2 || points.windows(2).any(|two| two[0].key == two[1].key);
        if self.spill.is_some() || !rules.tombs.is_empty() || has_many {
            return None;
        }
        let mut patch = Patch {
            image: self.image,
            rules,
            hist: 0,
            changes: Vec::with_capacity(points.len()),
            history: Vec::new(),
            is_history_new: false,
            versions: Vec::new(),
            key: Vec::new(),
        };
        for point in points {
            let suffix = &point.key[self.image.prefix().len()..];
            patch.walk_history(Some(suffix));
            patch.take_point(point, suffix);
        }
        patch.walk_history(None);
        let history = patch.is_history_new.then_some(patch.history.as_slice());
        self.image.patched(&patch.changes, history, bytes_max)
    }
}

impl<'a> Patch<'a, '_> {
    /// Prunes the history of the keys below `end` (`None`: of all) that have no operation.
    fn walk_history(&mut self, end: Option<&[u8]>) {
        while self.hist < self.image.hist_count() {
            let suffix = self.image.hist_record(self.hist).suffix;
            if end.is_some_and(|end| suffix >= end) {
                return;
            }
            let mut key = std::mem::take(&mut self.key);
            self.image.hist_key_into(self.hist, &mut key);
            let place = self.image.search(&key);
            self.take_versions(place, suffix, None);
            let (before, main) = (self.versions.len(), usize::from(place.is_ok()));
            self.rules.prune(&key, &mut self.versions);
            self.is_history_new |= self.versions.len() != before;
            self.keep_history(suffix, main);
            self.key = key;
        }
    }

    fn take_point(&mut self, point: &Point<'a>, suffix: &'a [u8]) {
        let place = self.image.search(point.key);
        let hist = self.hist;
        let is_newer = self.take_versions(place, suffix, Some(Version { ts: point.ts, body: point.body }));
        self.rules.prune(point.key, &mut self.versions);
        let newest = self.versions.first().filter(|newest| newest.is_value());
        let record = newest.map(|newest| Record { suffix, ts: newest.ts, body: newest.body });
        let main = usize::from(record.is_some());
        if is_newer && (record.is_some() || place.is_ok()) {
            self.changes.push(Change { place, record });
        }
        self.is_history_new |= self.hist > hist || self.versions.len() > main;
        self.keep_history(suffix, main);
    }

    /// All versions of a key, newest first: the operation, the main record, history. Whether the operation is newer than what is here (F2).
    fn take_versions(&mut self, place: Result<usize, usize>, suffix: &[u8], point: Option<Version<'a>>) -> bool {
        self.versions.clear();
        self.versions.extend(point);
        let main = place.ok().map(|index| self.image.record(index));
        self.versions.extend(main.map(|record| Version { ts: record.ts, body: record.body }));
        while self.hist < self.image.hist_count() {
            let record = self.image.hist_record(self.hist);
            if record.suffix != suffix {
                break;
            }
            self.versions.push(Version { ts: record.ts, body: record.body });
            self.hist += 1;
        }
        let is_newer = point.is_none_or(|point| self.versions.get(1).is_none_or(|newest| newest.ts < point.ts));
        if !is_newer {
            self.versions.remove(0);
        }
        is_newer
    }

    /// The versions of a key from `main` on are its history.
    fn keep_history(&mut self, suffix: &'a [u8], main: usize) {
        let older = self.versions.get(main..).unwrap_or_default();
        self.history.extend(older.iter().map(|version| Record { suffix, ts: version.ts, body: version.body }));
    }
}
