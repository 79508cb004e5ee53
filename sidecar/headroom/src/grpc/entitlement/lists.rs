//! What an account has and what it used, as lists.

use headroom_core::catalog::{Aggregation, Feature, FeatureKind};
use headroom_core::closing::WindowTerms;
use headroom_core::event::EventChange;
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::stock::{BilledBy, Stock};
use headroom_core::time::Millis;
use headroom_engine::digest::{after_prefix, billed, usage_prefix, usage_row};
use headroom_engine::events::{UsageRow, adjustment_key, adjustment_row};
use headroom_engine::ports::{Table, rows};
use headroom_proto::v1;

use crate::grpc::entitlement::Entitlements;
use crate::grpc::shared::Shared;
use crate::grpc::status::WireError;
use crate::grpc::{page, parse, present};

mod subjects;

/// Every feature of the catalog, as the account may use it.
pub(super) fn entitlements(
    shared: &Shared,
    account: &str,
) -> Result<v1::ListEntitlementsResponse, WireError> {
    let now = shared.clock.now();
    let catalog = shared.engine.catalog();
    let view = shared.engine.entitlements(&catalog, account, now);
    let view = view.ok_or_else(|| WireError::unknown_account(account))?;
    let entitlements = view
        .entitlements
        .iter()
        .map(|one| {
            let feature = catalog.feature(one.feature);
            v1::Entitlement {
                feature: feature.feature.to_string(),
                feature_name: feature.name.to_string(),
                unit: feature.unit.to_string(),
                kind: match feature.kind {
                    FeatureKind::Switch => v1::FeatureKind::Switch,
                    FeatureKind::Config => v1::FeatureKind::Config,
                    FeatureKind::Quota { .. } => v1::FeatureKind::Quota,
                    FeatureKind::Concurrency { .. } => v1::FeatureKind::Concurrency,
                    FeatureKind::Rate { .. } => v1::FeatureKind::Rate,
                    FeatureKind::Allocation { .. } => v1::FeatureKind::Allocation,
                    FeatureKind::Credits { .. } => v1::FeatureKind::Credits,
                    FeatureKind::Seats { .. } => v1::FeatureKind::Seats,
                }
                .into(),
                allowed: one.decision.verdict.is_allowed(),
                denial: present::denial(one.decision.verdict).into(),
                config_value: one.decision.value_json.as_deref().unwrap_or_default().to_owned(),
                limits: present::limit_states(
                    &catalog,
                    &one.limits,
                    (one.decision.plan, one.origins.as_deref()),
                ),
                origin: present::decided_by(&catalog, &one.decision, one.origins.as_deref()),
                shadow_denial: present::reason(one.decision.shadow).into(),
                rate: one.rate.map(present::rate),
                rate_each: one.each.map(present::rate),
                rate_per: match feature.kind {
                    FeatureKind::Rate { each: Some((per, _)), .. } => catalog.text(per).to_owned(),
                    _ => String::new(),
                },
                slots_each: one.slots_each.map(present::int),
                slots_per: match feature.kind {
                    FeatureKind::Concurrency { .. } => {
                        let per = feature.levels.first().map(|level| catalog.text(level.per));
                        per.unwrap_or_default().to_owned()
                    }
                    _ => String::new(),
                },
                aggregation: aggregation(feature).into(),
                unlock: present::unlock(&catalog, &one.decision),
                unique_by: feature
                    .unique_by()
                    .map_or_else(String::new, |name| catalog.text(name).to_owned()),
            }
        })
        .collect();
    let (plan, plan_version) = present::plan_name(&catalog, view.profile.plan_at(now).0);
    Ok(v1::ListEntitlementsResponse {
        entitlements,
        plan,
        plan_version,
        catalog_revision: present::int(catalog.revision),
        as_of: Some(present::timestamp(now)),
        test_clock: shared.clock.is_test(),
    })
}

/// What a quota makes of units.
fn aggregation(feature: &Feature) -> v1::Aggregation {
    match (&feature.kind, feature.aggregation()) {
        (FeatureKind::Quota { .. }, Aggregation::Sum) => v1::Aggregation::Sum,
        (FeatureKind::Quota { .. }, Aggregation::Count) => v1::Aggregation::Count,
        (FeatureKind::Quota { .. }, Aggregation::Max) => v1::Aggregation::Max,
        (FeatureKind::Quota { .. }, Aggregation::Latest) => v1::Aggregation::Latest,
        (FeatureKind::Quota { .. }, Aggregation::Unique) => v1::Aggregation::Unique,
        _ => v1::Aggregation::Unspecified,
    }
}

