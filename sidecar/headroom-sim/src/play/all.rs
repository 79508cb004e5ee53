//! Requests for several features.

use std::collections::BTreeMap;

use headroom_core::decide::AllOp;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_engine::all::{AllReply, AllRequest, Item};
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{DecisionId, EngineError};
use headroom_engine::ports::Seq;

use super::{Met, Player, compare, request_word};
use crate::model::{Asked, Request, dimension_name};
use crate::observe;

impl Player {
    pub(super) fn all(&mut self, request: &Request, before: Seq) -> Met {
        let got = self.ask_all(request);
        let expected = self.model.answer_all(request, self.now);
        let word = request_word(&request.asked);
        for what in self.model.met() {
            self.coverage.note(what);
        }
        self.coverage.note(&match &expected {
            Ok((true, answers)) if answers[0].replayed => "several, replayed".to_owned(),
            Ok((allowed, _)) => format!("{word}: {allowed}"),
            Err(EngineError::Item(error)) => format!("{word}: an item: {:?}", error.error),
            Err(error) => format!("{word}: {error:?}"),
        });
        let catalog = self.engine.catalog();
        let observed = match &got {
            Ok(all) => {
                let each = all.replies.iter().map(|reply| observe::reply(&catalog, reply));
                Ok((all.allowed, each.collect()))
            }
            Err(error) => Err(self.plainly(error.clone())),
        };
        compare::same("the answer about several", &observed, &expected)?;
        self.compare_told(before)?;
        let Ok(all) = got else { return Ok(()) };
        self.compare_parts(request, &all, before)
    }

    fn ask_all(&self, request: &Request) -> Result<AllReply, EngineError> {
        let catalog = self.engine.catalog();
        let Request { account, asked, synthetic, key, wants, subject } = request;
        let Asked::All(items, op) = asked else { unreachable!("it asks for several") };
        let told: Vec<BTreeMap<String, String>> = items
            .iter()
            .map(|(feature, _)| {
                let told = self.model.dimension_of_item(feature, *op, key);
                let name = dimension_name(feature).to_owned();
                told.map(|value| (name, value.to_owned())).into_iter().collect()
            })
            .collect();
        let names: Vec<String> = items.iter().map(|(feature, _)| self.called(feature)).collect();
        let items: Vec<Item<'_>> = items
            .iter()
            .zip(&told)
            .zip(&names)
            .map(|(((_, units), told), feature)| Item {
                feature,
                units: *units,
                dimensions: Dimensions::of(told),
            })
            .collect();
        let (op, synthetic, now, wants) = (*op, *synthetic, Millis(self.now), *wants);
        let subject = subject.as_deref().map(|path| SubjectPath::new(path).expect("a path"));
        let rq = AllRequest { account, items: &items, op, synthetic, key, now, wants, subject };
        self.engine.all(&catalog, &rq)
    }

    /// All wait for one record, and each has a receipt of its own.
    fn compare_parts(&mut self, request: &Request, all: &AllReply, before: Seq) -> Met {
        let is_check = matches!(request.asked, Asked::All(_, AllOp::Check { .. }));
        if is_check || !all.allowed {
            for reply in &all.replies {
                let passing = matches!(reply.decision_id, DecisionId::Passing(..));
                compare::same("whether it is passing", &passing, &true)?;
                compare::same("what to wait for", &reply.wait_for, &None)?;
            }
            return Ok(());
        }
        if all.replies.iter().any(|reply| !reply.replayed) {
            let last = self.store.last();
            if last <= before {
                return Err("an admitted write left no record".to_owned());
            }
            self.model.note_seq(request, last);
        }
        let seq = self.model.seq(request);
        for (place, reply) in (0..).zip(&all.replies) {
            compare::same("what to wait for", &reply.wait_for, &seq)?;
            let id = seq.map(|seq| DecisionId::Part(seq, place));
            compare::same("the receipt", &Some(reply.decision_id), &id)?;
        }
        Ok(())
    }
}
