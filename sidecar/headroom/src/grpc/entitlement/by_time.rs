//! Usage by hour, day or month, and by dimension.

use headroom_core::catalog::Catalog;
use headroom_core::limits::DIMENSIONS_MAX;
use headroom_core::names::NameId;
use headroom_core::tally::{BucketSize, Label, TallyRule};
use headroom_core::time::Millis;
use headroom_core::window::CalendarUnit;
use headroom_engine::tallies::{TallyError, TallyLine, TallyQuery};
use headroom_proto::v1;

use crate::grpc::entitlement::Entitlements;
use crate::grpc::status::WireError;
use crate::grpc::{late, page, parse, present};

/// Lines of a feature's usage. The projection may trail by milliseconds what the memory holds: it is waited
/// for, so that the lines are of one moment.
pub(super) async fn usage(
    service: &Entitlements,
    rq: &v1::GetUsageByTimeRequest,
) -> Result<v1::GetUsageByTimeResponse, WireError> {
    late::caught_up(|| look(service, rq)).await
}

fn look(
    service: &Entitlements,
    rq: &v1::GetUsageByTimeRequest,
) -> Result<v1::GetUsageByTimeResponse, WireError> {
    let account = parse::id("account", &rq.account)?;
    let catalog = service.shared.engine.catalog();
    let name = parse::id("feature", &rq.feature)?;
    let feature = catalog.feature_named(name).ok_or_else(|| WireError::unknown_feature(name))?;
    let feature = catalog.feature(feature);
    let rule = feature.tally().ok_or_else(|| {
        let problem = "keeps no usage by time: give it `usage` in the catalog";
        WireError::field("feature", problem)
    })?;
    let group_by = group_by(&catalog, rule, &rq.group_by)?;
    let instant = |field: &str, at: &Option<prost_types::Timestamp>, absent: Millis| {
        at.as_ref().map_or(Ok(absent), |at| parse::timestamp(field, at))
    };
    let now = service.shared.clock.now();
    let from = instant("from", &rq.from, Millis(i64::MIN))?;
    let from = page::number(&rq.page_token)?.map_or(from, Millis);
    let query = TallyQuery {
        account,
        feature: feature.id,
        by: unit(rule, rq.by)?,
        group_by: &group_by,
        from,
        to: instant("to", &rq.to, Millis::FOREVER)?,
        lines_max: page::size(rq.page_size)?,
        now,
    };
    let page = service.shared.engine.tally(&catalog, &*service.archive, &query);
    let page = page.map_err(|error| match error {
        TallyError::UnknownAccount => WireError::unknown_account(account),
        TallyError::Behind { .. } => WireError::new(v1::ErrorReason::CatchingUp, error.to_string()),
        TallyError::Archive(error) => WireError::archive(&error),
    })?;
    let line = |line: TallyLine| v1::UsageByTime {
        start: Some(present::timestamp(line.span.start())),
        end: Some(present::timestamp(line.span.end())),
        dimensions: group_by.iter().zip(line.labels).map(|of| dimension(&catalog, of)).collect(),
        units: line.units,
    };
    Ok(v1::GetUsageByTimeResponse {
        lines: page.lines.into_iter().map(line).collect(),
        next_page_token: page.next_from.map_or_else(String::new, |next| next.0.to_string()),
        as_of: Some(present::timestamp(now)),
        test_clock: service.shared.clock.is_test(),
    })
}

fn dimension(catalog: &Catalog, (name, label): (&NameId, Option<Label>)) -> v1::DimensionValue {
    let (value, other) = match label {
        None => (String::new(), false),
        Some(Label::Text(text)) => (text.to_string(), false),
        Some(Label::Other) => (String::new(), true),
    };
    v1::DimensionValue { name: catalog.text(*name).to_owned(), value, other }
}

/// The dimensions to tell apart. Also those that the catalog does not give the feature any more.
fn group_by(
    catalog: &Catalog,
    rule: &TallyRule,
    names: &[String],
) -> Result<Vec<NameId>, WireError> {
    if names.len() > DIMENSIONS_MAX {
        let problem = format!("has {} names, the most is {DIMENSIONS_MAX}", names.len());
        return Err(WireError::field("group_by", problem));
    }
    let mut known = Vec::new();
    for name in names {
        let id = catalog.names().get(parse::id("group_by", name)?).ok_or_else(|| {
            let all: Vec<&str> = rule.dimensions.iter().map(|id| catalog.text(*id)).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            WireError::field("group_by", format!("{name:?} is no dimension: there are {all}"))
        })?;
        if !known.contains(&id) {
            known.push(id);
        }
    }
    Ok(known)
}

/// How long the spans are.
fn unit(rule: &TallyRule, by: i32) -> Result<CalendarUnit, WireError> {
    match (v1::TimeUnit::try_from(by), rule.buckets) {
        (Ok(v1::TimeUnit::Hour), BucketSize::Hour) => Ok(CalendarUnit::Hour),
        (Ok(v1::TimeUnit::Hour), BucketSize::Day) => {
            Err(WireError::field("by", "is HOUR, and the catalog keeps the feature's usage by day"))
        }
        (Ok(v1::TimeUnit::Unspecified | v1::TimeUnit::Day), _) => Ok(CalendarUnit::Day),
        (Ok(v1::TimeUnit::Month), _) => Ok(CalendarUnit::Month),
        (Err(_), _) => Err(WireError::field("by", "is not known to this version")),
    }
}
