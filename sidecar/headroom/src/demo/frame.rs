//! One frame of the live table, as lines of text. Pure, so that a test can read it.

use std::collections::VecDeque;

use headroom_sdk::Verdict;

use super::board::{Board, Book, Event, EventKind};
use super::words;

/// Columns and lines of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// Cells of a bar.
const BAR_CELLS: usize = 16;

/// Columns of a table row up to the prompt.
const ROW_COLUMNS: usize = 74;

/// Lines above the accounts.
const HEAD_LINES: usize = 3;

/// Lines of events that are always there.
const EVENT_LINES_MIN: usize = 4;

/// Most lines of events: more is read by nobody while it moves.
const EVENT_LINES_MAX: usize = 10;

/// ANSI colours, where they are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    pub(super) colours: bool,
}

impl Paint {
    pub(super) fn paint(self, code: &str, text: &str) -> String {
        if self.colours && !code.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";

fn verdict_colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unspecified => DIM,
        Verdict::Allowed => "32",
        Verdict::AllowedSoftLimit => "33",
        Verdict::AllowedGrace => "35",
        Verdict::AllowedOverage => "36",
        Verdict::AllowedUnbacked => "31",
        Verdict::Denied => "31",
    }
}

fn event_word(kind: EventKind) -> (&'static str, &'static str) {
    match kind {
        EventKind::Signal => ("signal", "36"),
        EventKind::Prompt => ("prompt", "33"),
        EventKind::Projection => ("expect", "34"),
        EventKind::Progress => ("", DIM),
    }
}

/// Everything on the screen, never more lines than it has less one for the cursor, never wider.
pub(super) fn frame(
    board: &Board,
    recent: &VecDeque<Event>,
    size: Size,
    paint: Paint,
) -> Vec<String> {
    let room = size.lines.saturating_sub(1 + HEAD_LINES);
    let mut shown = board.books.len().min(room.saturating_sub(EVENT_LINES_MIN));
    if shown < board.books.len() {
        shown = shown.saturating_sub(1); // For the line that says so.
    }
    let mut lines = head(board, size, paint);
    lines.extend(board.books.iter().take(shown).map(|book| row(book, size, paint)));
    let hidden = board.books.len() - shown;
    if hidden > 0 {
        let text = format!("… and {hidden} smaller accounts: the terminal is too low to show them");
        lines.push(paint.paint(DIM, &cut(&text, size.columns)));
    }
    let event_lines = size.lines.saturating_sub(1 + lines.len()).min(EVENT_LINES_MAX);
    for event in recent.iter().rev().take(event_lines).rev() {
        lines.push(event_line(event, size.columns, paint));
    }
    lines
}

fn head(board: &Board, size: Size, paint: Paint) -> Vec<String> {
    let (recorded, refused) = board.totals();
    let percent = words::percent(board.rows_done, board.rows);
    let clock = words::date_and_clock(board.now_ms);
    let title = format!(
        "headroom demo  {clock} (test clock)  {} of {} rows, {percent} %",
        words::count(board.rows_done),
        words::count(board.rows),
    );
    let sums = format!(
        "recorded {}   refused {}   webhooks {}",
        words::count(recorded),
        words::count(refused),
        board.signals(),
    );
    let columns = format!(
        "{:8} {:5} {:BAR_CELLS$} {:>5} {:>11} {:10} {:13}prompt",
        "account", "plan", "used", "", "of limit", "verdict", "projection"
    );
    let columns =
        if size.columns > ROW_COLUMNS + 10 { columns } else { columns.replace("prompt", "") };
    vec![
        paint.paint(BOLD, &cut(&title, size.columns)),
        cut(&sums, size.columns),
        paint.paint(DIM, &cut(columns.trim_end(), size.columns)),
    ]
}

fn row(book: &Book, size: Size, paint: Paint) -> String {
    let member = book.member;
    let colour = verdict_colour(book.verdict);
    let (used, included) =
        book.binding.as_ref().map_or((0, None), |limit| (limit.used_units, limit.included_units));
    let share = included.map(|included| words::percent(used, included));
    let of_limit = match included {
        Some(included) => format!("{}/{}", words::short(used), words::short(included)),
        None => words::short(used),
    };
    let share_text = share.map_or_else(String::new, |share| format!("{share}%"));
    let name = format!("{:8} {:5} ", member.account, member.plan);
    let sums = format!(" {share_text:>5} {of_limit:>11} ");
    let verdict = format!("{:10}", words::verdict(book.verdict));
    let projection = format!(" {:12}", words::projection(book.projection.as_ref()));
    let prompt_columns = size.columns.saturating_sub(ROW_COLUMNS);
    let prompt =
        if prompt_columns > 10 { cut(&book.prompt_title, prompt_columns) } else { String::new() };
    format!(
        "{name}{}{sums}{}{projection}{}",
        paint.paint(colour, &bar(share.unwrap_or(0))),
        paint.paint(colour, &verdict),
        paint.paint(DIM, &prompt),
    )
    .trim_end()
    .to_owned()
}

