//! SQLite through rusqlite: one file with a write-ahead log, one writer at a time.
//!
//! As its documentation says: WAL, prepared statements, `BEGIN IMMEDIATE` for what writes, tables WITHOUT ROWID for keys that are bytes. Each
//! session has a connection of its own.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Facts, Failure, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing,
    broken,
};

/// The row of the registry.
pub const ENTRY: Entry = Entry {
    name: "sqlite",
    package: "rusqlite",
    feature: Some("rusqlite"),
    needs: "a C compiler",
    facts: Facts {
        isolation: "serializable: one write transaction at a time (BEGIN IMMEDIATE); readers have snapshots",
        durability: "WAL; Buffered: synchronous=NORMAL; Sync: synchronous=FULL (fdatasync of the log in each commit)",
        checksums: "log frames; pages none",
        compression: "none",
        cache: "cache_size of each connection; the file is also in the page cache",
    },
    open: Some(open),
    offer: Offer {
        classes: &[Class::Buffered, Class::Sync],
        modes: &[Mode::Pessimistic, Mode::Serializable],
        ..Offer::WHOLE
    },
};

/// How long a writer waits for its turn.
const TURN: Duration = Duration::from_secs(60);

struct Sqlite {
    path: PathBuf,
    pragmas: String,
    words: Vec<Words>,
}

/// The statements of one table.
struct Words {
    get: String,
    put: String,
    delete: String,
    forward: String,
    reverse: String,
    forward_from: String,
    reverse_from: String,
}

impl Words {
    fn of(index: usize) -> Words {
        let select = format!("SELECT k, v FROM t{index}");
        Words {
            get: format!("SELECT v FROM t{index} WHERE k = ?1"),
            put: format!("INSERT OR REPLACE INTO t{index} (k, v) VALUES (?1, ?2)"),
            delete: format!("DELETE FROM t{index} WHERE k = ?1"),
            forward: format!("{select} ORDER BY k LIMIT ?1"),
            reverse: format!("{select} ORDER BY k DESC LIMIT ?1"),
            forward_from: format!("{select} WHERE k >= ?2 ORDER BY k LIMIT ?1"),
            reverse_from: format!("{select} WHERE k <= ?2 ORDER BY k DESC LIMIT ?1"),
        }
    }
}

fn failure(error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Failure::Conflict,
        Some(rusqlite::ErrorCode::TooBig) => Failure::NotOffered(error.to_string()),
        _ => broken(error),
    }
}

fn open(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let synchronous = if setup.class == Class::Sync { "FULL" } else { "NORMAL" };
    let cache_kib = setup.cache_bytes / 1024;
    let sqlite = Sqlite {
        path: setup.folder.join("db.sqlite"),
        pragmas: format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA cache_size=-{cache_kib}; PRAGMA temp_store=MEMORY;"
        ),
        words: (0..setup.table_count).map(Words::of).collect(),
    };
    let connection = sqlite.connect()?;
    for index in 0..setup.table_count {
        let make = format!("CREATE TABLE IF NOT EXISTS t{index} (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID");
        connection.execute_batch(&make).map_err(failure)?;
    }
    Ok(Box::new(sqlite))
}

impl Sqlite {
    fn connect(&self) -> Outcome<Connection> {
        let connection = Connection::open(&self.path).map_err(failure)?;
        connection.busy_timeout(TURN).map_err(failure)?;
        connection.execute_batch(&self.pragmas).map_err(failure)?;
        connection.set_prepared_statement_cache_capacity(256);
        Ok(connection)
    }
}

impl Engine for Sqlite {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(Local { connection: self.connect()?, words: &self.words }))
    }

    fn sync(&self) -> Outcome<()> {
        self.settle()
    }

    /// A checkpoint syncs the log and then the file.
    fn settle(&self) -> Outcome<()> {
        let checkpoint =
            |connection: &Connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        checkpoint(&self.connect()?).map_err(failure)
    }
}

struct Local<'a> {
    connection: Connection,
    words: &'a [Words],
}

impl Local<'_> {
    fn run(&self, word: &str) -> Outcome<()> {
        self.connection.prepare_cached(word).and_then(|mut word| word.execute([])).map(drop).map_err(failure)
    }

    /// Begins with `begin`, and ends with a commit or, if `work` fails, with a rollback.
    fn bracket(&self, begin: &str, work: impl FnOnce(View<'_>) -> Outcome<()>) -> Outcome<()> {
        self.run(begin)?;
        let done = work(View { connection: &self.connection, words: self.words });
        match done.and_then(|()| self.run("COMMIT")) {
            Ok(()) => Ok(()),
            Err(failure) => self.run("ROLLBACK").and(Err(failure)),
        }
    }
}

impl Session for Local<'_> {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        self.bracket("BEGIN DEFERRED", |mut view| work(&mut view))
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        self.bracket("BEGIN IMMEDIATE", |mut view| work(&mut view)).map(|()| 0)
    }
}

struct View<'a> {
    connection: &'a Connection,
    words: &'a [Words],
}

impl Reading for View<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let mut statement = self.connection.prepare_cached(&self.words[table].get).map_err(failure)?;
        let show = |row: &rusqlite::Row<'_>| {
            found(row.get_ref(0)?.as_blob()?);
            Ok(())
        };
        Ok(statement.query_row(params![key], show).optional().map_err(failure)?.is_some())
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let (words, limit) = (&self.words[table], i64::try_from(span.limit).unwrap_or(-1));
        let word = match (span.from, span.reverse) {
            (None, false) => &words.forward,
            (None, true) => &words.reverse,
            (Some(_), false) => &words.forward_from,
            (Some(_), true) => &words.reverse_from,
        };
        let mut statement = self.connection.prepare_cached(word).map_err(failure)?;
        let rows = match span.from {
            None => statement.query(params![limit]),
            Some(from) => statement.query(params![limit, from]),
        };
        show_all(rows.map_err(failure)?, visit).map_err(failure)
    }
}

fn show_all(mut rows: rusqlite::Rows<'_>, visit: &mut Visit<'_>) -> rusqlite::Result<usize> {
    let mut count = 0;
    while let Some(row) = rows.next()? {
        visit(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
        count += 1;
    }
    Ok(count)
}

impl Writing for View<'_> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut statement = self.connection.prepare_cached(&self.words[table].put).map_err(failure)?;
        statement.execute(params![key, value]).map(drop).map_err(failure)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        let mut statement = self.connection.prepare_cached(&self.words[table].delete).map_err(failure)?;
        statement.execute(params![key]).map(drop).map_err(failure)
    }
}
