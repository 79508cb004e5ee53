//! The audience's view: a table that is redrawn on a terminal, plain lines anywhere else.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::board::{Board, Event, EventKind, Shared};
use super::frame::{self, Paint, Size};

/// Ten frames a second: smooth to look at, and a thousandth of the work.
const FRAME_EVERY: Duration = Duration::from_millis(100);

/// Events that a frame can show.
const RECENT_MAX: usize = 32;

/// What a terminal is taken for that does not tell its size.
const SIZE_UNKNOWN: Size = Size { columns: 80, lines: 24 };

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// Where the demo is shown.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    paint: Paint,
    kind: Kind,
}

enum Kind {
    Table { recent: VecDeque<Event>, lines_drawn: usize },
    Lines,
}

/// The task that shows the board until it is told to stop.
pub(super) struct Show {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Screen>,
}

impl Screen {
    /// Standard output, as what it is.
    pub(super) fn of_stdout() -> Screen {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal() && !is_dumb;
        let kind = if is_terminal {
            Kind::Table { recent: VecDeque::new(), lines_drawn: 0 }
        } else {
            Kind::Lines
        };
        let paint = Paint { colours: is_terminal && !is_set("NO_COLOR") };
        Screen { out: Box::new(io::stdout()), paint, kind }
    }

    /// Plain lines into `out`.
    #[cfg(test)]
    pub(super) fn plain(out: Box<dyn Write + Send>) -> Screen {
        Screen { out, paint: Paint { colours: false }, kind: Kind::Lines }
    }

    /// Whether people watch it live.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.kind, Kind::Table { .. })
    }

    /// Writes a text. Whoever closed the pipe has seen enough, so that is no failure.
    pub(super) fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    /// Shows the board until [`Show::end`], which gives the screen back.
    pub(super) fn show(mut self, board: Shared) -> Show {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            self.begin();
            let mut frames = tokio::time::interval(FRAME_EVERY);
            loop {
                tokio::select! {
                    _ = frames.tick() => self.draw(&mut board.lock()),
                    _ = &mut stopped => break,
                }
            }
            self.draw(&mut board.lock());
            self.end();
            self
        });
        Show { stop, task }
    }

    fn begin(&mut self) {
        if self.is_table() {
            let _ = write!(self.out, "{HIDE_CURSOR}");
        }
    }

    fn end(&mut self) {
        if let Kind::Table { lines_drawn, .. } = &mut self.kind {
            *lines_drawn = 0; // The last frame stays where it is.
            let _ = write!(self.out, "{SHOW_CURSOR}");
            let _ = self.out.flush();
        }
    }

    fn draw(&mut self, board: &mut Board) {
        let events = board.take_events();
        let text = match &mut self.kind {
            Kind::Table { recent, lines_drawn } => {
                // The table's head shows the progress.
                recent.extend(events.into_iter().filter(|event| event.kind != EventKind::Progress));
                let surplus = recent.len().saturating_sub(RECENT_MAX);
                recent.drain(..surplus);
                let lines = frame::frame(board, recent, size(), self.paint);
                let up = match std::mem::replace(lines_drawn, lines.len()) {
                    0 => String::new(),
                    drawn => format!("\x1b[{drawn}A"),
                };
                let rows: String = lines.iter().map(|line| format!("\r{line}\x1b[K\n")).collect();
                format!("{up}{rows}\x1b[J")
            }
            Kind::Lines => {
                let line = |event| frame::event_line(event, usize::MAX, self.paint) + "\n";
                events.iter().map(line).collect()
            }
        };
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

impl Drop for Screen {
    /// However the demo ends, the terminal has its cursor again.
    fn drop(&mut self) {
        self.end();
    }
}

impl Show {
    /// Shows the last state and stops.
    pub(super) async fn end(self) -> Screen {
        let _ = self.stop.send(()); // Fails only when the task has ended.
        match self.task.await {
            Ok(screen) => screen,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

fn size() -> Size {
    let told = rustix::termios::tcgetwinsize(io::stdout());
    match told {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), lines: size.ws_row.into() }
        }
        Ok(_) | Err(_) => SIZE_UNKNOWN,
    }
}
