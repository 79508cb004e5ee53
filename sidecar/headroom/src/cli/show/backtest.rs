//! What rules would have done, on paper.

use headroom_sdk::v1;
use serde_json::{Value, json};

use super::{Report, instant, spaced, table, wire_instant, word};

const DAY_S: i64 = 24 * 60 * 60;

/// `8.3 %`, from basis points.
fn percent(bp: i32) -> String {
    format!("{}.{} %", bp / 100, bp % 100 / 10)
}

fn range(share: &v1::Proportion) -> String {
    let whole = |bp: i32| (bp + 50) / 100;
    format!("{} ({}-{})", percent(share.seen_bp), whole(share.low_bp), whole(share.high_bp))
}

fn day(at: Option<&prost_types::Timestamp>) -> String {
    let at = wire_instant(at).map(instant).unwrap_or_default();
    at.get(..10).unwrap_or(&at).to_owned()
}

fn verdict(one: &v1::BacktestTrigger) -> String {
    word(one.verdict().as_str_name(), "BACKTEST_VERDICT_")
}

fn source(one: &v1::BacktestTrigger) -> String {
    word(one.source().as_str_name(), "BACKTEST_SOURCE_")
}

fn of(part: &v1::Proportion) -> String {
    format!("{} of {}", part.count, part.total)
}

/// In whole days, the nearest.
fn lead_days(one: &v1::BacktestTrigger) -> Option<i64> {
    one.lead_median.as_ref().map(|span| (span.seconds + DAY_S / 2) / DAY_S)
}

/// What was found.
pub(in super::super) fn backtest(report: &v1::BacktestReport) -> Report {
    let mut lines = vec![table(&rows(report)), String::new()];
    lines.extend(notes(report));
    Report::new(lines.join("\n"), to_json(report))
}

fn rows(report: &v1::BacktestReport) -> Vec<Vec<String>> {
    let heads =
        ["TRIGGER", "OF", "TOLD OF", "SHARE A QUARTER", "VERDICT", "FOLLOWED", "LEAD", "SEEN"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for one in &report.triggers {
        let text = |part: &Option<v1::Proportion>, how: fn(&v1::Proportion) -> String| {
            part.as_ref().map_or_else(|| "-".to_owned(), how)
        };
        rows.push(vec![
            one.signal.clone(),
            source(one),
            text(&one.share, of),
            text(&one.share, range),
            spaced(&verdict(one)),
            text(&one.precision, range),
            lead_days(one).map_or_else(|| "-".to_owned(), |days| format!("{days} d")),
            text(&one.upgrades_seen, of),
        ]);
    }
    rows
}

/// What the table stands on.
fn notes(report: &v1::BacktestReport) -> Vec<String> {
    let within = report.within.as_ref().map_or(0, |span| span.seconds / DAY_S);
    let (from, to) = (day(report.from.as_ref()), day(report.to.as_ref()));
    let span = match report.quarters {
        0 => "less than a quarter, so only too much can be told".to_owned(),
        1 => "1 quarter of 90 days".to_owned(),
        quarters => format!("{quarters} quarters of 90 days"),
    };
    let mut lines = vec![format!(
        "{from} to {to}: {span}; {} accounts, counted as eligible {} times",
        report.accounts, report.eligible
    )];
    lines.push(match report.known_since.as_ref() {
        Some(since) => format!("what was known is kept since {}", day(Some(since))),
        None => "nothing is kept yet of what was known: it begins with the first look".to_owned(),
    });
    if report.one_in > 1 {
        lines.push(format!("of a sample: one in {} accounts is kept", report.one_in));
    }
    for one in &report.triggers {
        if !one.facts_never_known.is_empty() {
            let facts = one.facts_never_known.join(", ");
            lines.push(format!("{}: no account ever had {facts}", one.signal));
        }
        if one.standing > 0 {
            let count = one.standing;
            lines.push(format!(
                "{}: held already for {count} accounts at their first look, which are not counted",
                one.signal
            ));
        }
    }
    if report.triggers.iter().any(|one| one.source() == v1::BacktestSource::Raised) {
        lines.push(
            "raised: came so, under the catalog of then; another threshold can be tried as a rule, \
             as used_percent.FEATURE >= 70"
                .to_owned(),
        );
    }
    lines.push(match &report.base {
        Some(base) => {
            let (share, of) = (range(base), of(base));
            format!("upgraded within {within} days without any trigger asked for: {share}, {of}")
        }
        None => format!("no account can be said to have upgraded within {within} days, or not"),
    });
    lines
}

fn share_json(part: Option<&v1::Proportion>) -> Value {
    part.map_or(Value::Null, |part| {
        json!({
            "count": part.count, "total": part.total, "seen_bp": part.seen_bp,
            "low_bp": part.low_bp, "high_bp": part.high_bp,
        })
    })
}

fn to_json(report: &v1::BacktestReport) -> Value {
    let triggers = report.triggers.iter().map(|one| {
        json!({
            "signal": one.signal, "class": one.class, "source": source(one),
            "firings": one.firings, "share": share_json(one.share.as_ref()),
            "verdict": verdict(one), "not_eligible": one.not_eligible, "standing": one.standing,
            "precision": share_json(one.precision.as_ref()), "lead_median_days": lead_days(one),
            "upgrades_seen": share_json(one.upgrades_seen.as_ref()),
            "looks_unknown": one.looks_unknown, "facts_never_known": one.facts_never_known,
        })
    });
    let at = |at: Option<&prost_types::Timestamp>| wire_instant(at).map(instant);
    json!({
        "from": at(report.from.as_ref()), "to": at(report.to.as_ref()),
        "quarters": report.quarters, "known_since": at(report.known_since.as_ref()),
        "within_days": report.within.as_ref().map(|span| span.seconds / DAY_S),
        "accounts": report.accounts, "one_in": report.one_in, "looks": report.looks,
        "eligible": report.eligible, "base": share_json(report.base.as_ref()),
        "triggers": triggers.collect::<Vec<_>>(),
    })
}

/// For spreadsheets: a line for each trigger. Names of signals are plain, so nothing needs quotes but a list.
pub(in super::super) fn backtest_csv(report: &v1::BacktestReport) -> String {
    let mut text =
        "signal,class,source,firings,told_of,eligible,share_bp,share_low_bp,share_high_bp,\
                    verdict,not_eligible,standing,right,known,precision_bp,precision_low_bp,\
                    precision_high_bp,lead_median_days,upgrades_seen,upgrades,looks_unknown,\
                    facts_never_known\n"
            .to_owned();
    for one in &report.triggers {
        let cells = |part: &Option<v1::Proportion>, with_share: bool| match part {
            None => vec![String::new(); if with_share { 5 } else { 2 }],
            Some(part) => {
                let v1::Proportion { count, total, seen_bp, low_bp, high_bp } = part;
                let mut cells = vec![count.to_string(), total.to_string()];
                if with_share {
                    cells.extend([seen_bp, low_bp, high_bp].map(ToString::to_string));
                }
                cells
            }
        };
        let mut line = vec![one.signal.clone(), one.class.clone(), source(one)];
        line.push(one.firings.to_string());
        line.extend(cells(&one.share, true));
        line.extend([verdict(one), one.not_eligible.to_string(), one.standing.to_string()]);
        line.extend(cells(&one.precision, true));
        line.push(lead_days(one).map(|days| days.to_string()).unwrap_or_default());
        line.extend(cells(&one.upgrades_seen, false));
        line.push(one.looks_unknown.to_string());
        line.push(one.facts_never_known.join(" "));
        text += &line.join(",");
        text.push('\n');
    }
    text
}
