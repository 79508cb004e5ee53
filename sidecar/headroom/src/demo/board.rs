//! The board: what the clients have booked so far and what the audience sees of it.
//!
//! The sums here are the clients' own, made from rows and answers; nothing in them comes from what
//! the sidecar says it counted. That is what makes the reconciliation worth something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use headroom_sdk::{Decision, LimitState, Projection, ProjectionState, Prompt, Verdict};

use super::cast::{CAST, Member};
use super::words;

/// Events waiting to be shown. A run has some hundreds and they are shown ten times a second; when
/// full, the oldest is dropped.
const EVENTS_MAX: usize = 4_096;

/// News of progress comes after so many percent of the rows.
const PROGRESS_PERCENT: u64 = 5;

/// Writes of one account that a webhook can be about: as many as a busy account sends in seconds,
/// so that the time of a slow webhook is known too. Older ones are forgotten.
const WRITES_MAX: usize = 8_192;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventKind {
    /// A webhook was received.
    Signal,
    /// A person is shown something else than before.
    Prompt,
    /// A limit is expected to be reached.
    Projection,
    /// Some more of the rows are done.
    Progress,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: EventKind,
    /// The test clock, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
    pub(super) account: &'static str,
    pub(super) text: String,
}

/// One account's book.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) member: Member,
    /// Tokens committed.
    pub(super) recorded_tokens: u64,
    /// Tokens of rows that were refused.
    pub(super) refused_tokens: u64,
    /// Rows that were refused.
    pub(super) refused_rows: u64,
    /// Images made, and the credits that they cost.
    pub(super) images: u64,
    pub(super) credits: u64,
    /// Megabytes of files kept.
    pub(super) megabytes: u64,
    /// Seats taken.
    pub(super) seats: u64,
    /// Webhooks received about it.
    pub(super) signals: u64,
    /// The gravest verdict so far.
    pub(super) worst: Verdict,
    /// The last verdict.
    pub(super) verdict: Verdict,
    /// The limit that decided the last answer.
    pub(super) binding: Option<LimitState>,
    /// Its projection.
    pub(super) projection: Option<Projection>,
    /// The title of what is shown now; empty: nothing.
    pub(super) prompt_title: String,
    // The window of the last answer, and what was told of it.
    window: Option<SystemTime>,
    is_projection_told: bool,
    prompts_told: Vec<String>,
    writes: VecDeque<(u64, Instant)>,
}

/// What all tasks of the demo share.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Board>>);

/// The state of the replay.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) books: Vec<Book>,
    /// The test clock, in milliseconds since the Unix epoch.
    pub(super) now_ms: i64,
    pub(super) rows_done: u64,
    pub(super) rows: u64,
    events: VecDeque<Event>,
}

impl Shared {
    /// A board before the first of so many rows.
    pub(super) fn new(rows: usize) -> Shared {
        let books = CAST.iter().map(|member| Book::new(*member)).collect();
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let board = Board { books, now_ms: 0, rows_done: 0, rows, events: VecDeque::new() };
        Shared(Arc::new(Mutex::new(board)))
    }

