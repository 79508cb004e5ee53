//! Pools of credits: grants, how pools stand, and their history, on the engine and on the model.

use std::collections::BTreeMap;

use headroom_core::credits::Segment;
use headroom_core::decide::NewGrant;
use headroom_core::time::Millis;
use headroom_engine::admin::AdminError;
use headroom_engine::digest::{RecordDigest, credits_row, usage_prefix};
use headroom_engine::grants::GrantChanged;
use headroom_engine::ports::{Digest, ProjectionOp, Seq, Table};

use super::{Met, Player, compare, refused_word};
use crate::catalogs::POOLS;
use crate::coins::Id;
use crate::model::{GrantAsk, GrantRefused, LimitAnswer};
use crate::observe;

const HOUR_MS: i64 = 60 * 60 * 1000;

impl Player {
    pub(super) fn grant(&mut self, ask: &GrantAsk, before: Seq) -> Met {
        let (units, priority) = ask.units;
        let id = Id::Given(ask.id).text();
        let (starts_at, expires_at) = (ask.times.0.map(Millis), ask.times.1.map(Millis));
        let new = NewGrant { id: &id, units, priority, starts_at, expires_at };
        let pool = self.called(&ask.pool);
        let got = self.engine.put_grant(&ask.account, &pool, &new, Millis(self.now));
        let expected = self.model.put_grant(ask, self.now);
        self.compare_grant(("given", &ask.pool), &got, &expected, before)
    }

    pub(super) fn void(&mut self, (account, pool): (&str, &str), id: u8, before: Seq) -> Met {
        let text = Id::Given(id).text();
        let (name, now) = (self.called(pool), Millis(self.now));
        let got = self.engine.void_grant(account, &name, (&text, "a test"), now);
        let expected = self.model.void_grant((account, pool), id, self.now);
        self.compare_grant(("taken back", pool), &got, &expected, before)
    }

    fn compare_grant(
        &mut self,
        (word, pool): (&str, &str),
        got: &Result<GrantChanged, AdminError>,
        expected: &Result<LimitAnswer, GrantRefused>,
        before: Seq,
    ) -> Met {
        for what in self.model.met() {
            self.coverage.note(what);
        }
        let catalog = self.engine.catalog();
        let observed = match got {
            Ok(changed) => Ok(observe::limit(&catalog, &changed.state)),
            Err(AdminError::Grant(error)) => Err(GrantRefused::Grant(*error)),
            Err(error) => match self.by_first_names(observe::refused(error)) {
                Some(refused) => Err(GrantRefused::Admin(refused)),
                None => return Err(format!("a grant that is not {word}: {error}")),
            },
        };
        drop(catalog);
        match expected {
            Ok(_) => self.coverage.note(&format!("a grant of {pool} is {word}")),
            Err(GrantRefused::Grant(error)) => {
                let error = format!("{error:?}");
                let error = error.split(' ').next().unwrap_or_default();
                self.coverage.note(&format!("a grant is not {word}: {error}"));
            }
            Err(GrantRefused::Admin(refused)) => {
                let word = refused_word(refused);
                self.coverage.note(&format!("a grant is refused: {word}"));
            }
        }
        compare::same("the pool after a grant", &observed, expected)?;
        self.compare_told(before)
    }

    /// The pools of an account stand as in the model.
    pub(super) fn inspect_pools(&mut self, id: &str) -> Met {
        let mut has_units = 0;
        for pool in POOLS {
            has_units += usize::from(self.inspect_pool(id, pool)?);
        }
        if has_units > 1 {
            self.coverage.note("an account with two pools");
        }
        Ok(())
    }