/// Windows of an account: current ones first, then closed ones.
///
/// The token is the row key of the last closed window given, in hex; current windows are few, so
/// they are all on the first page.
pub(super) fn usage(
    service: &Entitlements,
    rq: &v1::GetUsageRequest,
) -> Result<v1::GetUsageResponse, WireError> {
    let account = parse::id("account", &rq.account)?;
    let page_size = page::size(rq.page_size)?;
    let closed_since =
        rq.closed_since.as_ref().map(|at| parse::timestamp("closed_since", at)).transpose()?;
    let now = service.shared.clock.now();
    let catalog = service.shared.engine.catalog();
    let only = feature_only(&catalog, &rq.feature)?;
    if !rq.subject.is_empty() || rq.all_subjects {
        let listed = subjects::usage(service, rq, (account, only, page_size, closed_since))?;
        return has_windows(&catalog, rq, &listed).map(|()| listed);
    }
    let view = service.shared.engine.usage(account, now);
    let view = view.ok_or_else(|| WireError::unknown_account(account))?;
    // An allocation's level never resets; what is listed is its billing window.
    let stock_of = |ledger: &Ledger| {
        let mut stocks = view.stocks.iter();
        stocks.find(|stock| stock.limit == ledger.limit && stock.feature == ledger.feature)
    };
    let window = |ledger: &Ledger| match stock_of(ledger) {
        None => v1::UsageWindow {
            terms: view.terms_of(ledger).map(|terms| window_terms(&catalog, terms, ledger.used)),
            ..usage_window(&catalog, ledger, None, now)
        },
        Some(stock) => {
            let Ledger { reserved, debt, holds, .. } = *ledger;
            let ledger = Ledger { reserved, debt, holds, ..billed(stock) };
            v1::UsageWindow {
                terms: view
                    .terms_of(&ledger)
                    .map(|terms| window_terms(&catalog, terms, ledger.used)),
                ..usage_window(&catalog, &ledger, Some(stock), now)
            }
        }
    };
    let is_wanted = |ledger: &Ledger| {
        only.is_none_or(|feature: NameId| ledger.feature == feature)
            && (now < counts_until(&catalog, ledger)
                || closed_since.is_some_and(|since| since <= ledger.window.end()))
    };
    let mut response = v1::GetUsageResponse {
        windows: Vec::new(),
        next_page_token: String::new(),
        as_of: Some(present::timestamp(now)),
        test_clock: service.shared.clock.is_test(),
    };
    if rq.page_token.is_empty() {
        let mut current: Vec<&Ledger> = view.ledgers.iter().filter(|l| is_wanted(l)).collect();
        current.sort_by_key(|l| (l.window.end() <= now, l.feature, l.limit, l.window.start()));
        response.windows.extend(current.into_iter().map(window));
    }
    if closed_since.is_some() {
        let prefix = usage_prefix(view.serial, only);
        let from = page::key(&rq.page_token, |key| key.starts_with(&prefix))?;
        let from = from.map_or_else(|| prefix.clone(), |last| page::after(&last));
        let to = after_prefix(&prefix);
        for row in rows(&*service.archive, Table::Usage, from, to, page::SIZE_MAX) {
            let (key, value) = row.map_err(|error| WireError::archive(&error))?;
            let row = usage_row(&value).map_err(|error| WireError::archive(&error))?;
            if is_wanted(&row.window.closed) {
                response.windows.push(past_window(&catalog, &row, now));
            }
            if response.windows.len() >= page_size {
                response.next_page_token = page::token(&key);
                break;
            }
        }
    }
    has_windows(&catalog, rq, &response).map(|()| response)
}

