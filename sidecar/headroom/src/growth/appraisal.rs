//! What is said of a signal: how the gate stands, the scores with their parts, and the route.

use headroom_expansion::class::Class;
use headroom_expansion::facts::{Facts, Value as Fact};
use headroom_expansion::gate::{self, Readiness};
use headroom_expansion::route::{self, Case, Gate, Play};
use headroom_expansion::score::{self, Score};
use headroom_expansion::terms::Terms;
use serde_json::{Map, Value, json};

/// What was said of a signal when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    /// What kind of signal it is.
    pub class: Class,
    /// How the gate stands for it.
    pub gate: Gate,
    // An object; its names are read by receivers and are only ever added to.
    said: Map<String, Value>,
}

impl Appraisal {
    /// Appraises a signal of an account, of which `live` different signals came in the last 30 days.
    /// Answers the account's points, too, in tenths.
    pub(super) fn of(terms: &Terms, facts: &Facts, signal: &str, live: usize) -> (Appraisal, u32) {
        // Every signal that can be raised has a class; a catalog that took its own back is no reason
        // to lose one that was told before.
        let class = terms.class_of(signal).unwrap_or(Class::Commercial);
        let readiness = gate::readiness(terms, facts);
        let gate = match (class.is_gated(), readiness.is_passed()) {
            (false, _) => Gate::Exempt,
            (true, true) => Gate::Passed,
            (true, false) => Gate::Held,
        };
        let case = Case { signal, class, segment: &readiness.segment, gate };
        let pql = score::score(&terms.pql, facts);
        let points_tenths = pql.points_tenths;
        let mut said = Map::new();
        said.insert("class".to_owned(), class.as_str().into());
        said.insert("gate".to_owned(), gate_json(gate, &readiness));
        let mut scores = Map::new();
        scores.insert("pql".to_owned(), score_json(&pql));
        for (name, card) in
            [("opportunity", &terms.opportunity), ("white_space", &terms.white_space)]
        {
            scores.insert(name.to_owned(), score_json(&score::score(card, facts)));
        }
        said.insert("scores".to_owned(), scores.into());
        said.insert("route".to_owned(), route::route(terms, case).map_or(Value::Null, route_json));
        said.insert("live_signals".to_owned(), live.into());
        (Appraisal { class, gate, said }, points_tenths)
    }

    /// What is said of a signal of an account of which nothing is known, to try templates with.
    pub fn sample(signal: &str) -> Appraisal {
        Appraisal::of(&Terms::default(), &Facts::default(), signal, 1).0
    }

    /// What it was written down as.
    pub(super) fn read(bytes: &[u8]) -> Option<Appraisal> {
        let said: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        let class = Class::parse(said.get("class")?.as_str()?)?;
        let gate = said.get("gate")?.get("state")?.as_str()?;
        let gate = Gate::WORDS.iter().find(|(word, _)| *word == gate)?.1;
        Some(Appraisal { class, gate, said })
    }

    /// What it is written down as.
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.said).expect("texts and numbers are JSON")
    }

    /// What receivers are told, beside what the signal says.
    pub fn said(&self) -> &Map<String, Value> {
        &self.said
    }
}

fn gate_json(gate: Gate, readiness: &Readiness) -> Value {
    let failed: Vec<Value> = readiness
        .failed
        .iter()
        .map(|one| json!({ "fact": one.fact, "needed": one.needed, "found": one.found }))
        .collect();
    json!({
        "state": gate.as_str(),
        "segment": readiness.segment,
        "segment_assumed": readiness.is_segment_assumed,
        "failed": failed,
        "unknown": readiness.unknown,
        "risks": readiness.risks,
    })
}

fn score_json(score: &Score) -> Value {
    let parts: Map<String, Value> =
        score.parts.iter().map(|part| (part.part.clone(), part.points_tenths.into())).collect();
    json!({
        "points_tenths": score.points_tenths,
        "points_max_tenths": score.points_max_tenths,
        "band": score.band,
        "advice": score.advice,
        "parts_tenths": parts,
        "missing": score.missing().collect::<Vec<_>>(),
    })
}

fn route_json(play: &Play) -> Value {
    json!({
        "type": play.kind.as_str(),
        "motion": play.motion.as_str(),
        "play": play.play,
        "owner": play.owner,
        "channel": play.channel,
        "message": play.message,
    })
}

/// A fact of JSON text. Nothing: it is a list, an object, or a number out of range.
pub(super) fn fact_of(json: &str) -> Option<Fact> {
    match serde_json::from_str(json).ok()? {
        Value::Bool(flag) => Some(Fact::Flag(flag)),
        Value::String(text) => Some(Fact::Text(text)),
        // As it was written, so that no digit is lost on the way.
        Value::Number(_) => Fact::number(json.trim()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
