//! The projection: what need not live in memory, as rows of an embedded store.
//!
//! redb keeps the rows. It is given a file of our [`Disk`], so that tests can break it too. The
//! position, the last record applied, is stored in the same transaction as its rows.
//!
//! redb may panic on a damaged file; every call is guarded, and a panic is reported as damage.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use headroom_engine::ports::{Archive, ArchiveError, ProjectionOp, Row, Seq, Table};
use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageBackend, TableDefinition, TableError, WriteTransaction,
};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::limits::{PROJECTION_CACHE_BYTES, RANGE_ROWS_MAX};
use crate::overlay::Overlay;

pub(crate) const TABLES: [Table; 10] = [
    Table::Usage,
    Table::Signals,
    Table::Pending,
    Table::Events,
    Table::Adjustments,
    Table::Credits,
    Table::Subjects,
    Table::Tallies,
    Table::Prompts,
    Table::Growth,
];

const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const POSITION: &str = "position";

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The operating system refused.
    #[error("{0}")]
    Io(io::Error),
    /// What redb said of the content.
    #[error("{0}")]
    Content(String),
}

pub(crate) type Outcome<T> = Result<T, Fault>;

fn definition(table: Table) -> Definition {
    TableDefinition::new(match table {
        Table::Usage => "usage",
        Table::Signals => "signals",
        Table::Pending => "pending",
        Table::Events => "events",
        Table::Adjustments => "adjustments",
        Table::Credits => "credits",
        Table::Subjects => "subjects",
        Table::Tallies => "tallies",
        Table::Prompts => "prompts",
        Table::Growth => "growth",
    })
}

/// Runs what calls redb; its errors and panics become one kind of fault.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Outcome<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        // These two kinds are what redb says of a file that is no database, or is cut short.
        Ok(Err(redb::Error::Io(error)))
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Err(Fault::Io(error))
        }
        Ok(Err(error)) => Err(Fault::Content(error.to_string())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(Fault::Content(format!("the file is damaged ({said})")))
        }
    }
}

/// The rows, for the one who writes them and for their readers.
#[derive(Debug)]
pub(crate) struct Projection {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    // None while it could not be opened again after a failure, and after it was closed.
    database: RwLock<Option<Database>>,
    /// A sync of the file failed: what is read from it may not be what is on disk.
    suspect: Arc<AtomicBool>,
}