/// Says of a feature that nothing is listed of where to look instead, when no window of it could have been
/// listed. Windows of days when it was another sort of thing are listed.
fn has_windows(
    catalog: &headroom_core::catalog::Catalog,
    rq: &v1::GetUsageRequest,
    listed: &v1::GetUsageResponse,
) -> Result<(), WireError> {
    let is_first = rq.page_token.is_empty() && listed.next_page_token.is_empty();
    if !is_first || !listed.windows.is_empty() {
        return Ok(());
    }
    let Some(feature) = catalog.feature_named(&rq.feature) else { return Ok(()) };
    let instead = match catalog.feature(feature).kind {
        FeatureKind::Credits { .. } => {
            "credits burn from grants and have no windows of usage: ListCreditHistory and the limit of \
             ListEntitlements say what became of them"
        }
        FeatureKind::Rate { .. } => {
            "the units of a rate come back and are not added up: ListEntitlements says how full its bucket is"
        }
        FeatureKind::Switch | FeatureKind::Config => {
            "nothing is counted of a switch or a config: ListEntitlements says what it is"
        }
        FeatureKind::Quota { .. }
        | FeatureKind::Concurrency { .. }
        | FeatureKind::Allocation { .. }
        | FeatureKind::Seats { .. } => return Ok(()),
    };
    let message = format!("feature {:?}: {instead}", rq.feature);
    Err(WireError::new(v1::ErrorReason::WrongFeatureKind, message))
}

fn usage_window(
    catalog: &headroom_core::catalog::Catalog,
    ledger: &Ledger,
    stock: Option<&Stock>,
    now: Millis,
) -> v1::UsageWindow {
    let counts_until = counts_until(catalog, ledger);
    v1::UsageWindow {
        feature: catalog.feature_text(ledger.feature).to_owned(),
        limit: catalog.text(ledger.limit).to_owned(),
        window_start: Some(present::timestamp(ledger.window.start())),
        window_end: present::window_end(ledger),
        used_units: present::int(ledger.used),
        reserved_units: present::int(ledger.reserved),
        debt_units: present::int(ledger.debt),
        closed: ledger.window.end() <= now,
        counts_until: (now < counts_until && counts_until != ledger.window.end())
            .then(|| present::timestamp(counts_until)),
        allocation: stock.map(allocation),
        used_units_at_close: None,
        approximate: is_approximate(catalog, ledger),
        subject: String::new(),
        resting: !catalog.counts(ledger.feature, ledger.limit),
        terms: None,
    }
}

/// What a window is measured by, and what so many units come to.
fn window_terms(
    catalog: &headroom_core::catalog::Catalog,
    terms: &WindowTerms,
    measured: u64,
) -> v1::WindowTerms {
    let (plan, plan_version) = present::plan_name(catalog, terms.plan);
    let cost = terms.price.zip(terms.cost_minor(measured));
    v1::WindowTerms {
        included_units: terms.included_units.map(present::int),
        overage_units: present::int(terms.overage_units(measured)),
        overage_cost: cost.map(|(price, cost_minor)| v1::OverageCost {
            cost_minor: present::int(cost_minor),
            cap_minor: price.cap_minor.map(present::int),
            currency: price.currency().to_owned(),
        }),
        carried_units: present::int(terms.carried_units),
        plan,
        plan_version,
    }
}

/// Whether what a window counted is an estimate.
fn is_approximate(catalog: &headroom_core::catalog::Catalog, ledger: &Ledger) -> bool {
    let feature = catalog.feature_of(ledger.feature).map(|ix| catalog.feature(ix));
    feature.is_some_and(|feature| feature.is_approximate(ledger.limit, ledger.used))
}

/// What a billing window of an allocation comes to.
fn allocation(stock: &Stock) -> v1::AllocationUsage {
    let billed_by = match stock.rule.billed_by {
        BilledBy::Peak => v1::BilledBy::Peak,
        BilledBy::Average => v1::BilledBy::Average,
        BilledBy::End => v1::BilledBy::End,
    };
    v1::AllocationUsage {
        billed_by: billed_by.into(),
        level_units: present::int(stock.level_units),
        peak_units: present::int(stock.peak_units),
        average_units: present::int(stock.average_units()),
    }
}

/// A window that has left the memory, with what came to it afterwards.
fn past_window(
    catalog: &headroom_core::catalog::Catalog,
    row: &UsageRow,
    now: Millis,
) -> v1::UsageWindow {
    let past = &row.window;
    v1::UsageWindow {
        used_units: present::int(past.used),
        approximate: is_approximate(catalog, &Ledger { used: past.used, ..past.closed }),
        debt_units: present::int(past.debt),
        used_units_at_close: past.is_restated().then(|| present::int(past.closed.used)),
        terms: past.terms.as_ref().map(|terms| window_terms(catalog, terms, past.used)),
        ..usage_window(catalog, &past.closed, row.stock.as_ref(), now)
    }
}