/// Full at 100 %, whatever comes after it.
fn bar(percent: u64) -> String {
    let percent = usize::try_from(percent.min(100)).unwrap_or(100);
    let full = percent * BAR_CELLS / 100;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

/// `18:33:10 signal maple     usage_ceiling hourly 80 % …`
pub(super) fn event_line(event: &Event, columns: usize, paint: Paint) -> String {
    let (word, colour) = event_word(event.kind);
    let at = words::clock(event.at_ms);
    let lead = format!("{at} {word} ");
    if event.kind == EventKind::Progress {
        return paint.paint(BOLD, &cut(&format!("{at} {}", event.text), columns));
    }
    let rest = format!("{:9}{}", event.account, event.text);
    let rest = cut(&rest, columns.saturating_sub(lead.len()));
    format!("{} {} {rest}", paint.paint(DIM, &at), paint.paint(colour, word))
}

/// At most so many characters, with `…` at the end of what was longer.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use headroom_sdk::{
        Decision, Durability, LimitState, Policy, Projection, ProjectionBasis, ProjectionState,
        Source,
    };
    use std::time::{Duration, SystemTime};

    use super::super::board::Shared;
    use super::*;

    const NOW_MS: i64 = 1_700_159_652_000; // 18:34:12

    fn decision(verdict: Verdict, used_units: u64) -> Decision {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_160_720); // 18:52
        Decision {
            allowed: verdict != Verdict::Denied,
            verdict,
            denial: None,
            shadow_denial: None,
            unlock: None,
            binding: Some(LimitState {
                limit: "hourly".into(),
                policy: Policy::Block,
                included_units: Some(300_000),
                used_units,
                reserved_units: 0,
                settled_units_remaining: None,
                drawable_units_remaining: None,
                window_start: None,
                window_end: None,
                thresholds_passed_bp: vec![],
                grace_units_remaining: None,
                overage_units: 0,
                debt_units: 0,
                limit_revision: 1,
                sliding: false,
                oldest_units_leave_at: None,
                grace_until: None,
                overage_cost: None,
                billed_units: None,
                approximate: false,
                pool: None,
                subject: None,
                origin: None,
                grace_uses: None,
            }),
            other_limits: vec![],
            config_value: None,
            origin: None,
            catalog_revision: 1,
            as_of: None,
            source: Source::Local,
            durability: Durability::Written,
            decision_id: String::new(),
            replayed: false,
            test_clock: true,
            retry_after: None,
            prompt: None,
            prompt_suppression: None,
            projection: Some(Projection {
                limit: "hourly".into(),
                state: ProjectionState::ReachesLimit,
                reaches_limit_at: Some(at),
                reaches_limit_from: Some(at),
                reaches_limit_to: Some(at),
                probability_bp: Some(9_500),
                units_at_window_end: None,
                units_at_window_end_low: None,
                units_at_window_end_high: None,
                basis: ProjectionBasis::Pace,
                observed_since: None,
            }),
            charge: None,
        }
    }

    fn board() -> Shared {
        let shared = Shared::new(10);
        let mut board = shared.lock();
        board.clock(NOW_MS);
        board.recorded(9, 150_000, decision(Verdict::Allowed, 150_000));
        board.refused(10, 999, decision(Verdict::Denied, 330_000));
        drop(board);
        shared
    }

    #[test]
    fn a_row_shows_usage_verdict_and_projection() {
        let paint = Paint { colours: false };
        let size = Size { columns: 80, lines: 40 };
        let lines = frame(&board().lock(), &VecDeque::new(), size, paint);
        assert_eq!(lines[0], "headroom demo  2023-11-16 18:34:12 (test clock)  2 of 10 rows, 20 %");
        assert_eq!(lines[1], "recorded 150,000   refused 999   webhooks 0");
        assert_eq!(
            lines[12],
            "juniper  free  ████████░░░░░░░░   50%   150k/300k allowed    limit 18:52"
        );
        assert_eq!(
            lines[13],
            "katsura  free  ████████████████  110%   330k/300k refused    limit 18:52"
        );
        assert_eq!(lines[14], "larch    free  ░░░░░░░░░░░░░░░░                 0");
    }

    #[test]
    fn a_frame_fits_its_terminal() {
        let shared = board();
        let mut board = shared.lock();
        let events: VecDeque<Event> = board
            .take_events()
            .into_iter()
            .cycle()
            .take(30)
            .map(|event| Event { text: "x".repeat(300), ..event })
            .collect();
        for lines in [1, 5, 10, 24, 25, 30, 60] {
            for columns in [20, 80, 85, 200] {
                let size = Size { columns, lines };
                let shown = frame(&board, &events, size, Paint { colours: false });
                assert!(shown.len() < lines.max(5), "{size:?}: {}", shown.len());
                let is_narrow = |line: &String| line.chars().count() <= columns.max(ROW_COLUMNS);
                assert!(shown.iter().all(is_narrow), "{size:?}");
            }
        }
    }
}
