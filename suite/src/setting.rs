//! A level with a mode: what a transaction is asked to run as.

use std::fmt;

use duramen::{Concurrency, Database, Error, IsolationLevel, Result, TxnOptions};

use crate::target::Target;

/// The levels, in the order of the table. They have no order of strength: RepeatableRead and Snapshot cannot be compared.
pub(crate) const LEVELS: [IsolationLevel; 5] = [
    IsolationLevel::ReadUncommitted,
    IsolationLevel::ReadCommitted,
    IsolationLevel::RepeatableRead,
    IsolationLevel::Snapshot,
    IsolationLevel::Serializable,
];

/// An isolation level with a concurrency mode.
///
/// ```
/// use duramen::{Concurrency, Database, IsolationLevel};
/// use duramen_suite::Setting;
/// let setting = Setting { level: IsolationLevel::Snapshot, mode: Concurrency::Optimistic };
/// assert_eq!(setting.to_string(), "Snapshot/Optimistic");
/// assert!(setting.is_offered(&Database::in_memory()?)?);
/// assert_eq!(Setting::all().count(), 10);
/// assert_eq!(Setting::parse("snapshot/optimistic"), Some(setting));
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// What is promised.
    pub level: IsolationLevel,
    /// How it is kept.
    pub mode: Concurrency,
}

impl Setting {
    /// Every level in both modes, whether offered or not.
    pub fn all() -> impl Iterator<Item = Setting> {
        let modes = [Concurrency::Optimistic, Concurrency::Pessimistic];
        LEVELS.into_iter().flat_map(move |level| modes.into_iter().map(move |mode| Setting { level, mode }))
    }

    /// The setting that is displayed as `text`, in any case.
    pub fn parse(text: &str) -> Option<Setting> {
        Setting::all().find(|setting| setting.to_string().eq_ignore_ascii_case(text))
    }

    /// Whether the engine begins such transactions.
    ///
    /// # Errors
    /// Those of [`Database::begin_with`], except `Unsupported`.
    pub fn is_offered(self, db: &Database) -> Result<bool> {
        match db.begin_with(self.options()) {
            Ok(_) => Ok(true),
            Err(Error::Unsupported { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The settings that databases of these targets offer.
    pub(crate) fn offered(targets: &[Target]) -> Result<Vec<Setting>> {
        let Some(target) = targets.first() else { return Ok(Vec::new()) };
        let (db, _) = target.open()?;
        let mut offered = Vec::new();
        for setting in Setting::all() {
            if setting.is_offered(&db)? {
                offered.push(setting);
            }
        }
        Ok(offered)
    }

    /// How seldom a transaction gives way to others between its calls: once in so many. One that holds locks makes all others wait while it does.
    pub(crate) fn pauses_once_in(self) -> u64 {
        match self.mode {
            Concurrency::Optimistic => 2,
            Concurrency::Pessimistic => 12,
        }
    }

    /// Options of a transaction that runs so.
    pub(crate) fn options(self) -> TxnOptions {
        TxnOptions::default().isolation(self.level).concurrency(self.mode)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.level, self.mode)
    }
}