/// What came to windows by late events and corrections.
pub(super) fn adjustments(
    service: &Entitlements,
    rq: &v1::ListAdjustmentsRequest,
) -> Result<v1::ListAdjustmentsResponse, WireError> {
    let account = parse::id("account", &rq.account)?;
    let page_size = page::size(rq.page_size)?;
    let now = service.shared.clock.now();
    let catalog = service.shared.engine.catalog();
    let only = feature_only(&catalog, &rq.feature)?;
    let view = service.shared.engine.usage(account, now);
    let view = view.ok_or_else(|| WireError::unknown_account(account))?;
    // A page has one more row than is given, to know whether it is the last.
    let mut rows = match rq.subject.as_str() {
        "" => {
            let prefix = usage_prefix(view.serial, only);
            let from = page::key(&rq.page_token, |key| key.starts_with(&prefix))?;
            let from = from.map_or_else(|| prefix.clone(), |last| page::after(&last));
            let to = after_prefix(&prefix);
            let rows = service.archive.range(Table::Adjustments, &from, &to, page_size + 1);
            rows.map_err(|error| WireError::archive(&error))?
        }
        name => {
            let of = (view.serial, name, only);
            subjects::adjustment_rows(service, of, &rq.page_token, page_size + 1)?
        }
    };
    let is_last = rows.len() <= page_size;
    rows.truncate(page_size);
    let next_page_token = match rows.last() {
        Some((key, _)) if !is_last => page::token(key),
        _ => String::new(),
    };
    // That of a subject's line has a number more in front.
    let plain_key = |key: &[u8]| match rq.subject.is_empty() {
        true => key.to_vec(),
        false => key.get(5..).unwrap_or_default().to_vec(),
    };
    let one = |(key, value): (Vec<u8>, Vec<u8>)| {
        let line = adjustment_row(&value).map_err(|error| WireError::archive(&error))?;
        let (feature, limit, start) = adjustment_key(&plain_key(&key)).ok_or_else(|| {
            WireError::new(v1::ErrorReason::Internal, "an adjustment has a short key")
        })?;
        let kind = match line.change {
            Some(EventChange::Recorded) => v1::AdjustmentKind::Recorded,
            Some(EventChange::Amended) => v1::AdjustmentKind::Amended,
            Some(EventChange::Withdrawn) => v1::AdjustmentKind::Withdrawn,
            None => v1::AdjustmentKind::Carried,
        };
        Ok(v1::Adjustment {
            feature: catalog.feature_text(feature).to_owned(),
            limit: catalog.text(limit).to_owned(),
            window_start: Some(present::timestamp(start)),
            kind: kind.into(),
            event_key: line.event,
            occurred_at: Some(present::timestamp(line.occurred_at)),
            adjusted_at: Some(present::timestamp(line.at)),
            units_before: present::int(line.units_before),
            units: present::int(line.units),
            after_close: line.restated,
            reason: line.reason,
        })
    };
    Ok(v1::ListAdjustmentsResponse {
        adjustments: rows.into_iter().map(one).collect::<Result<_, WireError>>()?,
        next_page_token,
        as_of: Some(present::timestamp(now)),
        test_clock: service.shared.clock.is_test(),
    })
}

/// The feature to list alone. `None`: all.
fn feature_only(
    catalog: &headroom_core::catalog::Catalog,
    name: &str,
) -> Result<Option<NameId>, WireError> {
    if name.is_empty() {
        return Ok(None);
    }
    let known = catalog.feature_id(parse::id("feature", name)?);
    known.map(Some).ok_or_else(|| {
        let message = format!("no feature was ever called {name:?}");
        WireError::new(v1::ErrorReason::UnknownName, message)
    })
}

/// When the units of a window stop counting: at its end, or when a sliding window has passed it.
fn counts_until(catalog: &headroom_core::catalog::Catalog, ledger: &Ledger) -> Millis {
    let ms = headroom_core::decide::counts_on_ms(catalog, ledger.feature, ledger.limit);
    ledger.window.end().plus(ms)
}
