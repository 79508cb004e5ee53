//! Requests for several features on the wire.

use headroom_core::catalog::{Aggregation, Catalog, FeatureKind};
use headroom_core::decide::AllOp;
use headroom_core::decision::Verdict;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_engine::all::{AllRequest, ITEMS_MAX, Item};
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{Reply, Wants};
use headroom_proto::encoded::Fields;
use headroom_proto::v1;

use crate::grpc::parse::{self, Asked, Cause};
use crate::grpc::receipts::{About, Receipts, Whole};
use crate::grpc::shared::{Answered, Shared, nothing_counts};
use crate::grpc::status::WireError;
use crate::telemetry::metrics::Operation;

/// A request for several features, before it is known what a feature without units is asked by.
#[derive(Debug)]
pub struct All<'a> {
    account: &'a str,
    // Each with its units, if it has some.
    items: Vec<(&'a v1::Item, Option<u64>)>,
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
    let mut known: Vec<(&v1::Item, Option<u64>)> = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let field = |name| format!("items[{place}].{name}");
        let feature = parse::id(&field("feature"), &item.feature)?;
        if known.iter().any(|(known, _)| known.feature == feature) {
            let problem = format!("is `{feature}` again: add the units up");
            return Err(WireError::field(&field("feature"), problem));
        }
        // 0 goes on to where the feature is known: a latest value may be 0.
        let units = |units: i64| parse::units(&field("units"), units, u64::from(units != 0));
        known.push((item, item.units.map(units).transpose()?));
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
    let known = catalog.feature_named(feature).map(|ix| catalog.feature(ix));
    let is_plain = known.is_none_or(|feature| match feature.kind {
        FeatureKind::Switch | FeatureKind::Config | FeatureKind::Concurrency { .. } => true,
        _ => matches!(feature.aggregation(), Aggregation::Count | Aggregation::Unique),
    });
    (is_plain || matches!(op, AllOp::Check { .. })).then_some(1)
}

/// The units of an item, where the catalog knows what they are of.
fn units_of(
    catalog: &Catalog,
    op: AllOp,
    place: usize,
    (item, units): (&v1::Item, Option<u64>),
) -> Result<u64, WireError> {
    let field = || format!("items[{place}].units");
    let units = units.or_else(|| usual_units(catalog, &item.feature, op));
    let units = units.ok_or_else(|| WireError::field(&field(), "is missing"))?;
    let may_be_0 = || op == AllOp::Consume && nothing_counts(catalog, &item.feature).is_ok();
    match units {
        0 if !may_be_0() => parse::units(&field(), 0, 1),
        units => Ok(units),
    }
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
        for (place, (item, units)) in rq.items.iter().enumerate() {
            let units = units_of(&catalog, rq.op, place, (item, *units))?;
            let dimensions = Dimensions::of(&item.dimensions);
            items.push(Item { feature: &item.feature, units, dimensions });
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
        let is_refused = |reply: &Reply| !reply.outcome.decision.verdict.is_allowed();
        let refused = reply.replies.iter().position(|reply| is_refused(reply));
        let mut part = Whole {
            operation: whole as u64,
            items: items.len() as u64,
            refused: refused.map_or(0, |place| place as u64 + 1),
            refused_feature: refused
                .map_or_else(String::new, |place| items[place].feature.to_owned()),
            item: 0,
        };
        for (Item { feature, units, .. }, reply) in items.iter().copied().zip(&reply.replies) {
            part.item += 1;
            let whole = Some(&part);
            let about = About { operation: each, account: rq.account, feature, units, whole };
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
