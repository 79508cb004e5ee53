//! Results as tables of text.

use super::render::Table;
use super::{
    CellResult, GrowthResult, MemoryResult, RedisResult, Results, Side, SinksResult, WebhookResult,
};
use crate::gates::{Gate, Good};
use crate::limits::{CONNECTIONS_MAX, CROSSING_ONE_IN, EVALSHA_BATCH, STREAM_DECISIONS_IN_FLIGHT};
use crate::load::Shape;
use crate::projections::{Figures, ProjectionsResult};
use crate::redis_server::{HOW_TO_INSTALL, SCRIPT};
use crate::stats::Ratio;

/// One table per part that was measured, then the gates.
pub(crate) fn tables(results: &Results, gates: &[Gate]) -> Vec<Table> {
    let mut tables = Vec::new();
    if !results.cells.is_empty() {
        tables.push(decisions(&results.cells));
    }
    tables.extend(results.redis.as_ref().map(redis));
    tables.extend(results.memory.as_ref().map(memory));
    tables.extend(results.webhook.as_ref().map(webhook));
    tables.extend(results.sinks.as_ref().map(sinks));
    tables.extend(results.growth.as_ref().map(growth));
    tables.extend(results.projections.iter().flat_map(projections));
    if !gates.is_empty() {
        tables.push(verdicts(gates));
    }
    tables
}

fn decisions(cells: &[CellResult]) -> Table {
    let mut table = Table::new(
        "Consume, durable (`written`), against the empty service",
        &[
            "how",
            "over",
            "server",
            "decisions/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "CPU us",
            "client",
            "CPU x",
            "p99 x",
        ],
    );
    table.note(format!(
        "unary: so many calls in flight on at most {CONNECTIONS_MAX} connections; stream: so many \
         operations a message, {STREAM_DECISIONS_IN_FLIGHT} decisions in flight; sdk: calls of the \
         Rust SDK, which gathers them. Every request has a key of its own."
    ));
    table.note(
        "CPU us: CPU time of the server per decision; client: part of the time in which the load \
         generator worked (near 100% it is the bottleneck); x: Headroom / empty, the median of the \
         ratios of each round, with the quartiles."
            .to_owned(),
    );
    for cell in cells {
        for side in &cell.sides {
            let mut row = vec![how(cell.shape), cell.transport.to_owned()];
            row.extend(figures(side));
            let ratios = if side.server == cell.comparison.to {
                [String::new(), String::new()]
            } else {
                [ratio(cell.comparison.cpu), ratio(cell.comparison.p99)]
            };
            row.extend(ratios);
            table.row(row);
        }
    }
    table
}

fn how(shape: Shape) -> String {
    match shape {
        Shape::Unary { in_flight } => format!("unary, {in_flight}"),
        Shape::Crossing { in_flight } => format!("unary, {in_flight}"),
        Shape::Stream { batch } => format!("stream of {batch}"),
        Shape::Sdk { in_flight } => format!("sdk, {in_flight}"),
        Shape::Evalsha => "EVALSHA".to_owned(),
    }
}

/// Server, throughput, latencies, CPU, client.
fn figures(side: &Side) -> [String; 7] {
    [
        side.server.to_owned(),
        thousands(side.per_second),
        format!("{:.0}", side.p50_us),
        format!("{:.0}", side.p99_us),
        format!("{:.0}", side.p999_us),
        format!("{:.2}", side.server_cpu_us),
        format!("{:.0}%", side.client_busy * 100.0),
    ]
}

fn ratio(ratio: Option<Ratio>) -> String {
    let Some(Ratio { median, quartile_low, quartile_high }) = ratio else {
        return "-".to_owned();
    };
    format!("{median:.2} ({quartile_low:.2}-{quartile_high:.2})")
}

