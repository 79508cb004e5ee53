//! The task of a file: one line per signal, on the disk before it is confirmed.
//!
//! The file may be renamed or emptied by whoever rotates logs: it is looked up before every batch.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::begin::{Reins, Task};
use super::cursor::Cursor;
use super::feed::{Fed, Feed, Item};
use super::ids::Starts;
use super::limits::{LINE_BYTES_MAX, PAGE_ROWS, WRITE_PAUSES};
use super::payload::Message;
use super::status::{Board, Waiting};

/// One file at work.
pub(super) struct Ndjson {
    engine: Arc<Engine>,
    test_clock: bool,
    board: Arc<Board>,
    reins: Reins,
    feed: Feed,
    cursor: Cursor,
    file: Option<LineFile>,
    batch: Option<Batch>,
    starts: Starts,
    /// Dead letters to be written with the next batch.
    again: Vec<SignalId>,
    paused: bool,
    confirmed: SignalId,
    failures: usize,
    retry_at: Option<Instant>,
}

/// Lines to write together.
#[derive(Debug)]
struct Batch {
    lines: Vec<u8>,
    signals: u64,
    upto: SignalId,
    /// Those of them that were dead letters.
    again: Vec<SignalId>,
}

impl Ndjson {
    pub(super) fn new(task: Task, path: PathBuf) -> Ndjson {
        Ndjson {
            engine: task.engine,
            test_clock: task.test_clock,
            board: task.board,
            reins: task.reins,
            confirmed: task.feed.read_to(),
            feed: task.feed,
            cursor: task.cursor,
            file: Some(LineFile::new(path)),
            batch: None,
            starts: task.starts,
            again: Vec::new(),
            paused: false,
            failures: 0,
            retry_at: None,
        }
    }

    /// Runs until it is told to stop; then its cursor is journaled.
    pub(super) async fn run(mut self) {
        let mut writing = None;
        loop {
            let now = Instant::now();
            self.obey();
            let may_begin = self.reins.may_begin() && !self.paused;
            // A sink that rests reads one batch, so that it is known how far it is behind.
            let reads = may_begin || !self.reins.is_stopping();
            if reads && writing.is_none() {
                self.read(now);
            }
            if may_begin && writing.is_none() {
                writing = self.begin(now);
            }
            self.cursor.keep(now);
            let may_read = reads && writing.is_none() && self.may_read(now);
            let awaits = may_read || may_begin && self.feed.is_writing();
            if self.reins.is_over(now, awaits || writing.is_some()) {
                break;
            }
            let due_at = match writing {
                Some(_) => [self.cursor.due_at(), None, None],
                None => self.due_at(may_begin),
            };
            tokio::select! {
                news = self.reins.pulled(due_at) => {
                    if news {
                        self.feed.wake();
                    }
                }
                result = ended(&mut writing) => {
                    writing = None;
                    self.settle(Instant::now(), result);
                }
                () = tokio::task::yield_now(), if may_read => {}
            }
        }
        // The file may be given to another task now. At a shutdown there is none, and a write that
        // does not end is left behind: its lines are not confirmed, so they are written again.
        if writing.is_some() && !self.reins.may_begin() {
            let result = ended(&mut writing).await;
            self.settle(Instant::now(), result);
        }
        self.cursor.note(Instant::now());
    }

    fn due_at(&self, may_begin: bool) -> [Option<Instant>; 3] {
        // While a batch waits nothing is read.
        let retry_at = self.feed.retry_at().filter(|_| self.batch.is_none());
        if !may_begin {
            // Of what was told to stop, the reins know the end.
            let retry_at = retry_at.filter(|_| !self.reins.is_stopping());
            return [self.cursor.due_at(), None, retry_at];
        }
        [self.cursor.due_at(), self.retry_at, retry_at]
    }

    fn may_read(&self, now: Instant) -> bool {
        self.batch.is_none() && (self.feed.is_unread(now) || !self.again.is_empty())
    }

    /// Does what an operator wants.
    fn obey(&mut self) {
        let orders = self.board.orders();
        self.paused = orders.is_paused;
        self.again.extend(orders.again);
    }

    /// Reads one page if nothing is waiting to be written.
    fn read(&mut self, now: Instant) {
        if !self.may_read(now) {
            return;
        }
        let mut batch =
            Batch { lines: Vec::new(), signals: 0, upto: self.confirmed, again: Vec::new() };
        let again = self.again.split_off(self.again.len().saturating_sub(PAGE_ROWS));
        for item in again.into_iter().filter_map(|id| self.feed.again(id)) {
            self.write(&mut batch, &item);
            batch.again.push(item.id);
        }
        let page = if self.feed.is_unread(now) { self.feed.page(now) } else { vec![] };
        let mut oldest = None;
        for fed in page {
            match fed {
                Fed::Wanted(item) => {
                    self.write(&mut batch, &item);
                    batch.upto = item.id;
                    let at = item.signal.at();
                    oldest.get_or_insert_with(|| Waiting::since(at, self.test_clock, now));
                }
                Fed::Unwanted(id) => batch.upto = id,
            }
        }
        if batch.signals > 0 {
            self.board.stands(self.confirmed, batch.signals, oldest);
            self.batch = Some(batch);
        } else {
            self.confirm(&batch);
        }
    }

