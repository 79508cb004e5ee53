//! Opening balances.

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
        let began_at = rq.began_at.as_ref();
        let request = OpeningRequest {
            account: parse::id("account", &rq.account)?,
            feature: parse::id("feature", &rq.feature)?,
            limit: parse::id("limit", &rq.limit)?,
            units: parse::units("used_units", rq.used_units, 0)?,
            began_at: began_at.map(|at| parse::timestamp("began_at", at)).transpose()?,
            adds: rq.add,
            key: parse::id("idempotency_key", &rq.idempotency_key)?,
            dry_run: rq.dry_run,
            now: self.now(),
        };
        let (response, seq) = {
            let engine = &self.core.shared.engine;
            let catalog = engine.catalog();
            let reply = engine.put_opening(&catalog, &request)?;
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
