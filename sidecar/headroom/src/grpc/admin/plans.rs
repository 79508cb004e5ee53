//! Moves between versions of a plan, what accounts on it are to keep, and what a catalog would take away.

use std::sync::Arc;

use headroom_core::catalog::Catalog;
use headroom_engine::admin::AdminError;
use headroom_engine::grandfather::{Grandfather, Grandfathered};
use headroom_engine::migrate::{PlanMove, PlanMoved};
use headroom_proto::v1::{self, ErrorReason};

use super::{Administration, internal};
use crate::config::catalog;
use crate::config::sinks::NoSecrets;
use crate::grpc::parse;
use crate::grpc::present::int;
use crate::grpc::status::WireError;

/// The versions of a plan in words: `1, 2`. Empty: there is no such plan.
fn versions(catalog: &Catalog, plan: &str) -> String {
    let named = catalog.plans().iter().map(|known| catalog.plan_name(known.id));
    let mut all: Vec<u32> =
        named.filter(|(name, _)| *name == plan).map(|(_, version)| version).collect();
    all.sort_unstable();
    all.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

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
            let engine = &core.shared.engine;
            engine.move_plan(wanted, now).map_err(|error| match error {
                AdminError::UnknownName { .. } => {
                    let known = versions(&engine.catalog(), &rq.plan);
                    match known.as_str() {
                        "" => WireError::from(error),
                        known => {
                            let plan = &rq.plan;
                            let message =
                                format!("plan {plan:?} has no version {to_version}, but {known}");
                            WireError::new(ErrorReason::UnknownName, message)
                        }
                    }
                }
                other => WireError::from(other),
            })
        });
        let PlanMoved { accounts, wait_for } = moved.await.map_err(|e| internal(&e))??;
        if let Some(seq) = wait_for {
            self.written(seq).await?;
        }
        Ok(v1::MovePlanResponse { accounts: int(accounts) })
    }

    /// The same.
    pub(super) async fn grandfathered(
        &self,
        rq: v1::GrandfatherPlanRequest,
    ) -> Result<v1::GrandfatherPlanResponse, WireError> {
        parse::id("plan", &rq.plan)?;
        for feature in &rq.features {
            parse::id("features", feature)?;
        }
        let now = self.now();
        let instant = |at| parse::timestamp("ends_at", at);
        let ends_at = rq.ends_at.as_ref().map(instant).transpose()?;
        if ends_at.is_some_and(|at| at <= now) {
            return Err(WireError::field("ends_at", "must be after now"));
        }
        let core = Arc::clone(&self.core);
        let kept = tokio::task::spawn_blocking(move || {
            let features: Vec<&str> = rq.features.iter().map(String::as_str).collect();
            let (plan, features) = (rq.plan.as_str(), &*features);
            let wanted = Grandfather { plan, features, ends_at, dry_run: rq.dry_run };
            core.shared.engine.grandfather(wanted, now)
        });
        let Grandfathered { accounts, overrides, full, wait_for } =
            kept.await.map_err(|e| internal(&e))??;
        if let Some(seq) = wait_for {
            self.written(seq).await?;
        }
        let (accounts, overrides, full) = (int(accounts), int(overrides), int(full));
        Ok(v1::GrandfatherPlanResponse { accounts, overrides, full })
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