impl Projection {
    /// Opens the file, or makes one; returns the position as well.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> Outcome<(Projection, u64)> {
        let projection = Projection {
            disk,
            path: path.to_owned(),
            database: RwLock::new(None),
            suspect: Arc::default(),
        };
        let position = projection.reopen()?;
        Ok((projection, position))
    }

    /// Opens the file anew, as it was when it was last synced.
    pub(crate) fn reopen(&self) -> Outcome<u64> {
        self.close();
        let opened = self.reopen_closed();
        if opened.is_err() {
            self.note_suspicion();
        }
        opened
    }

    fn reopen_closed(&self) -> Outcome<u64> {
        let suspect = self.suspect.load(Ordering::SeqCst)
            || self.disk.kind(&self.suspect_path()).map_err(Fault::Io)?.is_some();
        if self.disk.kind(&self.path).map_err(Fault::Io)?.is_none() {
            self.create().map_err(Fault::Io)?;
        } else if suspect {
            self.renew()?;
        }
        let file = self.disk.open(&self.path, OpenMode::Write).map_err(Fault::Io)?;
        let (database, position) = guarded(|| {
            let database = open_database(self.backend(file), false)?;
            let position = stored_position(&database)?;
            Ok((database, position))
        })?;
        let Some(position) = position else {
            return Err(Fault::Content("it has no position".to_owned()));
        };
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(position)
    }

    fn backend(&self, file: Arc<dyn DiskFile>) -> Backend {
        Backend { file, sync_failed: Arc::clone(&self.suspect) }
    }

    fn suspect_path(&self) -> PathBuf {
        self.path.with_extension("suspect")
    }

    /// Leaves a note for the next process that the file must not be trusted.
    fn note_suspicion(&self) {
        if self.suspect.load(Ordering::SeqCst) {
            // On a disk like this it may fail; then only a power cut after the next start finds
            // out.
            let _ = self.disk.open(&self.suspect_path(), OpenMode::Create);
        }
    }

    /// Copies the rows into a new file. A file whose sync failed is only read: what is on disk
    /// under it stays as it was when it was last synced until the new one takes its name.
    fn renew(&self) -> Outcome<()> {
        let file = self.disk.open(&self.path, OpenMode::Read).map_err(Fault::Io)?;
        let overlay = Arc::new(Overlay::new(file).map_err(Fault::Io)?);
        let temp = self.path.with_extension("tmp");
        let target = self.disk.open(&temp, OpenMode::Create).map_err(Fault::Io)?;
        guarded(|| {
            let database = open_database(Backend::new(overlay), true)?;
            copy(&database, Backend::new(Arc::clone(&target)))
        })?;
        target.sync_data().map_err(Fault::Io)?;
        self.disk.rename(&temp, &self.path).map_err(Fault::Io)?;
        self.disk.sync_dir(self.dir()).map_err(Fault::Io)?;
        self.suspect.store(false, Ordering::SeqCst);
        match self.disk.remove(&self.suspect_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::Io(error)),
            _ => Ok(()),
        }
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Makes an empty file. It gets its name when it is whole.
    fn create(&self) -> io::Result<()> {
        let temp = self.path.with_extension("tmp");
        let file = self.disk.open(&temp, OpenMode::Create)?;
        let made = guarded(|| {
            let database = open_database(Backend::new(file), false)?;
            let transaction = database.begin_write()?;
            apply(&transaction, &[], 0)?;
            transaction.commit()?;
            Ok(())
        });
        made.map_err(|fault| match fault {
            Fault::Io(error) => error,
            content => io::Error::other(content),
        })?;
        self.disk.rename(&temp, &self.path)?;
        self.disk.sync_dir(self.dir())
    }

    pub(crate) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // redb writes when it is closed, and whatever it says then, the last sync stands.
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Outcome<T> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        match database.as_ref() {
            Some(database) => guarded(|| work(database)).inspect_err(|_| self.note_suspicion()),
            None => Err(Fault::Content("it is not open".to_owned())),
        }
    }

    /// Applies changes and moves the position. Readers see them at once; they survive a crash only
    /// once a later commit is synced. That saves two syncs per batch and loses nothing: what is not
    /// synced is made again from the journal.
    pub(crate) fn commit(&self, ops: &[ProjectionOp], position: u64, sync: bool) -> Outcome<()> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            if sync {
                // Keeps what a start after a crash needs, instead of reading the whole file then.
                transaction.set_quick_repair(true);
            } else {
                transaction.set_durability(Durability::None)?;
            }
            apply(&transaction, ops, position)?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// Copies all rows as they are now into a new file; returns their position.
    pub(crate) fn copy_to(&self, file: Arc<dyn DiskFile>) -> Outcome<u64> {
        self.with(|database| copy(database, Backend::new(file)))
    }
}

