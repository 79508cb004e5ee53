//! What the engine needs from outside, as traits: a journal to append to and an archive to read.
//!
//! The engine never opens a file and never waits: it appends a record while it holds the account's
//! lock, takes the number, and the adapter that answers the client waits for that number.

use std::fmt;

/// The position of a record in the journal: 1, 2, 3, … without gaps, for the life of the data
/// directory. 0 means "before every record".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why the store takes no write now. Tested before deciding, so a refusal changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreRefusal {
    /// The next journal segment could not be reserved on disk.
    #[error("no room left on the data disk for the journal")]
    NoRoom,
    /// Writing failed and no good segment could be opened since; it is retried in the background.
    #[error("the journal cannot be written: {reason}")]
    Broken {
        /// What the operating system said.
        reason: String,
    },
    /// The store was closed for shutdown.
    #[error("the store is closed")]
    Closed,
}

/// The journal, as seen by the engine.
pub trait Store: Send + Sync {
    /// Whether a write may be decided now. Called before every write, so it must cost nanoseconds.
    fn room(&self) -> Result<(), StoreRefusal>;

    /// Takes one record into the journal's buffer and numbers it; never waits for the disk. Called
    /// with the account's lock held, so records of one account are in the order of its decisions.
    ///
    /// `matter` marks a record that the projection must see ([`Digest`]); the others are skipped.
    fn append(&self, record: &[u8], matter: bool) -> Seq;
}

/// The tables of the projection. Keys sort bytewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Closed windows: what each ledger held when its window ended.
    Usage,
    /// Every signal ever emitted, by its journal position.
    Signals,
    /// How far each sink has confirmed, by the sink's name. (Kept under this name on disk.)
    Pending,
    /// Events with a time of their own, and corrections, by account and key; as long as their windows
    /// can be restated.
    Events,
    /// What came to windows by such events, by window.
    Adjustments,
    /// Pools of credits: the closed segments of their histories.
    Credits,
    /// Subjects of accounts: their names, and what each held in windows that have ended.
    Subjects,
    /// Usage by hour or day and by dimension: parts that add up to closed buckets.
    Tallies,
    /// What became of prompts, by prompt and time.
    Prompts,
    /// What is known of accounts' growth: activity, scores, what was said of signals.
    Growth,
}

/// One change of the projection. Applying the same one twice is the same as once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectionOp {
    /// Sets a row.
    Put {
        /// Where.
        table: Table,
        /// The row's key.
        key: Vec<u8>,
        /// The row's value.
        value: Vec<u8>,
    },
    /// Removes a row, if it is there.
    Delete {
        /// Where.
        table: Table,
        /// The row's key.
        key: Vec<u8>,
    },
}

/// Turns one journal record into changes of the projection. Pure: the same record always gives the
/// same changes, so the projection can be rebuilt from the journal.
pub trait Digest: Send + 'static {
    /// Appends the changes of one record to `ops`.
    fn digest(&mut self, seq: Seq, record: &[u8], ops: &mut Vec<ProjectionOp>);
}

/// One row of the projection: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A row of [`Table::Growth`], and what it is now; no value: it is gone.
pub type GrowthRow = (Vec<u8>, Option<Vec<u8>>);

/// Why the projection could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the projection cannot be read: {reason}")]
pub struct ArchiveError {
    /// What the embedded store said.
    pub reason: String,
}

/// The projection, as seen by its readers. It trails the journal by milliseconds.
pub trait Archive: Send + Sync {
    /// Rows with `from <= key < to`, in key order, at most `rows_max` of them.
    ///
    /// # Errors
    /// When the embedded store fails; nothing is lost by it.
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<Row>, ArchiveError>;

    /// The last row with `from <= key < to`.
    ///
    /// # Errors
    /// When the embedded store fails; nothing is lost by it.
    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, ArchiveError>;

    /// The last record that rows read from now on know of.
    fn position(&self) -> Seq;

    /// How many rows a table has.
    ///
    /// # Errors
    /// When the embedded store fails.
    fn count(&self, table: Table) -> Result<u64, ArchiveError>;
}

/// All rows with `from <= key < to`, in key order, read `at_once` at a time. After an error there are no
/// more.
pub fn rows<'a>(
    archive: &'a dyn Archive,
    table: Table,
    from: Vec<u8>,
    to: Vec<u8>,
    at_once: usize,
) -> impl Iterator<Item = Result<Row, ArchiveError>> + use<'a> {
    let mut next_from = Some(from);
    let pages = std::iter::from_fn(move || {
        let from = next_from.take()?;
        Some(archive.range(table, &from, &to, at_once).inspect(|page| {
            let full = page.last().filter(|_| page.len() == at_once);
            next_from = full.map(|(last, _)| [last.as_slice(), &[0]].concat());
        }))
    });
    pages.flat_map(|page| {
        let (rows, error) = page.map_or_else(|e| (Vec::new(), Some(e)), |rows| (rows, None));
        rows.into_iter().map(Ok).chain(error.map(Err))
    })
}
