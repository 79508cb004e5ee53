//! What can be wrong with pools of credits, their rate cards, and what they pay for.

use std::collections::BTreeSet;

use crate::catalog::{
    CREDITS_LIMIT, CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, PlanLimitSpec,
    PlanSpec, Policy,
};
use crate::credits::{CreditPrice, PoolTerms};
use crate::limits::{self, UNITS_MAX};
use crate::policy::LimitTerms;
use crate::window::WindowRule;

use super::{Names, Report, check_soft_limits, check_window, counting, kind_word};

/// What is wrong across features and plans: who pays for what.
pub(super) fn check_payers(report: &mut Report, spec: &CatalogSpec, names: &Names<'_>) {
    let mut paid = BTreeSet::new();
    for (list, plans) in [("plans", &spec.plans), ("addons", &spec.addons)] {
        for plan in plans {
            check_payers_of(report, list, plan, names, &mut paid);
        }
    }
    for pool in &spec.features {
        let FeatureKindSpec::Credits { rate_card, .. } = &pool.kind else { continue };
        check_rate_card(report, pool, rate_card, names);
        for (name, _) in rate_card {
            let is_quota = names.features.get(name.as_str()).is_some_and(|f| is_quota(f));
            if is_quota && !paid.contains(&(name.as_str(), pool.feature.as_str())) {
                report.say(
                    &["features", &pool.feature, "rate_card", name],
                    format_args!(
                        "`{name}` has a price, but no plan or add-on says `paid_by: {}` of it",
                        pool.feature
                    ),
                );
            }
        }
    }
}

fn check_payers_of<'a>(
    report: &mut Report,
    list: &str,
    plan: &'a PlanSpec,
    names: &Names<'_>,
    paid: &mut BTreeSet<(&'a str, &'a str)>,
) {
    for (name, entitlement) in &plan.entitlements {
        let EntitlementSpec::PaidQuota { paid_by, .. } = entitlement else { continue };
        let path = [list, &plan.plan, "entitlements", name, "paid_by"];
        match names.features.get(paid_by.as_str()).map(|pool| &pool.kind) {
            None => report.say_known(
                &path,
                format_args!("unknown feature `{paid_by}`"),
                names.features.values().filter(|f| is_pool(f)).map(|f| f.feature.as_str()),
            ),
            Some(FeatureKindSpec::Credits { rate_card, .. }) => {
                paid.insert((name, paid_by));
                if !rate_card.iter().any(|(priced, _)| priced == name) {
                    report.say(
                        &path,
                        format_args!("the rate card of `{paid_by}` has no price for `{name}`"),
                    );
                }
            }
            Some(kind) => report.say_known(
                &path,
                format_args!("`{paid_by}` is a {}, only credits can pay", kind_word(kind)),
                names.features.values().filter(|f| is_pool(f)).map(|f| f.feature.as_str()),
            ),
        }
    }
}

fn is_pool(feature: &FeatureSpec) -> bool {
    matches!(feature.kind, FeatureKindSpec::Credits { .. })
}

fn is_quota(feature: &FeatureSpec) -> bool {
    matches!(feature.kind, FeatureKindSpec::Quota { .. })
}

fn check_rate_card(
    report: &mut Report,
    pool: &FeatureSpec,
    rate_card: &[(String, CreditPrice)],
    names: &Names<'_>,
) {
    let path = ["features", pool.feature.as_str(), "rate_card"];
    report.at_most(&path, "prices", rate_card.len(), limits::RATE_CARD_MAX);
    let mut seen = BTreeSet::new();
    for (name, price) in rate_card {
        let path = [&path[..], &[name.as_str()]].concat();
        if !seen.insert(name) {
            report.say(&path, format_args!("feature `{name}` is priced twice"));
        }
        match names.features.get(name.as_str()) {
            None => report.say_known(
                &path,
                format_args!("unknown feature `{name}`"),
                names.features.values().filter(|f| is_quota(f)).map(|f| f.feature.as_str()),
            ),
            Some(feature) if !is_quota(feature) => report.say(
                &path,
                format_args!(
                    "`{name}` is a {}, only quotas can be paid by credits",
                    kind_word(&feature.kind)
                ),
            ),
            Some(feature) => counting::check_price(report, &pool.feature, feature),
        }
        for (key, units) in [("credits", price.credits), ("per", price.per)] {
            if !(1..=UNITS_MAX).contains(&units) {
                report.say(
                    &[&path[..], &[key]].concat(),
                    format_args!("`{key}` is {units}, it must be 1 to {UNITS_MAX}"),
                );
            }
        }
    }
}

pub(super) fn check_pool(report: &mut Report, feature: &str, window: WindowRule) {
    let path = ["features", feature, "window"];
    check_window(report, &path, window);
    if matches!(window, WindowRule::FirstUse(_) | WindowRule::Sliding(_)) {
        report.say(
            &path,
            "units come to a pool at set times, not with its use: the window must be `billing`, \
             `calendar`, `fixed` or `lifetime`",
        );
    }
}

pub(super) fn check_terms(
    report: &mut Report,
    path: &[&str],
    terms: &PoolTerms,
    window: WindowRule,
) {
    let (min, max) = (terms.rollover_min_units, terms.rollover_max_units);
    for (keys, units) in [
        (&["included"][..], terms.included_units),
        (&["rollover", "max"], max),
        (&["overdraft", "up_to"], terms.overdraft_units),
    ] {
        if units > UNITS_MAX {
            let message = format!("{units} units are given, at most {UNITS_MAX} are possible");
            report.say(&[path, keys].concat(), message);
        }
    }
    let rollover_path = [path, &["rollover"]].concat();
    if max < min {
        let message = format!("at least {min} units roll over, but at most {max}");
        report.say(&rollover_path, message);
    } else if max > 0 && window == WindowRule::Lifetime {
        report.say(&rollover_path, "a lifetime never ends, so nothing ever rolls over");
    }
    if terms.forgives_debt && terms.overdraft_units > 0 {
        report.say(
            &[path, &["debt"]].concat(),
            "an overdraft that is forgiven would be given away: use `carry`",
        );
    }
    let limit = PlanLimitSpec {
        limit: CREDITS_LIMIT.to_owned(),
        // Whatever there is, a share of it can be watched.
        included_units: Some(1),
        soft_limits_bp: terms.soft_limits_bp.clone(),
        policy: Policy::Block,
        terms: LimitTerms::default(),
    };
    check_soft_limits(report, path, &limit, "the units of the pool, which are");
}
