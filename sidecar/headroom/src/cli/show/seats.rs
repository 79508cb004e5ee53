//! Who sits.

use headroom_sdk::{Seat, SeatAnswer, SeatState};
use serde_json::{Value, json};

use super::{Report, decisions, instant, json_instant, table, word};

/// The answer to a request about a seat.
pub(in super::super) fn seat(answer: &SeatAnswer) -> Report {
    let mut report = decisions::decision(&answer.decision);
    let line = match &answer.seat {
        Some(seat) => format!("{}: {}", seat.member, state_text(seat)),
        None => "no seat".to_owned(),
    };
    let unchanged = if answer.changed { "" } else { " (as it was)" };
    report.text = format!("{}\n{line}{unchanged}", report.text);
    report.json["seat"] = answer.seat.as_ref().map_or(Value::Null, seat_json);
    report.json["changed"] = json!(answer.changed);
    report
}

/// All members.
pub(in super::super) fn seats(seats: &[Seat]) -> Report {
    let mut rows = vec![["MEMBER", "STATE", "SINCE"].map(str::to_owned).to_vec()];
    for seat in seats {
        let since = seat.since.map_or_else(String::new, instant);
        rows.push(vec![seat.member.clone(), state_text(seat), since]);
    }
    let text = if seats.is_empty() { "nobody sits here".to_owned() } else { table(&rows) };
    Report::new(text, json!({ "seats": seats.iter().map(seat_json).collect::<Vec<_>>() }))
}

fn state_text(seat: &Seat) -> String {
    match (seat.state, seat.expires_at) {
        (SeatState::Claimed, _) => "claimed".to_owned(),
        (_, Some(at)) => format!("invited until {}", instant(at)),
        (_, None) => "invited".to_owned(),
    }
}

fn seat_json(seat: &Seat) -> Value {
    json!({
        "member": seat.member,
        "state": word(seat.state.as_str_name(), "SEAT_STATE_"),
        "since": json_instant(seat.since),
        "expires_at": json_instant(seat.expires_at),
    })
}