/// `12,345`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn redis(result: &RedisResult) -> Table {
    let mut table = Table::new(
        "Consume through the stream of 16 against one EVALSHA per request (Unix socket)",
        &[
            "how",
            "server",
            "decisions/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "CPU us",
            "client",
            "Headroom x",
        ],
    );
    let (sides, comparisons) = match result {
        RedisResult::NotInstalled => {
            table.note(format!("not measured: {HOW_TO_INSTALL}"));
            return table;
        }
        RedisResult::Measured { sides, comparisons } => (sides, comparisons),
    };
    table.note(format!(
        "{STREAM_DECISIONS_IN_FLIGHT} decisions in flight on both; Redis on one connection in \
         pipelines of {EVALSHA_BATCH}. AOF: appendfsync everysec. Headroom x: decisions a second \
         of Headroom / of this Redis. The script does less than a decision: it checks one limit, \
         counts, lets the counter expire and remembers the key:"
    ));
    table.code(SCRIPT);
    for side in sides {
        let shape = if side.server == "headroom" { "stream of 16" } else { "EVALSHA" };
        let mut row = vec![shape.to_owned()];
        row.extend(figures(side));
        let comparison = comparisons.iter().find(|comparison| comparison.to == side.server);
        row.push(comparison.map_or(String::new(), |comparison| ratio(comparison.throughput)));
        table.row(row);
    }
    table
}

fn sinks(result: &SinksResult) -> Table {
    let mut table = Table::new(
        "What a sink costs the decisions",
        &["how", "sink", "decisions/s", "p50 us", "p99 us", "p99.9 us", "CPU us", "client", "x"],
    );
    table.note(format!(
        "One request in {CROSSING_ONE_IN} crosses a threshold of an account of its own; with a webhook, {} \
         of them were received, all there were. x: CPU time of the threads that answer requests, with / \
         without, the median of the ratios of each round, with the quartiles.",
        thousands(result.crossings as f64),
    ));
    for side in &result.sides {
        let mut row = vec![how(result.shape)];
        row.extend(figures(side));
        let is_base = side.server == result.comparison.to;
        row.push(if is_base { String::new() } else { ratio(result.comparison.workers_cpu) });
        table.row(row);
    }
    table
}

fn memory(result: &MemoryResult) -> Table {
    let mut table = Table::new("Memory and cold start", &["what", "figure"]);
    table.note(format!(
        "{} accounts with ids of 36 bytes, {} calendar ledgers, filled by Record through the \
         stream; medians of several servers: resident memory {} MiB empty, {} MiB filled, {} MiB \
         with {} more keys. A ledger's figure holds its share of the account; keys are taken off at \
         what the later ones cost. Memory of a set size (recent decisions) is off.",
        thousands(result.accounts as f64),
        thousands(result.ledgers as f64),
        result.empty_bytes >> 20,
        result.filled_bytes >> 20,
        result.keyed_bytes >> 20,
        thousands(result.keys_extra as f64),
    ));
    let mut row = |what: &str, figure: String| table.row(vec![what.to_owned(), figure]);
    row("memory per ledger, without keys", format!("{:.0} bytes", result.bytes_per_ledger));
    row("memory per idempotency key", format!("{:.0} bytes", result.bytes_per_key));
    let with_keys = result.bytes_per_ledger_with_keys;
    row("memory per ledger, with one key per four", format!("{with_keys:.0} bytes"));
    let cold = result.cold_start_seconds;
    row("cold start, to the first right answer", format!("{cold:.2} s"));
    row("start after kill -9", format!("{:.2} s", result.after_crash_seconds));
    table
}

fn webhook(result: &WebhookResult) -> Table {
    let mut table = Table::new(
        "Threshold crossing to webhook",
        &["crossings", "webhooks", "p50 ms", "p99 ms", "max ms"],
    );
    table.note(
        "from the answer of the Consume that crossed to the arrival at a listener of this \
         process, while 4,000 other decisions a second run"
            .to_owned(),
    );
    table.row(vec![
        result.crossings.to_string(),
        result.webhooks.to_string(),
        format!("{:.1}", result.p50_ms),
        format!("{:.1}", result.p99_ms),
        format!("{:.1}", result.max_ms),
    ]);
    table
}

