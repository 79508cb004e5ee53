//! Requests for several features on the wire.

use headroom_core::catalog::{Catalog, FeatureKind};
use headroom_core::decide::AllOp;
use headroom_core::decision::Verdict;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_engine::all::{AllRequest, ITEMS_MAX};
use headroom_engine::engine::Wants;
use headroom_proto::encoded::Fields;
use headroom_proto::v1;

use crate::grpc::parse::{self, Asked, Cause};
use crate::grpc::receipts::{About, Receipts};
use crate::grpc::shared::{Answered, Shared};
use crate::grpc::status::WireError;
use crate::telemetry::metrics::Operation;

/// A request for several features, before it is known what a feature without units is asked by.
#[derive(Debug)]
pub struct All<'a> {
    account: &'a str,
    // Names and units.
    items: Vec<(&'a str, Option<u64>)>,
    op: AllOp,
    synthetic: bool,
    key: &'a str,
    now: Millis,
    subject: Option<SubjectPath<'a>>,
}

/// A check of several.
pub fn check(rq: &v1::CheckAllRequest, now: Millis) -> Result<Asked<'_, All<'_>>, WireError> {
    // Of a monitor's attempt nobody should hear.
    let attempt = v1::Intent::try_from(rq.intent) != Ok(v1::Intent::Render) && !rq.synthetic;
    let op = AllOp::Check { attempt };
    all((&rq.account, &rq.items, None, &rq.subject), (op, rq.synthetic), rq.include.as_ref(), now)
}

/// A consume of several.
pub fn consume(rq: &v1::ConsumeAllRequest, now: Millis) -> Result<Asked<'_, All<'_>>, WireError> {
    let names = (&*rq.account, &*rq.items, Some(&*rq.idempotency_key), &*rq.subject);
    all(names, (AllOp::Consume, rq.synthetic), rq.include.as_ref(), now)
}

/// A reserve of several.
pub fn reserve(rq: &v1::ReserveAllRequest, now: Millis) -> Result<Asked<'_, All<'_>>, WireError> {
    let hold_ms = parse::hold_for(rq.hold_for.as_ref())?;
    let op = AllOp::Reserve { hold_ms, charging: parse::charges(rq.on_expiry)? };
    let names = (&*rq.account, &*rq.items, Some(&*rq.idempotency_key), &*rq.subject);
    all(names, (op, rq.synthetic), rq.include.as_ref(), now)
}

fn all<'a>(
    (account, items, key, of): (&'a str, &'a [v1::Item], Option<&'a str>, &'a str),
    (op, synthetic): (AllOp, bool),
    wire: Option<&'a v1::Include>,
    now: Millis,
) -> Result<Asked<'a, All<'a>>, WireError> {
    if items.is_empty() || items.len() > ITEMS_MAX {
        let problem = format!("has {} entries, must have 1 to {ITEMS_MAX}", items.len());
        return Err(WireError::field("items", problem));
    }
    let mut known: Vec<(&str, Option<u64>)> = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let field = |name| format!("items[{place}].{name}");
        let feature = parse::id(&field("feature"), &item.feature)?;
        if known.iter().any(|(name, _)| *name == feature) {
            let problem = format!("is `{feature}` again: add the units up");
            return Err(WireError::field(&field("feature"), problem));
        }
        let units = item.units.map(|units| parse::units(&field("units"), units, 1)).transpose()?;
        known.push((feature, units));
    }
    let request = All {
        account: parse::id("account", account)?,
        items: known,
        op,
        synthetic,
        key: key.map_or(Ok(""), |key| parse::id("idempotency_key", key))?,
        now,
        subject: if of.is_empty() { None } else { Some(parse::subject(of)?) },
    };
    let mut include = parse::include_of(wire)?;
    if synthetic {
        include.cause = Cause::Monitor;
    }
    Ok(Asked { request, include })
}

/// What a feature without units is asked by: 1, where nobody can mean anything else.
fn usual_units(catalog: &Catalog, feature: &str, op: AllOp) -> Option<u64> {
    let kind = catalog.feature_named(feature).map(|ix| &catalog.feature(ix).kind);
    let is_plain = matches!(
        kind,
        None | Some(FeatureKind::Switch | FeatureKind::Config | FeatureKind::Concurrency { .. })
    );
    (is_plain || matches!(op, AllOp::Check { .. })).then_some(1)
}

impl Shared {
    /// Decides a request for several features, and writes the fields of the answer to `out`.
    pub fn all(
        &self,
        receipts: &Receipts,
        asked: &Asked<'_, All<'_>>,
        out: &mut Fields<'_>,
    ) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        let (rq, include) = (&asked.request, asked.include);
        let mut items = Vec::with_capacity(rq.items.len());
        for (place, (feature, units)) in rq.items.iter().enumerate() {
            let units = units.or_else(|| usual_units(&catalog, feature, rq.op));
            let missing = || WireError::field(&format!("items[{place}].units"), "is missing");
            items.push((*feature, units.ok_or_else(missing)?));
        }
        let reply = self.engine.all(
            &catalog,
            &AllRequest {
                account: rq.account,
                items: &items,
                op: rq.op,
                synthetic: rq.synthetic,
                key: rq.key,
                now: rq.now,
                wants: Wants {
                    all_limits: include.all_limits,
                    all_limits_unless_plain: receipts.is_on(),
                    about: include.prompt,
                },
                subject: rq.subject,
            },
        )?;
        let (whole, each) = match rq.op {
            AllOp::Check { .. } => (Operation::CheckAll, Operation::Check),
            AllOp::Consume => (Operation::ConsumeAll, Operation::Consume),
            AllOp::Reserve { .. } => (Operation::ReserveAll, Operation::Reserve),
        };
        out.bool(1, reply.allowed);
        let mut answers = Vec::with_capacity(items.len());
        for ((feature, units), reply) in items.iter().zip(&reply.replies) {
            let (feature, units) = (*feature, *units);
            let about = About { operation: each, account: rq.account, feature, units };
            answers.push(out.message(2, |out| {
                self.answer(receipts, about, (&catalog, rq.now), include, reply, out)
            }));
        }
        // The one that decided is the first refused, or else the first that is not simply allowed.
        let decided = |verdict: fn(Verdict) -> bool| answers.iter().find(|a| verdict(a.verdict));
        let gravest = decided(|v| !v.is_allowed()).or_else(|| decided(|v| v != Verdict::Allowed));
        let gravest = gravest.or(answers.first()).copied();
        let wait_for = answers.iter().filter_map(|answer| answer.wait_for).max();
        Ok(Answered {
            operation: whole,
            verdict: gravest.map_or(Verdict::Allowed, |answer| answer.verdict),
            shadow: answers.iter().find_map(|answer| answer.shadow),
            wait_for,
        })
    }
}
