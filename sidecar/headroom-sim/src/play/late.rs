//! What happened earlier: asked of an engine whose projection trails, and of the model.

use std::collections::BTreeMap;

use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{DecisionId, Reply};
use headroom_engine::late::{CorrectRequest, LateError, LateReply, LateRequest};
use headroom_engine::ports::{Archive, Seq};

use super::{Met, Player, compare};
use crate::model::{Earlier, LateAsk, LateRefused, RESTATE_MS, RestatedBook, dimension_name};
use crate::observe;

/// A dimension as a request has it.
fn told(feature: &str, value: Option<&str>) -> BTreeMap<String, String> {
    let name = dimension_name(feature);
    value.map(|value| (name.to_owned(), value.to_owned())).into_iter().collect()
}

impl Player {
    pub(super) fn late(&mut self, ask: &LateAsk, before: Seq) -> Met {
        let got = self.ask_late(ask)?;
        let expected = self.model.earlier(ask, self.now);
        for what in self.model.met() {
            self.coverage.note(what);
        }
        let word = match &ask.what {
            Earlier::Recorded { .. } => "late record",
            Earlier::Corrected { .. } => "correction",
        };
        match &expected {
            Err(LateRefused::Engine(error)) => self.coverage.note(&format!("{word}: {error:?}")),
            Err(error) => self.coverage.note(&format!("{word}: {error:?}")),
            Ok(answer) if answer.replayed => self.coverage.note(&format!("{word} replayed")),
            Ok(answer) => self.coverage.note(&format!("{word}: {:?}", answer.verdict)),
        }
        let observed = match &got {
            Ok(answer) => Ok(observe::reply(&self.engine.catalog(), &answer.reply)),
            Err(error) => match observe::late_refused(error).ok_or("it is behind for ever")? {
                LateRefused::Engine(error) => Err(LateRefused::Engine(self.plainly(error))),
                refused => Err(refused),
            },
        };
        compare::same("the answer", &observed, &expected)?;
        self.compare_told(before)?;
        let Ok(LateReply { reply, windows }) = got else { return Ok(()) };
        let catalog = self.engine.catalog();
        let restated = windows.into_iter().map(|window| RestatedBook {
            whose: window.subject,
            limit: catalog.text(window.limit).to_owned(),
            start: window.start.0,
            end: window.end.map(|end| end.0),
            units: (window.counts.before, window.counts.after),
            after_close: window.after_close,
        });
        let restated: Vec<RestatedBook> = restated.collect();
        compare::same("the restated windows", &restated, &self.model.restated(ask))?;
        self.compare_late_receipt(ask, &reply, before)
    }

    /// Asks with what the projection says, and again when that is too old.
    fn ask_late(&mut self, ask: &LateAsk) -> Result<Result<LateReply, LateError>, String> {
        let last = self.store.last();
        let position = self.store.position();
        let to = Seq(position.0 + self.history.rng.below(last.0 - position.0 + 1));
        if self.history.rng.percent(70) {
            self.store.project(to);
        }
        // After a start all of the journal is waited for, and then once more what asking has settled.
        for _ in 0..3 {
            match self.ask_late_once(ask)? {
                Err(LateError::Behind { until }) => {
                    self.coverage.note("behind");
                    if until > self.store.last() {
                        return Err(format!("it waits for record {until}, which there is not"));
                    }
                    self.store.project(until);
                }
                got => return Ok(got),
            }
        }
        Err("it is behind for ever".to_owned())
    }

    fn ask_late_once(&self, ask: &LateAsk) -> Result<Result<LateReply, LateError>, String> {
        let catalog = self.engine.catalog();
        let LateAsk { account, feature, subject, key, what, wants } = ask;
        let subject = subject.as_deref().map(|path| SubjectPath::new(path).expect("a path"));
        let (now, wants, restate_ms) = (Millis(self.now), *wants, RESTATE_MS);
        let name = &self.called(feature);
        match what {
            Earlier::Recorded { units, occurred_at } => {
                let (units, occurred_at) = (*units, Millis(*occurred_at));
                let told = told(feature, self.model.dimension_of(feature, key));
                let rq = LateRequest {
                    dimensions: Dimensions::of(&told),
                    account,
                    feature: name,
                    subject,
                    units,
                    occurred_at,
                    key,
                    restate_ms,
                    now,
                    wants,
                };
                let seen = self.engine.look_late(&catalog, &*self.store, &rq);
                let seen = seen.map_err(|error| error.to_string())?;
                Ok(self.engine.record_at(&catalog, &rq, &seen))
            }
            Earlier::Corrected { event, units, original } => {
                let told = told(feature, self.model.dimension_of(feature, event));
                let rq = CorrectRequest {
                    dimensions: Dimensions::of(&told),
                    account,
                    feature: name,
                    subject,
                    event,
                    units: *units,
                    original_units: *original,
                    reason: "a test",
                    key,
                    restate_ms,
                    now,
                    wants,
                };
                let seen = self.engine.look_correct(&catalog, &*self.store, &rq);
                let seen = seen.map_err(|error| error.to_string())?;
                Ok(self.engine.correct(&catalog, &rq, &seen))
            }
        }
    }

    fn compare_late_receipt(&mut self, ask: &LateAsk, reply: &Reply, before: Seq) -> Met {
        if !reply.outcome.decision.verdict.is_allowed() {
            return compare::same("what to wait for", &reply.wait_for, &None);
        }
        if !reply.replayed {
            let last = self.store.last();
            if last <= before {
                return Err("a late event left no record".to_owned());
            }
            self.model.note_given(ask, last);
        }
        let seq = self.model.given_seq(ask);
        compare::same("what to wait for", &reply.wait_for, &seq)?;
        let id = match reply.decision_id {
            DecisionId::Written(seq) => Some(seq),
            DecisionId::Passing(..) | DecisionId::Part(..) => None,
        };
        compare::same("the receipt", &id, &seq)
    }
}