    fn write(&self, batch: &mut Batch, item: &Item) {
        let (engine, starts) = (&self.engine, &self.starts);
        batch.lines.extend(Message::of(engine, self.test_clock, starts, item).json());
        batch.lines.push(b'\n');
        batch.signals += 1;
    }

    /// Begins to write the lines that wait, on a thread of its own: a sync may take as long as the
    /// disk likes.
    fn begin(&mut self, now: Instant) -> Option<Writing> {
        if self.batch.is_none() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        self.board.attempt();
        let batch = self.batch.take()?;
        let mut file = self.file.take().expect("nothing is being written");
        Some(tokio::task::spawn_blocking(move || {
            let result = file.append(&batch.lines);
            (file, batch, result)
        }))
    }

    fn confirm(&mut self, batch: &Batch) {
        self.confirmed = batch.upto;
        self.cursor.confirm(batch.upto, batch.signals);
        self.board.stands(batch.upto, 0, None);
    }

    fn settle(&mut self, now: Instant, (file, batch, result): Written) {
        self.file = Some(file);
        match result {
            Ok(()) => {
                self.failures = 0;
                self.board.delivered(batch.signals);
                self.board.revived(&batch.again);
                self.confirm(&batch);
            }
            Err(error) => {
                let pause = WRITE_PAUSES[self.failures.min(WRITE_PAUSES.len() - 1)];
                let (sink, pause_s) = (self.board.sink(), pause.as_secs());
                tracing::warn!(sink, %error, pause_s, "signals cannot be written");
                self.board.attempt_failed(&error.to_string());
                self.failures += 1;
                self.retry_at = Some(now + pause);
                self.batch = Some(batch);
            }
        }
    }
}

/// A write under way, and what comes of it.
type Writing = JoinHandle<Written>;
type Written = (LineFile, Batch, io::Result<()>);

/// Waits for the write under way, for ever if there is none.
async fn ended(writing: &mut Option<Writing>) -> Written {
    match writing {
        Some(handle) => match handle.await {
            Ok(written) => written,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
        None => std::future::pending().await,
    }
}

/// A file that holds whole lines, whatever happened to the last writer.
pub(super) struct LineFile {
    path: PathBuf,
    open: Option<File>,
}

impl LineFile {
    pub(super) fn new(path: PathBuf) -> LineFile {
        LineFile { path, open: None }
    }

    /// Appends lines and syncs them. On error none of them counts as written; a part of them may be
    /// in the file as whole lines, which a later append may repeat.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let file = self.look_up()?;
        let length = file.metadata()?.len();
        let mut writer = file;
        let result = writer.write_all(lines).and_then(|()| file.sync_data());
        if result.is_err() {
            // What was torn is cut off now if possible, else when the file is opened next.
            let _ = file.set_len(length);
            self.open = None;
        }
        result
    }

    /// The file under the path: the open one if it still is, else it is opened and mended.
    fn look_up(&mut self) -> io::Result<&File> {
        let is_same = match &self.open {
            None => false,
            Some(file) => match std::fs::metadata(&self.path) {
                Ok(found) => {
                    let ours = file.metadata()?;
                    (found.dev(), found.ino()) == (ours.dev(), ours.ino())
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            },
        };
        if !is_same {
            self.open = None;
            self.open = Some(open(&self.path)?);
        }
        Ok(self.open.as_ref().expect("it was opened above"))
    }
}

/// Opens the file, or makes one that only its owner reads, and cuts off a torn last line.
fn open(path: &Path) -> io::Result<File> {
    let is_new = !path.try_exists()?;
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if is_new {
        // Otherwise a power cut could take the name of a file whose lines are confirmed.
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    }
    let length = file.metadata()?.len();
    let tail_at = length.saturating_sub(LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(tail_at))?;
    let mut tail = Vec::new();
    Read::by_ref(&mut file).take(LINE_BYTES_MAX as u64).read_to_end(&mut tail)?;
    let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(place) => tail_at + place as u64 + 1,
        None if tail_at == 0 => 0,
        None => {
            let what =
                format!("{} does not end in a line: it was not written by us", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    };
    if whole < length {
        let bytes = length - whole;
        tracing::warn!(path = %path.display(), bytes, "cutting off a torn last line");
        file.set_len(whole)?;
    }
    Ok(file)
}
