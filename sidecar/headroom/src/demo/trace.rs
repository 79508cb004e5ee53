//! The trace: an hour of real requests to a code-completion service.
//!
//! It is compiled in, so that the demo needs no file. Microsoft published it as a part of the Azure
//! LLM inference trace 2023, under CC BY 4.0; see load-tests/data/azure-llm-2023.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::cast;

/// The file, as published.
const CSV: &str = include_str!("../../../../load-tests/data/azure-llm-2023/code.csv");

/// One request to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Its line in the file, after the heading, counted from 1.
    pub(super) number: usize,
    /// When it came, in milliseconds since the Unix epoch, UTC.
    pub(super) at_ms: i64,
    /// Tokens of the prompt: known when it came.
    pub(super) prompt_tokens: u64,
    /// Tokens of the answer: known afterwards.
    pub(super) generated_tokens: u64,
    /// The place in the cast of the account that it was drawn for.
    pub(super) member: usize,
}

impl Row {
    /// What it did cost.
    pub(super) fn tokens(&self) -> u64 {
        self.prompt_tokens + self.generated_tokens
    }
}

/// A line of the file that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trace is not a time and two numbers of tokens: {text:?}")]
pub(super) struct TraceError {
    line: usize,
    text: String,
}

/// All rows of the file in its order, which is that of time, drawn for accounts.
pub(super) fn rows() -> Result<Vec<Row>, TraceError> {
    parse(CSV, cast::SEED)
}

fn parse(csv: &str, seed: u64) -> Result<Vec<Row>, TraceError> {
    let lines: Vec<&str> = csv.lines().skip(1).collect();
    let drawn = cast::draw(seed, lines.len());
    let rows = lines.iter().zip(drawn).enumerate().map(|(place, (line, member))| {
        let number = place + 1;
        row(line, number, member)
            .ok_or_else(|| TraceError { line: number + 1, text: (*line).to_owned() })
    });
    rows.collect()
}

fn row(line: &str, number: usize, member: usize) -> Option<Row> {
    let mut fields = line.trim_end().split(',');
    let at: DateTime = fields.next()?.parse().ok()?;
    let at_ms = at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    let prompt_tokens = fields.next()?.parse().ok()?;
    let generated_tokens = fields.next()?.parse().ok()?;
    let is_whole = fields.next().is_none();
    is_whole.then_some(Row { number, at_ms, prompt_tokens, generated_tokens, member })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_8819_rows_and_18305870_tokens_in_the_order_of_time() {
        let rows = rows().unwrap();
        assert_eq!(rows.len(), 8_819);
        assert_eq!(rows.iter().map(Row::tokens).sum::<u64>(), 18_305_870);
        assert!(rows.is_sorted_by_key(|row| row.at_ms));
        let first = Row { member: rows[0].member, ..rows[0] };
        // 2023-11-16T18:17:03.979Z
        assert_eq!(
            (first.at_ms, first.prompt_tokens, first.generated_tokens),
            (1_700_158_623_979, 4_808, 10)
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for bad in [
            "",
            "now,1,2",
            "2023-11-16 18:17:03,1",
            "2023-11-16 18:17:03,1,2,3",
            "2023-11-16 18:17:03,-1,2",
        ] {
            let csv = format!("heading\n2023-11-16 18:17:03.97,1,2\r\n{bad}\n");
            assert_eq!(parse(&csv, 1).unwrap_err().line, 3, "{bad}");
        }
    }
}
