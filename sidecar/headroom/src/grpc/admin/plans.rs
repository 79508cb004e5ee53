//! Moves between versions of a plan, and what a catalog would take away.

use std::sync::Arc;

use headroom_engine::migrate::{PlanMove, PlanMoved};
use headroom_proto::v1;

use super::{Administration, internal};
use crate::config::catalog;
use crate::config::sinks::NoSecrets;
use crate::grpc::parse;
use crate::grpc::present::int;
use crate::grpc::status::WireError;

impl Administration {
    /// All accounts are gone through off the control runtime: there may be a million.
    pub(super) async fn plan_moved(
        &self,
        rq: v1::MovePlanRequest,
    ) -> Result<v1::MovePlanResponse, WireError> {
        parse::id("plan", &rq.plan)?;
        let to_version = u32::try_from(rq.to_version).ok().filter(|version| *version > 0);
        let to_version =
            to_version.ok_or_else(|| WireError::field("to_version", "must be 1 or more"))?;
        if !rq.account.is_empty() {
            parse::id("account", &rq.account)?;
        }
        let (core, now) = (Arc::clone(&self.core), self.now());
        let moved = tokio::task::spawn_blocking(move || {
            let account = Some(rq.account.as_str()).filter(|account| !account.is_empty());
            let wanted = PlanMove { plan: &rq.plan, to_version, account, dry_run: rq.dry_run };
            core.shared.engine.move_plan(wanted, now)
        });
        let PlanMoved { accounts, wait_for } = moved.await.map_err(|e| internal(&e))??;
        if let Some(seq) = wait_for {
            self.written(seq).await?;
        }
        Ok(v1::MovePlanResponse { accounts: int(accounts) })
    }

    /// What a reload would say of a catalog.
    pub(super) async fn catalog_checked(
        &self,
        rq: v1::CheckCatalogRequest,
    ) -> Result<v1::CheckCatalogResponse, WireError> {
        let (core, now) = (Arc::clone(&self.core), self.now());
        let checked = tokio::task::spawn_blocking(move || {
            // Not with this machine's secrets: whoever asks has only sent a text.
            let parsed = catalog::parse("catalog", rq.catalog.as_bytes(), &NoSecrets)?;
            let compared = core.shared.engine.check_catalog(parsed.spec.clone(), now);
            catalog::compared("catalog", &parsed, compared)
        });
        let (problems, hints) = match checked.await.map_err(|e| internal(&e))? {
            Ok(hints) => (Vec::new(), hints),
            Err(problems) => (problems.lines().collect(), Vec::new()),
        };
        Ok(v1::CheckCatalogResponse { problems, hints })
    }
}
