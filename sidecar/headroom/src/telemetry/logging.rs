//! The log: one line per event, on standard error.
//!
//! Standard output stays free for what a command prints.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere: people read the one and collectors the other.
    #[default]
    Auto,
    /// Text, coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why a text is not a log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log format: use auto, text or json")]
pub struct LogFormatError(String);

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<LogFormat, LogFormatError> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(LogFormatError(text.to_owned())),
        }
    }
}

/// What to log and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Levels as in `info` or `warn,headroom=debug`. Empty: `info`.
    pub filter: String,
    /// The look of a line.
    pub format: LogFormat,
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("`{filter}` is not a log filter: write a level, as in info, or warn,headroom=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Logging was begun before.
    #[error("logging was set up twice")]
    Twice,
}

/// Begins logging, for the whole process.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    let filter = if options.filter.is_empty() { "info" } else { &options.filter };
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match options.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = if json {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        log.with_ansi(terminal).try_init()
    };
    begun.map_err(|_| LogError::Twice)
}