    /// The same of one; whether it has anything left.
    fn inspect_pool(&mut self, id: &str, name: &str) -> Result<bool, String> {
        let catalog = self.engine.catalog();
        let view = self.engine.pool(id, &self.called(name), Millis(self.now)).ok();
        let mut grants = view.iter().flat_map(|view| &view.grants);
        if let Some(grant) = grants.find(|grant| !grant.is_balanced()) {
            return Err(format!("not all units of a grant of {id} are in a column: {grant:?}"));
        }
        let stands = view.as_ref().map(|view| {
            let open = view.open_segment.map(|segment| segment.closing());
            (observe::limit(&catalog, &view.state), observe::left(view), open)
        });
        let expected = self.model.pool_view((id, name), self.now);
        if let Some((answer, left, _)) = &expected {
            let pool = answer.pool.as_ref();
            let met = [
                ("a pool with several grants", left.len() > 2),
                ("a pool of hours", answer.end - answer.start <= 12 * HOUR_MS),
                ("a pool that is held", answer.reserved > 0),
                ("a pool in debt", pool.is_some_and(|pool| pool.balance < 0)),
                ("a pool whose units expire", pool.is_some_and(|pool| pool.next_expiry.is_some())),
                ("units that rolled over", left.iter().any(|(id, _)| id.starts_with("rolled"))),
                (
                    "a pool drawn below 0",
                    pool.is_some_and(|pool| pool.overdraft > 0 && pool.balance < 0),
                ),
                ("thresholds of a pool armed again", answer.revision > 1),
            ];
            for (what, _) in met.iter().filter(|(_, met)| *met) {
                self.coverage.note(what);
            }
        }
        compare::same(&format!("the {name} of {id}"), &stands, &expected)?;
        Ok(expected.is_some_and(|(_, left, _)| !left.is_empty()))
    }

    /// The histories of pools chain, and each balance is what the model had then.
    pub(super) fn inspect_pool_histories(&mut self) -> Met {
        let mut rows: BTreeMap<Vec<u8>, Segment> = BTreeMap::new();
        for (seq, stored) in self.store.since(Seq(0)) {
            let mut ops = Vec::new();
            RecordDigest.digest(seq, &stored.bytes, &mut ops);
            for op in ops {
                if let ProjectionOp::Put { table: Table::Credits, key, value } = op {
                    let row = credits_row(&value).map_err(|error| error.to_string())?;
                    compare::same("a row written once", &rows.insert(key, row), &None)?;
                }
            }
        }
        for (serial, id) in self.engine.account_ids(0, usize::MAX) {
            for pool in POOLS {
                // One that no catalog ever had has no number, and no history.
                let number = self.engine.catalog().names().get(pool);
                let Some(number) = number else { continue };
                let prefix = usage_prefix(serial, Some(number));
                let of_pool = rows.iter().filter(|(key, _)| key.starts_with(&prefix));
                let mut segments: Vec<Segment> = of_pool.map(|(_, row)| *row).collect();
                let view = self.engine.pool(&id, &self.called(pool), Millis(self.now)).ok();
                let open = view.and_then(|view| view.open_segment);
                let is_whole = open.is_some();
                segments.extend(open);
                self.compare_segments((&id, pool), &segments, is_whole)?;
            }
        }
        Ok(())
    }

    fn compare_segments(
        &mut self,
        (id, pool): (&str, &str),
        segments: &[Segment],
        is_whole: bool,
    ) -> Met {
        for pair in segments.windows(2) {
            compare::same("that segments follow each other", &pair[0].to, &pair[1].from)?;
            compare::same("that balances chain", &pair[0].closing(), &pair[1].opening)?;
        }
        let (changes, burnt) = self.model.pool_changes((id, pool), self.now);
        let (mut balance, mut rest) = (0, changes.iter().peekable());
        for segment in segments {
            // What happens in one millisecond may stand on either side of its end.
            let mut could_be = Vec::new();
            while let Some((at, change)) = rest.next_if(|(at, _)| *at <= segment.to.0) {
                if *at == segment.to.0 {
                    could_be.push(balance);
                }
                balance += change;
            }
            could_be.push(balance);
            if !could_be.contains(&segment.closing()) {
                return Err(format!(
                    "{segment:?} of {id} of {pool} ends with none of {could_be:?}"
                ));
            }
            self.coverage.note("a segment of a pool");
        }
        let sum: u64 = segments.iter().map(|segment| segment.burnt_units).sum();
        if is_whole { compare::same("what was burnt in all", &sum, &burnt) } else { Ok(()) }
    }
}
