//! Opening balances.

use headroom_core::time::Millis;
use headroom_engine::admin::AdminError;
use headroom_engine::opening::OpeningRequest;
use headroom_proto::v1;

use super::Administration;
use crate::grpc::parse;
use crate::grpc::present;
use crate::grpc::status::WireError;

impl Administration {
    pub(super) async fn open_balance(
        &self,
        rq: &v1::PutOpeningBalanceRequest,
    ) -> Result<v1::PutOpeningBalanceResponse, WireError> {
        let request = read(rq, self.now())?;
        let (response, seq) = {
            let engine = &self.core.shared.engine;
            let catalog = engine.catalog();
            let reply = engine.put_opening(&catalog, &request).map_err(|error| {
                // Whoever brings over many wants to know all that is wrong with one.
                let is_known = engine.profile(request.account).is_some();
                let account = (!is_known && !matches!(error, AdminError::UnknownAccount { .. }))
                    .then(|| WireError::unknown_account(request.account));
                WireError::several([WireError::from(error)].into_iter().chain(account).collect())
            })?;
            let state = reply.outcome.decision.binding.as_ref();
            let response = v1::PutOpeningBalanceResponse {
                state: state.map(|state| present::limit_state(&catalog, state)),
                replayed: reply.replayed,
            };
            (response, reply.wait_for)
        };
        if let Some(seq) = seq {
            self.written(seq).await?;
        }
        Ok(response)
    }
}

/// The request with names and numbers, or all that is wrong with it.
fn read(rq: &v1::PutOpeningBalanceRequest, now: Millis) -> Result<OpeningRequest<'_>, WireError> {
    let began_at = rq.began_at.as_ref();
    let read = (
        parse::id("account", &rq.account),
        parse::id("feature", &rq.feature),
        parse::id("limit", &rq.limit),
        parse::units("used_units", rq.used_units, 0),
        began_at.map(|at| parse::timestamp("began_at", at)).transpose(),
        parse::id("idempotency_key", &rq.idempotency_key),
    );
    match read {
        (Ok(account), Ok(feature), Ok(limit), Ok(units), Ok(began_at), Ok(key)) => {
            let (adds, dry_run) = (rq.add, rq.dry_run);
            Ok(OpeningRequest { account, feature, limit, units, began_at, adds, key, dry_run, now })
        }
        (account, feature, limit, units, began_at, key) => {
            let ids = [account, feature, limit, key].map(Result::err).into_iter();
            let others = [units.err(), began_at.err()];
            Err(WireError::several(ids.chain(others).flatten().collect()))
        }
    }
}