fn growth(result: &GrowthResult) -> Table {
    let mut table = Table::new(
        "One decision as accounts grow, in process",
        &["accounts", "decision ns", "map lookup ns"],
    );
    table.note(format!(
        "growth of a decision {:.2}, of a bare lookup {:.2}: ratio {:.2}",
        result.decide, result.map, result.ratio
    ));
    for size in &result.sizes {
        table.row(vec![
            thousands(size.accounts as f64),
            format!("{:.0}", size.decide_ns),
            format!("{:.0}", size.map_ns),
        ]);
    }
    table
}

fn projections(result: &ProjectionsResult) -> [Table; 3] {
    let mut ways = Table::new(
        "When is the limit reached? What was foretold against what came",
        &["of", "by", "use at end", "pinball", "in 80 %", "date", "pinball", "Brier", "CPU us"],
    );
    ways.note(format!(
        "{} questions, each asked from the past alone, about windows of 30, 7 and 1 days. Use at the \
         end: mean absolute error, % of the limit; pinball: its mean loss at 10, 50 and 90 %; in \
         80 %: how often the truth lay in that interval; date: mean absolute error, % of the window; \
         Brier: squared error of the probability (0.25 is a coin).",
        thousands(result.questions as f64)
    ));
    for row in &result.ways {
        ways.row(foretold(&[row.of, row.way], &row.figures));
    }
    let mut kinds = Table::new(
        "The same by kind of account: the straight line, and headroom",
        &["of", "by", "use at end", "pinball", "in 80 %", "date", "pinball", "Brier", "CPU us"],
    );
    for row in &result.kinds {
        kinds.row(foretold(&[row.of, row.way], &row.figures));
    }
    let mut declines = Table::new(
        "Of whom is it told that usage falls? (declining_usage, looked at once a day)",
        &["of", "accounts", "told of", "a quarter"],
    );
    declines.note(
        "Told of: accounts of which it was told at all; a quarter: how often, per account. Who leaves does \
         so at once, up to two months after the beginning."
            .to_owned(),
    );
    for row in &result.declines {
        let numbers = [row.series.to_string(), row.told_of.to_string()];
        let names = [row.of.to_owned()].into_iter().chain(numbers);
        declines.row(names.chain([format!("{:.2}", row.per_quarter)]).collect());
    }
    [ways, kinds, declines]
}

fn foretold(names: &[&str], figures: &Figures) -> Vec<String> {
    let mut row: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let percent = |part: f64| format!("{:.1}", part * 100.0);
    row.extend([
        percent(figures.end_error),
        percent(figures.end_pinball),
        format!("{:.0}%", figures.coverage * 100.0),
        percent(figures.date_error),
        percent(figures.date_pinball),
        format!("{:.3}", figures.brier),
        format!("{:.1}", figures.cpu_us),
    ]);
    row
}

fn verdicts(gates: &[Gate]) -> Table {
    let mut table = Table::new("Gates", &["what", "figure", "gate", "goal", ""]);
    for gate in gates {
        let sign = match gate.side {
            Good::AtMost => "<=",
            Good::AtLeast => ">=",
        };
        table.row(vec![
            gate.name.to_owned(),
            gate.figure.map_or("not measured".to_owned(), |figure| format!("{figure:.2}")),
            format!("{sign} {}", gate.bound),
            format!("{sign} {}", gate.goal),
            if gate.passed() { "pass" } else { "FAIL" }.to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: f64, expected: &str) {
        assert_eq!(thousands(number), expected);
    }

    #[test]
    fn thousands_are_parted() {
        check(0.4, "0");
        check(999.0, "999");
        check(1_000.0, "1,000");
        check(123_456.7, "123,457");
        check(1_234_567.0, "1,234,567");
    }
}
