//! `headroom demo`: an hour of real traffic, replayed on a sidecar of its own, and added up.
//!
//! It is the main job on real input: reserve, commit, warn, refuse, tell the business. At the end
//! what the file says, what the clients booked, what the sidecar counted and what the webhook's
//! receiver got must agree to the last token; if not, the exit code says so.
//!
//! ```text
//! trace -> replay --gRPC--> sidecar --webhook--> receiver
//!            \-- board <--------------------------/
//!                  \-- screen      file + board + GetUsage + receiver -> reconcile
//! ```
//!
//! With `--backtest` it is another one: a generated fleet lives, and rules are tried on its past (`fleet`).
//!
//! It is a client like any other: what it knows of the sidecar came through its doors. Only to wait
//! for the end of the background work it looks inside.

mod board;
mod cast;
mod closing;
mod fleet;
mod frame;
mod receiver;
mod reconcile;
mod replay;
mod screen;
mod stage;
#[cfg(test)]
mod tests;
mod trace;
mod words;

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use board::Shared;
use receiver::{Port, Receiver};
use reconcile::Books;
use replay::{Company, Pace};
use screen::Screen;
use stage::Stage;
use trace::Row;

use crate::telemetry::{LogOptions, logging};

/// On a terminal the hour passes in about 25 seconds: slow enough to see what happens.
const TIMES_ON_TERMINAL: u32 = 140;

/// Ended by Ctrl-C: 128 and the number of SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// How the demo runs.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DemoArgs {
    /// Keep the sidecar running afterwards, to try it by hand
    #[arg(long)]
    stay: bool,
    /// Do not remove the sidecar's directory at the end
    #[arg(long)]
    keep: bool,
    /// How fast the hour passes: `max`, or so many seconds in one [default: 140 on a terminal, else
    /// max]
    #[arg(long, value_name = "max|N", value_parser = pace)]
    speed: Option<Pace>,
    /// Instead: let a generated fleet of accounts live for 420 days, and try rules of growth on its past
    #[arg(long, conflicts_with_all = ["stay", "keep", "speed"])]
    backtest: bool,
    /// With --backtest: how many accounts, 10 to 5000
    #[arg(long, requires = "backtest", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(10..=5_000))]
    accounts: u32,
    /// With --backtest: what all chance comes from; the same seed gives the same fleet
    #[arg(long, requires = "backtest", default_value_t = 1)]
    seed: u64,
}

fn pace(text: &str) -> Result<Pace, String> {
    match (text, text.parse()) {
        ("max", _) => Ok(Pace::Max),
        (_, Ok(times @ 1..)) => Ok(Pace::Times(times)),
        _ => Err("use max, or a whole number from 1".into()),
    }
}

/// Why the demo did not come to its end.
#[derive(Debug)]
enum DemoError {
    Trace(trace::TraceError),
    Io(&'static str, io::Error),
    Stage(stage::StageError),
    Call(replay::CallError),
    Close(headroom_store::CloseError),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::Trace(error) => error.fmt(f),
            DemoError::Io(what, error) => write!(f, "{what}: {error}"),
            DemoError::Stage(error) => error.fmt(f),
            DemoError::Call(error) => write!(f, "{error}: {}", error.source),
            DemoError::Close(error) => write!(f, "the sidecar did not close well: {error}"),
        }
    }
}

impl From<replay::CallError> for DemoError {
    fn from(error: replay::CallError) -> DemoError {
        DemoError::Call(error)
    }
}

/// Runs the demo. Exit code 0: everything agrees; 1: it does not, or something failed.
pub fn run(args: &DemoArgs) -> ExitCode {
    // What goes wrong is told at the end; the log would be written across the table.
    let quiet = LogOptions { filter: "error".to_owned(), ..LogOptions::default() };
    if let Err(error) = logging::init(&quiet) {
        return failed(&error.to_string());
    }
    if args.backtest {
        let size = fleet::Size::new(args.accounts, args.seed);
        return fleet::run(size).unwrap_or_else(|error| failed(&error.to_string()));
    }
    match try_run(args) {
        Ok(code) => code,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "the demo failed: {message}");
    ExitCode::FAILURE
}

