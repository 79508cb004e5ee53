use headroom_core::time::Millis;
use headroom_expansion::opportunity::{
    Deadlines, Opportunity, Record, Stage, Update, UpdateError, business_days_after, update,
};

const HOUR: i64 = 3_600_000;

fn at(text: &str) -> Millis {
    Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// Day by day, as one would on a calendar.
fn naive(from: Millis, days: u32) -> Millis {
    let mut at = from;
    let is_weekend = |at: Millis| (at.0.div_euclid(24 * HOUR) + 3).rem_euclid(7) >= 5;
    while is_weekend(at) {
        at = at.plus(24 * HOUR);
    }
    for _ in 0..days {
        at = at.plus(24 * HOUR);
        while is_weekend(at) {
            at = at.plus(24 * HOUR);
        }
    }
    at
}

#[test]
fn business_days_leave_out_every_weekend() {
    // 2026-11-20 is a Friday.
    let friday = at("2026-11-20T15:30:00Z");
    assert_eq!(business_days_after(friday, 1), Some(at("2026-11-23T15:30:00Z")));
    for day in 0..30 {
        let from = friday.plus(day * 24 * HOUR);
        for days in 0..40 {
            assert_eq!(business_days_after(from, days), Some(naive(from, days)), "{from} {days}");
        }
    }
    assert_eq!(business_days_after(Millis(i64::MAX), 1), None);
}

#[test]
fn each_stage_has_its_deadline_and_the_last_ones_have_none() {
    let deadlines = Deadlines::default();
    let monday = at("2026-11-23T09:00:00Z");
    for (stage, expected) in [
        (Stage::Fired, Some("2026-11-25T09:00:00Z")),
        (Stage::Csql, Some("2026-11-30T09:00:00Z")),
        (Stage::Qualified, Some("2026-12-07T09:00:00Z")),
        (Stage::Proposal, Some("2026-12-14T09:00:00Z")),
        (Stage::Negotiation, None),
        (Stage::Won, None),
        (Stage::Lost, None),
    ] {
        assert_eq!(deadlines.due(stage, monday), expected.map(at), "{stage:?}");
        assert_eq!(Stage::parse(stage.as_str()), Some(stage));
    }
}

fn said(signal: &'static str, stage: Stage, since: i64) -> Update<'static> {
    Update { signal, stage, since: Millis(since), reason: "" }
}

#[test]
fn what_was_said_before_or_is_overtaken_changes_nothing() {
    let deadlines = Deadlines::default();
    let step = |before: Option<&Opportunity>, one| update(before, &one, &deadlines);
    assert_eq!(step(None, said("", Stage::Csql, 5)), Err(UpdateError::NoSignal));
    let first = step(None, said("usage_ceiling", Stage::Csql, 5)).unwrap().unwrap();
    assert_eq!(step(Some(&first), said("", Stage::Csql, 9)), Ok(None), "the same stage");
    assert_eq!(step(Some(&first), said("", Stage::Won, 4)), Ok(None), "an earlier word");
    let won = step(Some(&first), said("", Stage::Won, 6)).unwrap().unwrap();
    assert_eq!((won.signal.as_str(), won.due_at), ("usage_ceiling", None));
    let back = step(Some(&won), said("", Stage::Proposal, 7)).unwrap();
    assert!(back.is_some(), "what was closed by mistake may be opened again");
}

#[test]
fn accuracy_is_of_those_that_ended() {
    let one = |stage| Opportunity {
        signal: "s".into(),
        stage,
        since: Millis(0),
        reason: String::new(),
        due_at: None,
        is_overdue: true,
    };
    let mut record = Record::default();
    assert_eq!((record.accuracy_bp(), record.opinion()), (None, "none has ended"));
    for (stage, opinion) in [
        (Stage::Won, "excellent"),
        (Stage::Lost, "poor"),
        (Stage::Won, "good"),
        (Stage::Proposal, "good"),
        (Stage::Won, "excellent"),
    ] {
        record.add(&one(stage));
        assert_eq!(record.opinion(), opinion);
    }
    assert_eq!(record, Record { open: 1, overdue: 1, won: 3, lost: 1 });
}