    /// The board. Never held across a wait.
    pub(super) fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// The clock was moved.
    pub(super) fn clock(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// The book of an account.
    pub(super) fn book(&mut self, member: usize) -> &mut Book {
        &mut self.books[member]
    }

    /// A write is about to be sent: a webhook that names so many units of this account is about it.
    pub(super) fn sending(&mut self, member: usize, units: u64) {
        let writes = &mut self.books[member].writes;
        if writes.len() == WRITES_MAX {
            writes.pop_front();
        }
        writes.push_back((units, Instant::now()));
    }

    /// A row was committed.
    pub(super) fn recorded(&mut self, member: usize, tokens: u64, decision: Decision) {
        self.books[member].recorded_tokens += tokens;
        self.answered(member, decision);
    }

    /// A row was refused; it cost nothing and counts as refused in full.
    pub(super) fn refused(&mut self, member: usize, tokens: u64, decision: Decision) {
        let book = &mut self.books[member];
        book.refused_tokens += tokens;
        book.refused_rows += 1;
        self.answered(member, decision);
    }

    fn answered(&mut self, member: usize, decision: Decision) {
        self.rows_done += 1;
        let Decision { verdict, binding, projection, prompt, .. } = decision;
        let book = &mut self.books[member];
        book.verdict = verdict;
        book.worst = graver(book.worst, verdict);
        let window = binding.as_ref().and_then(|limit| limit.window_start);
        if book.window != window {
            book.window = window;
            book.is_projection_told = false;
            book.prompts_told.clear();
        }
        let news = [book.projected(projection.as_ref()), book.prompted(prompt)];
        book.binding = binding;
        book.projection = projection;
        let (at_ms, account) = (self.now_ms, book.member.account);
        for (kind, text) in news.into_iter().flatten() {
            self.tell(Event { kind, at_ms, account, text });
        }
        self.tell_progress();
    }

    /// News whenever another part of the rows is done.
    fn tell_progress(&mut self) {
        let percent = words::percent(self.rows_done, self.rows);
        if percent == words::percent(self.rows_done - 1, self.rows)
            || !percent.is_multiple_of(PROGRESS_PERCENT)
        {
            return;
        }
        let (recorded, refused) = self.totals();
        let text = format!(
            "{percent:3} %  {} rows, {} tokens recorded, {} refused, {} webhooks",
            words::count(self.rows_done),
            words::count(recorded),
            words::count(refused),
            self.signals(),
        );
        let at_ms = self.now_ms;
        self.tell(Event { kind: EventKind::Progress, at_ms, account: "", text });
    }

    /// A signed webhook was received for the first time. Says how long it took since the write that
    /// raised it was sent, if that is known.
    pub(super) fn signalled(&mut self, account: &str, units: u64, text: &str) -> Option<Instant> {
        let book = self.books.iter_mut().find(|book| book.member.account == account)?;
        book.signals += 1;
        let sent = book.writes.iter().rev().find(|(write_units, _)| *write_units == units);
        let sent_at = sent.map(|(_, at)| *at);
        let took = sent_at.map_or_else(String::new, |at| format!(" ({})", words::ms(at.elapsed())));
        let (kind, account) = (EventKind::Signal, book.member.account);
        self.tell(Event { kind, at_ms: self.now_ms, account, text: format!("{text}{took}") });
        sent_at
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// What happened since this was asked last.
    pub(super) fn take_events(&mut self) -> VecDeque<Event> {
        std::mem::take(&mut self.events)
    }

    /// Tokens recorded and refused, of all accounts.
    pub(super) fn totals(&self) -> (u64, u64) {
        let recorded = self.books.iter().map(|book| book.recorded_tokens).sum();
        (recorded, self.books.iter().map(|book| book.refused_tokens).sum())
    }

    /// Webhooks received, of all accounts.
    pub(super) fn signals(&self) -> u64 {
        self.books.iter().map(|book| book.signals).sum()
    }
}

impl Book {
    fn new(member: Member) -> Book {
        Book {
            member,
            recorded_tokens: 0,
            refused_tokens: 0,
            refused_rows: 0,
            images: 0,
            credits: 0,
            megabytes: 0,
            seats: 0,
            signals: 0,
            worst: Verdict::Unspecified,
            verdict: Verdict::Unspecified,
            binding: None,
            projection: None,
            prompt_title: String::new(),
            window: None,
            is_projection_told: false,
            prompts_told: Vec::new(),
            writes: VecDeque::new(),
        }
    }

    /// News once a window: a limit is expected to be reached before the window ends.
    fn projected(&mut self, projection: Option<&Projection>) -> Option<(EventKind, String)> {
        let projection = projection?;
        let at = projection.reaches_limit_at?;
        if projection.state != ProjectionState::ReachesLimit || self.is_projection_told {
            return None;
        }
        self.is_projection_told = true;
        let limit = &projection.limit;
        let text = format!("expected: the {limit} limit is reached at {}", words::minute(at));
        Some((EventKind::Projection, text))
    }

    /// News when a person is shown something for the first time in a window.
    fn prompted(&mut self, prompt: Option<Prompt>) -> Option<(EventKind, String)> {
        self.prompt_title.clear();
        let prompt = prompt?;
        self.prompt_title.clone_from(&prompt.title);
        if self.prompts_told.contains(&prompt.prompt) {
            return None;
        }
        self.prompts_told.push(prompt.prompt);
        let action = match prompt.call_to_action.as_str() {
            "" => String::new(),
            action => format!("  [{action}]"),
        };
        Some((EventKind::Prompt, format!("{}{action}", prompt.title)))
    }
}

fn graver(one: Verdict, other: Verdict) -> Verdict {
    // The wire's numbers ascend with gravity.
    if (one as i32) < (other as i32) { other } else { one }
}
