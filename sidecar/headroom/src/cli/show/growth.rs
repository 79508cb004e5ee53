//! What an operator is told of how accounts stand.

use headroom_sdk::v1;
use serde_json::{Value, json};

use super::{Report, instant, table, wire_instant, word};

/// Tenths of points as people write them: `82.5`.
pub(super) fn tenths(points: i32) -> String {
    match points % 10 {
        0 => (points / 10).to_string(),
        tenth => format!("{}.{}", points / 10, tenth.abs()),
    }
}

fn thousandths(value: i64) -> String {
    headroom_expansion::facts::Value::Number(value).to_string()
}

fn scores(of: &v1::Readiness) -> [(&'static str, v1::Score); 3] {
    let score = |score: &Option<v1::Score>| score.clone().unwrap_or_default();
    [
        ("pql", score(&of.pql)),
        ("opportunity", score(&of.opportunity)),
        ("white space", score(&of.white_space)),
    ]
}

fn gate_word(of: &v1::Readiness) -> String {
    word(of.gate().as_str_name(), "GATE_STATE_")
}

/// How one account stands.
pub(in super::super) fn readiness(account: &str, answer: &v1::GetReadinessResponse) -> Report {
    let of = answer.readiness.clone().unwrap_or_default();
    let assumed = if of.segment_assumed { " (assumed: no fact says so)" } else { "" };
    let mut lines =
        vec![format!("{account}: {}, judged as {}{assumed}", gate_word(&of), of.segment)];
    for one in &of.failed {
        let found = one.found.as_deref().unwrap_or("not known");
        lines.push(format!("  not yet: {} must be {}, is {found}", one.fact, one.needed));
    }
    lines.extend(of.risks.iter().map(|risk| format!("  risk: {risk}")));
    if !of.unknown_facts.is_empty() {
        lines.push(format!("  passed over, not known: {}", of.unknown_facts.join(", ")));
    }
    for (name, score) in scores(&of) {
        let advice = match score.advice.as_str() {
            "" => String::new(),
            advice => format!(": {advice}"),
        };
        let (points, most) = (tenths(score.points_tenths), tenths(score.points_max_tenths));
        lines.push(format!("\n{name} {points} of {most}, {}{advice}", score.band));
        let rows: Vec<Vec<String>> = score.parts.iter().map(part_row).collect();
        lines.push(table(&rows));
    }
    if !of.live_signals.is_empty() {
        lines.push("\nsignals of the last 30 days".to_owned());
        let rows = of.live_signals.iter().map(|one| {
            let last = wire_instant(one.last_day.as_ref()).map(instant).unwrap_or_default();
            let last = last.get(..10).unwrap_or(&last).to_owned();
            vec![format!("  {}", one.signal), format!("{} days, last {last}", one.days)]
        });
        lines.push(table(&rows.collect::<Vec<_>>()));
    }
    let history = answer.history.iter().map(|one| {
        let day = wire_instant(one.day.as_ref()).map(instant);
        json!({ "day": day, "points_tenths": one.points_tenths })
    });
    let json = json!({
        "account": account,
        "readiness": readiness_json(&of),
        "history": history.collect::<Vec<_>>(),
    });
    Report::new(lines.join("\n"), json)
}

fn part_row(part: &v1::ScorePart) -> Vec<String> {
    let why = match part.value_thousandths {
        Some(value) => format!("{} is {}", part.fact, thousandths(value)),
        None => format!("{} is not known", part.fact),
    };
    let (points, most) = (tenths(part.points_tenths), tenths(part.points_max_tenths));
    vec![format!("  {}", part.part), format!("{points} of {most}"), why]
}

pub(super) fn readiness_json(of: &v1::Readiness) -> Value {
    let failed = of
        .failed
        .iter()
        .map(|one| json!({ "fact": one.fact, "needed": one.needed, "found": one.found }));
    let score = |score: &Option<v1::Score>| {
        let score = score.clone().unwrap_or_default();
        let parts = score.parts.iter().map(|part| {
            json!({
                "part": part.part, "group": part.group, "fact": part.fact,
                "value_thousandths": part.value_thousandths,
                "points_tenths": part.points_tenths, "points_max_tenths": part.points_max_tenths,
            })
        });
        json!({
            "points_tenths": score.points_tenths, "points_max_tenths": score.points_max_tenths,
            "band": score.band, "advice": score.advice, "parts": parts.collect::<Vec<_>>(),
        })
    };
    let live = of.live_signals.iter().map(|one| {
        let last = wire_instant(one.last_day.as_ref()).map(instant);
        json!({ "signal": one.signal, "days": one.days, "last_day": last })
    });
    json!({
        "gate": gate_word(of), "segment": of.segment, "segment_assumed": of.segment_assumed,
        "failed": failed.collect::<Vec<_>>(), "unknown_facts": of.unknown_facts, "risks": of.risks,
        "pql": score(&of.pql), "opportunity": score(&of.opportunity),
        "white_space": score(&of.white_space), "live_signals": live.collect::<Vec<_>>(),
    })
}

/// Accounts by a score, which may have been cut.
pub(in super::super) fn ranked(accounts: &[v1::Account], is_cut: bool) -> Report {
    let heads = ["ACCOUNT", "PLAN", "GATE", "PQL", "BAND", "OPPORTUNITY", "WHITE SPACE", "SIGNALS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for account in accounts {
        let of = account.readiness.clone().unwrap_or_default();
        let [(_, pql), (_, opportunity), (_, white_space)] = scores(&of);
        rows.push(vec![
            account.account.clone(),
            account.plan.clone(),
            gate_word(&of),
            tenths(pql.points_tenths),
            pql.band,
            tenths(opportunity.points_tenths),
            tenths(white_space.points_tenths),
            of.live_signals.len().to_string(),
        ]);
    }
    let mut text = if accounts.is_empty() { "no accounts".to_owned() } else { table(&rows) };
    if is_cut {
        text += &format!("\nthe first {}; --max shows more", accounts.len());
    }
    let list = accounts.iter().map(|account| {
        let readiness = readiness_json(&account.readiness.clone().unwrap_or_default());
        json!({ "account": account.account, "plan": account.plan, "readiness": readiness })
    });
    let json = json!({ "accounts": list.collect::<Vec<_>>(), "complete": !is_cut });
    Report::new(text, json)
}

/// The readiness scorecard: a line per account, a column per part of the score.
pub(in super::super) fn scorecard(accounts: &[v1::Account]) -> Report {
    let first = accounts.first().and_then(|account| account.readiness.as_ref());
    let parts = first.and_then(|of| of.pql.as_ref()).map_or(&[][..], |pql| &pql.parts);
    let mut heads: Vec<String> =
        ["account", "plan", "segment", "gate", "failed", "risks", "pql", "band", "opportunity"]
            .map(str::to_owned)
            .to_vec();
    heads.extend(["white_space", "live_signals"].map(str::to_owned));
    heads.extend(parts.iter().map(|part| part.part.clone()));
    heads.push("missing".to_owned());
    let mut lines = vec![csv(&heads)];
    for account in accounts {
        let of = account.readiness.clone().unwrap_or_default();
        let [(_, pql), (_, opportunity), (_, white_space)] = scores(&of);
        let failed: Vec<&str> = of.failed.iter().map(|one| one.fact.as_str()).collect();
        let missing = pql.parts.iter().filter(|part| part.value_thousandths.is_none());
        let missing: Vec<&str> = missing.map(|part| part.fact.as_str()).collect();
        let mut cells = vec![
            account.account.clone(),
            account.plan.clone(),
            of.segment.clone(),
            gate_word(&of),
            failed.join(" "),
            of.risks.join(" "),
            tenths(pql.points_tenths),
            pql.band.clone(),
            tenths(opportunity.points_tenths),
            tenths(white_space.points_tenths),
            of.live_signals.len().to_string(),
        ];
        cells.extend(pql.parts.iter().map(|part| tenths(part.points_tenths)));
        cells.push(missing.join(" "));
        lines.push(csv(&cells));
    }
    let json = ranked(accounts, false).json;
    Report::new(lines.join("\n"), json)
}

/// A line of CSV by RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe
/// before it: ids of accounts are whatever a customer chose.
fn csv(cells: &[String]) -> String {
    let cell = |cell: &String| {
        let is_number = cell.parse::<f64>().is_ok();
        let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number;
        let text = if is_formula { format!("'{cell}") } else { cell.clone() };
        match text.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",")
}

fn opportunity_json(one: &v1::Opportunity) -> Value {
    let when = |at: &Option<prost_types::Timestamp>| wire_instant(at.as_ref()).map(instant);
    json!({
        "account": one.account, "opportunity": one.opportunity, "signal": one.signal,
        "stage": word(one.stage().as_str_name(), "OPPORTUNITY_STAGE_"), "since": when(&one.since),
        "reason": one.reason, "due_at": when(&one.due_at), "overdue": one.overdue,
    })
}

/// How far an opportunity is.
pub(in super::super) fn opportunity(answer: &v1::UpdateOpportunityResponse) -> Report {
    let one = answer.opportunity.clone().unwrap_or_default();
    let stage = word(one.stage().as_str_name(), "OPPORTUNITY_STAGE_");
    let due = wire_instant(one.due_at.as_ref()).map(instant);
    let due = due.map_or_else(String::new, |at| format!(", to be further by {at}"));
    let changed = if answer.changed { "" } else { " (nothing changed)" };
    let text = format!("{}: {stage}{due}{changed}", one.opportunity);
    let json = json!({ "opportunity": opportunity_json(&one), "changed": answer.changed });
    Report::new(text, json)
}

/// The opportunities of an account.
pub(in super::super) fn opportunities(all: &[v1::Opportunity]) -> Report {
    let heads = ["OPPORTUNITY", "SIGNAL", "STAGE", "SINCE", "DUE", ""].map(str::to_owned);
    let mut rows = vec![heads.to_vec()];
    for one in all {
        let when =
            |at: Option<&prost_types::Timestamp>| wire_instant(at).map(instant).unwrap_or_default();
        rows.push(vec![
            one.opportunity.clone(),
            one.signal.clone(),
            word(one.stage().as_str_name(), "OPPORTUNITY_STAGE_"),
            when(one.since.as_ref()),
            when(one.due_at.as_ref()),
            if one.overdue { "overdue".to_owned() } else { one.reason.clone() },
        ]);
    }
    let text = if all.is_empty() { "no opportunities".to_owned() } else { table(&rows) };
    let list: Vec<Value> = all.iter().map(opportunity_json).collect();
    Report::new(text, json!({ "opportunities": list }))
}

/// What became of signals.
pub(in super::super) fn triggers(all: &[v1::Trigger]) -> Report {
    let heads = ["SIGNAL", "OPEN", "OVERDUE", "WON", "LOST", "ACCURACY"].map(str::to_owned);
    let mut rows = vec![heads.to_vec()];
    for one in all {
        let accuracy = one.accuracy_bp.map_or_else(
            || "none has ended".to_owned(),
            |bp| {
                let thought = match bp {
                    7_001.. => "excellent",
                    5_001.. => "good",
                    _ => "poor",
                };
                format!("{}.{} %, {thought}", bp / 100, bp % 100 / 10)
            },
        );
        let counts = [one.open, one.overdue, one.won, one.lost].map(|count| count.to_string());
        rows.push([&[one.signal.clone()][..], &counts, &[accuracy]].concat());
    }
    let text = if all.is_empty() { "no opportunities".to_owned() } else { table(&rows) };
    let list = all.iter().map(|one| {
        json!({
            "signal": one.signal, "open": one.open, "overdue": one.overdue, "won": one.won,
            "lost": one.lost, "accuracy_bp": one.accuracy_bp,
        })
    });
    Report::new(text, json!({ "triggers": list.collect::<Vec<_>>() }))
}

/// What became of an event.
pub(in super::super) fn published(is_known: bool) -> Report {
    let text = if is_known { "known already, nothing changed" } else { "taken" };
    Report::new(text, json!({ "duplicate": is_known }))
}

/// Whether the gate is any good.
pub(in super::super) fn gate_report(report: &v1::GetGateReportResponse) -> Report {
    let opinion =
        |opinion: v1::GateOpinion| super::spaced(&word(opinion.as_str_name(), "GATE_OPINION_"));
    let share = |part: i64, whole: i64| {
        let bp = headroom_expansion::report::share_bp(part.unsigned_abs(), whole.unsigned_abs());
        bp.map_or_else(|| "-".to_owned(), |bp| format!("{}.{} %", bp / 100, bp % 100 / 10))
    };
    let mut rows = vec![["SEGMENT", "ACCOUNTS", "PASS", "SHARE", ""].map(str::to_owned).to_vec()];
    let mut row = |name: &str, accounts: i64, passed: i64, of: v1::GateOpinion| {
        let share = share(passed, accounts);
        let cells = [name.to_owned(), accounts.to_string(), passed.to_string(), share, opinion(of)];
        rows.push(cells.to_vec());
    };
    for one in &report.segments {
        row(&one.segment, one.accounts, one.passed, one.opinion());
    }
    row("all", report.accounts, report.passed, report.opinion());
    let mut lines = vec![table(&rows)];
    for (what, counts) in [("held by", &report.held_by), ("not known", &report.missing)] {
        let rows = counts
            .iter()
            .map(|one| vec![format!("  {}", one.fact), format!("{} accounts", one.accounts)]);
        let rows: Vec<Vec<String>> = rows.collect();
        if !rows.is_empty() {
            lines.push(format!("\n{what}\n{}", table(&rows)));
        }
    }
    let (upgrades, passed) = (report.upgrades, report.upgrades_passed);
    lines.push(match upgrades {
        0 => "\nno upgrades in that time".to_owned(),
        _ => format!(
            "\n{passed} of {upgrades} upgrades ({}) were of accounts that had passed; 80 % is good",
            share(passed, upgrades)
        ),
    });
    let counted = |counts: &[v1::CountedFact]| -> Vec<Value> {
        let one = |one: &v1::CountedFact| json!({ "fact": one.fact, "accounts": one.accounts });
        counts.iter().map(one).collect()
    };
    let segments = report.segments.iter().map(|one| {
        json!({
            "segment": one.segment, "accounts": one.accounts, "passed": one.passed,
            "opinion": word(one.opinion().as_str_name(), "GATE_OPINION_"),
        })
    });
    let json = json!({
        "accounts": report.accounts, "passed": report.passed,
        "opinion": word(report.opinion().as_str_name(), "GATE_OPINION_"),
        "segments": segments.collect::<Vec<_>>(), "held_by": counted(&report.held_by),
        "missing": counted(&report.missing), "upgrades": upgrades, "upgrades_passed": passed,
    });
    Report::new(lines.join("\n"), json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_account_can_put_a_formula_into_a_spreadsheet() {
        let cells = ["a", "=1+1", "-5", "-x", "a,b", "say \"hi\""].map(str::to_owned);
        assert_eq!(csv(&cells), "a,'=1+1,-5,'-x,\"a,b\",\"say \"\"hi\"\"\"");
    }

    #[test]
    fn tenths_are_shown_only_when_there_are_any() {
        assert_eq!([0, 5, 10, 825].map(tenths), ["0", "0.5", "1", "82.5"]);
    }
}