fn try_run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let rows = trace::rows().map_err(DemoError::Trace)?;
    let screen = Screen::of_stdout();
    let watched = if screen.is_table() { Pace::Times(TIMES_ON_TERMINAL) } else { Pace::Max };
    let pace = args.speed.unwrap_or(watched);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| DemoError::Io("the runtime cannot be made", error))?;
    // From here on Ctrl-C clears away what was made.
    let mut stop = {
        let _on_runtime = runtime.enter();
        Stop::new().map_err(|error| DemoError::Io("signals cannot be received", error))?
    };
    let scene = Scene::set(rows.len(), args.keep)?;
    runtime.block_on(async {
        let house = scene.open()?;
        let ended = tokio::select! {
            ended = house.perform(screen, &rows, pace, args) => Some(ended),
            () = stop.asked() => None,
        };
        if args.stay && matches!(ended, Some(Ok(_))) {
            stop.asked().await;
        }
        house.close().await.map_err(DemoError::Close)?;
        if ended.is_none() {
            let _ = writeln!(
                io::stderr().lock(),
                "interrupted: the sidecar was stopped and cleared away"
            );
        }
        Ok(match ended.transpose()? {
            None => ExitCode::from(INTERRUPTED),
            Some(true) => ExitCode::SUCCESS,
            Some(false) => ExitCode::FAILURE,
        })
    })
}

/// Ctrl-C, or its counterpart of service managers.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> io::Result<Stop> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Stop { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// All that is there before the first row.
struct Scene {
    stage: Stage,
    port: Port,
    key: receiver::Key,
    board: Shared,
}

impl Scene {
    fn set(rows: usize, keep: bool) -> Result<Scene, DemoError> {
        let key = stage::random().map_err(|error| DemoError::Io("/dev/urandom", error))?;
        let port = Port::bind().map_err(|error| DemoError::Io("no free port", error))?;
        let stage =
            Stage::set(&stage::catalog_text(&port.url(), &key), keep).map_err(DemoError::Stage)?;
        Ok(Scene { stage, port, key, board: Shared::new(rows) })
    }

    /// Begins to receive webhooks, on the runtime this is called in.
    fn open(self) -> Result<House, DemoError> {
        let Scene { stage, port, key, board } = self;
        let webhook_url = port.url();
        let receiver = port.listen(key, board.clone());
        let receiver = receiver.map_err(|error| DemoError::Io("the webhook's port", error))?;
        Ok(House { stage, receiver, webhook_url, board })
    }
}

/// A sidecar and a receiver of its webhooks, both at work.
struct House {
    stage: Stage,
    receiver: Receiver,
    webhook_url: String,
    board: Shared,
}

impl House {
    /// From the first word to the last. False when the books do not agree.
    async fn perform(
        &self,
        mut screen: Screen,
        rows: &[Row],
        pace: Pace,
        args: &DemoArgs,
    ) -> Result<bool, DemoError> {
        let began = Instant::now();
        let company = self.gather(rows).await?;
        screen.say(&closing::opening(self, &company, rows));
        let show = screen.show(self.board.clone());
        let played = self.play(&company, rows, pace).await;
        let mut screen = show.end().await;
        let books = played?;
        let board = self.board.lock();
        screen.say("");
        screen.say(&closing::summary(&board, &books));
        screen.say(&closing::reconciliation(&board, &books, began.elapsed()));
        screen.say(&match args {
            DemoArgs { stay: true, .. } => closing::staying(&self.stage.places),
            DemoArgs { keep, .. } => closing::next(keep.then_some(&self.stage.places)),
        });
        Ok(books.differences().is_empty())
    }

    /// Plays all rows, and collects what everybody says about them.
    async fn play(
        &self,
        company: &Company,
        rows: &[Row],
        pace: Pace,
    ) -> Result<Books, replay::CallError> {
        company.play(rows, pace).await?;
        reconcile::collect(self, company, rows).await
    }

    /// Puts everybody in place, at the time of the first row.
    async fn gather(&self, rows: &[Row]) -> Result<Company, replay::CallError> {
        let starts_ms = rows.first().map_or(0, |row| row.at_ms);
        Company::gather(&self.stage.places, self.board.clone(), starts_ms).await
    }

    async fn close(self) -> Result<(), headroom_store::CloseError> {
        // The receiver goes last: the sidecar delivers until its end.
        let closed = self.stage.strike().await;
        self.receiver.stop().await;
        closed
    }
}
