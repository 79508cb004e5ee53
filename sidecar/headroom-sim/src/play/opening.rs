//! Opening balances, on the engine and on the model.

use headroom_core::time::Millis;
use headroom_engine::admin::AdminError;
use headroom_engine::opening::OpeningRequest;
use headroom_engine::ports::Seq;

use super::{Met, Player, compare};
use crate::model::{OpeningAsk, OpeningRefused};
use crate::observe;

impl Player {
    pub(super) fn opening(&mut self, ask: &OpeningAsk, before: Seq) -> Met {
        let request = OpeningRequest {
            account: &ask.account,
            feature: &self.called(&ask.feature),
            limit: &ask.limit,
            units: ask.units,
            began_at: ask.began_at.map(Millis),
            adds: ask.adds,
            key: &ask.key,
            dry_run: ask.dry_run,
            now: Millis(self.now),
        };
        let catalog = self.engine.catalog();
        let got = self.engine.put_opening(&catalog, &request);
        let expected = self.model.open(ask, self.now);
        for what in self.model.met() {
            self.coverage.note(what);
        }
        let observed = match &got {
            Ok(reply) => Ok(observe::reply(&catalog, reply)),
            Err(AdminError::Engine(error)) => Err(OpeningRefused::Engine(error.clone())),
            Err(error) => match self.by_first_names(observe::refused(error)) {
                Some(refused) => Err(OpeningRefused::Admin(refused)),
                None => return Err(format!("an opening balance is refused: {error}")),
            },
        };
        let word = match &expected {
            Ok(answer) => format!("opening balance: {:?}", answer.verdict),
            Err(refused) => format!("opening balance: {refused:?}"),
        };
        self.coverage.note(&word.replace(|c: char| c.is_ascii_digit(), ""));
        compare::same("the answer to an opening balance", &observed, &expected)?;
        self.compare_told(before)?;
        let Ok(reply) = got else { return Ok(()) };
        if !reply.replayed {
            let is_written = reply.wait_for.is_some();
            compare::same("whether it is written", &is_written, &!ask.dry_run)?;
            if is_written {
                self.model.note_key(&ask.account, &ask.key, self.store.last());
            } else {
                compare::same("no record of a dry run", &self.store.last(), &before)?;
                return Ok(());
            }
        }
        let seq = self.model.key_seq(&ask.account, &ask.key);
        compare::same("what to wait for", &reply.wait_for, &seq)
    }
}