impl Archive for Projection {
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<Row>, ArchiveError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let read = self.with(|database| {
            let transaction = database.begin_read()?;
            let Some(opened) = open_table(&transaction, table)? else { return Ok(Vec::new()) };
            let mut rows = Vec::new();
            for row in opened.range(from..to)?.take(rows_max.min(RANGE_ROWS_MAX)) {
                let (key, value) = row?;
                rows.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(rows)
        });
        read.map_err(|fault| ArchiveError { reason: fault.to_string() })
    }

    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, ArchiveError> {
        if from >= to {
            return Ok(None);
        }
        let read = self.with(|database| {
            let transaction = database.begin_read()?;
            let Some(opened) = open_table(&transaction, table)? else { return Ok(None) };
            let row = opened.range(from..to)?.next_back().transpose()?;
            Ok(row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
        });
        read.map_err(|fault| ArchiveError { reason: fault.to_string() })
    }

    fn position(&self) -> Seq {
        // Of the file; the store asks the projector, which costs nothing.
        Seq(self.with(stored_position).ok().flatten().unwrap_or(0))
    }

    fn count(&self, table: Table) -> Result<u64, ArchiveError> {
        let read = self.with(|database| count(&database.begin_read()?, table));
        read.map_err(|fault| ArchiveError { reason: fault.to_string() })
    }
}

/// What an inspection finds in the file.
pub(crate) struct Looked {
    /// The last record applied.
    pub(crate) position: Seq,
    /// Rows per table, in the order of [`TABLES`].
    pub(crate) rows: [u64; TABLES.len()],
    /// The rows of [`Table::Pending`]: there is one per sink.
    pub(crate) cursors: Vec<Row>,
}

/// Looks at the file without changing it: repairs are made in memory.
pub(crate) fn look(disk: &dyn Disk, path: &Path) -> Outcome<Looked> {
    let file = disk.open(path, OpenMode::Read).map_err(Fault::Io)?;
    let overlay = Overlay::new(file).map_err(Fault::Io)?;
    guarded(|| {
        let database = open_database(Backend::new(Arc::new(overlay)), false)?;
        let position = stored_position(&database)?.unwrap_or(0);
        let transaction = database.begin_read()?;
        let mut rows = [0; TABLES.len()];
        for (table, rows) in TABLES.into_iter().zip(&mut rows) {
            *rows = count(&transaction, table)?;
        }
        let mut cursors = Vec::new();
        for row in transaction.open_table(definition(Table::Pending))?.iter()? {
            let (key, value) = row?;
            cursors.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(Looked { position: Seq(position), rows, cursors })
    })
}

type Opened = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A table to read. `None`: the file is of a version that did not have it, and nothing was written
/// since.
fn open_table(transaction: &ReadTransaction, table: Table) -> Result<Option<Opened>, redb::Error> {
    match transaction.open_table(definition(table)) {
        Ok(opened) => Ok(Some(opened)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn count(transaction: &ReadTransaction, table: Table) -> Result<u64, redb::Error> {
    Ok(open_table(transaction, table)?.map_or(Ok(0), |opened| opened.len())?)
}

fn open_database(backend: Backend, check: bool) -> Result<Database, redb::Error> {
    Ok(redb::Builder::new()
        .set_cache_size(PROJECTION_CACHE_BYTES)
        .set_check_integrity_on_open(check)
        .create_with_backend(backend)?)
}

fn copy(database: &Database, target: Backend) -> Result<u64, redb::Error> {
    let copy = open_database(target, false)?;
    let source = database.begin_read()?;
    let target = copy.begin_write()?;
    let position = source.open_table(META)?.get(POSITION)?.map_or(0, |found| found.value());
    apply(&target, &[], position)?;
    for table in TABLES {
        let Some(from) = open_table(&source, table)? else { continue };
        let mut to = target.open_table(definition(table))?;
        for row in from.iter()? {
            let (key, value) = row?;
            to.insert(key.value(), value.value())?;
        }
    }
    target.commit()?;
    Ok(position)
}

fn stored_position(database: &Database) -> Result<Option<u64>, redb::Error> {
    let meta = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(meta.get(POSITION)?.map(|position| position.value()))
}

fn apply(
    transaction: &WriteTransaction,
    ops: &[ProjectionOp],
    position: u64,
) -> Result<(), redb::Error> {
    for table in TABLES {
        let mut opened = transaction.open_table(definition(table))?;
        for op in ops {
            match op {
                ProjectionOp::Put { table: of, key, value } if *of == table => {
                    opened.insert(key.as_slice(), value.as_slice())?;
                }
                ProjectionOp::Delete { table: of, key } if *of == table => {
                    opened.remove(key.as_slice())?;
                }
                _ => {}
            }
        }
    }
    transaction.open_table(META)?.insert(POSITION, position)?;
    Ok(())
}

/// A file of our disk, as redb wants it.
struct Backend {
    file: Arc<dyn DiskFile>,
    sync_failed: Arc<AtomicBool>,
}

impl Backend {
    fn new(file: Arc<dyn DiskFile>) -> Backend {
        Backend { file, sync_failed: Arc::default() }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let count = self.file.read_at(out, offset)?;
        if count < out.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_size(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.sync_failed.store(true, Ordering::SeqCst))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
}
