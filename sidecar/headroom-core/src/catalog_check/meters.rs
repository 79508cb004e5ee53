//! What can be wrong with what a plan says of a concurrency or a rate.

use crate::catalog::{
    CONCURRENT_LIMIT, CREDITS_LIMIT, CatalogSpec, EACH_CONCURRENT_LIMIT, EACH_RATE_LIMIT,
    EntitlementSpec, FeatureKindSpec, FeatureSpec, LEVEL_LIMIT, Merge, PlanLimitSpec, PlanSpec,
    Policy, RATE_LIMIT, RateSpec, SEATS_LIMIT, UNLOCK_AFTER,
};
use crate::limits;
use crate::policy::LimitTerms;
use crate::rate::{Rate, fill_ms, shared_period_ms};

use super::{Report, check_soft_limits};

/// The limits of other kinds are kept in the same ledgers, under names of their own.
pub(super) fn check_limit_name(report: &mut Report, path: &[&str], limit: &str) {
    let kinds = [
        (CONCURRENT_LIMIT, "a concurrency"),
        (EACH_CONCURRENT_LIMIT, "a concurrency"),
        (RATE_LIMIT, "a rate"),
        (EACH_RATE_LIMIT, "a rate"),
        (LEVEL_LIMIT, "an allocation"),
        (CREDITS_LIMIT, "credits"),
        (SEATS_LIMIT, "seats"),
    ];
    for (kept, kind) in kinds {
        if limit == kept {
            report.say(
                path,
                format_args!("the name `{kept}` is kept for the limit of {kind}: choose another"),
            );
        }
    }
    if limit == "paid_by" {
        let message = "the name `paid_by` is kept for who pays for a quota: choose another";
        report.say(path, message);
    }
    if limit == UNLOCK_AFTER {
        let message = "the name `unlock_after` is kept for what unlocks a quota: choose another";
        report.say(path, message);
    }
}

pub(super) fn check_concurrency(
    report: &mut Report,
    path: &[&str],
    max_units: Option<u64>,
    soft_limits_bp: &[u32],
) {
    if let Some(units) = max_units
        && units > limits::UNITS_MAX
    {
        report.say(
            &[path, &["max"]].concat(),
            format_args!(
                "{units} at a time are allowed, at most {} are possible",
                limits::UNITS_MAX
            ),
        );
    }
    let limit = PlanLimitSpec {
        limit: CONCURRENT_LIMIT.to_owned(),
        included_units: max_units,
        soft_limits_bp: soft_limits_bp.to_vec(),
        policy: Policy::Block,
        terms: LimitTerms::default(),
    };
    check_soft_limits(report, path, &limit, "the most at a time, which is");
}

/// Checks how many slots each subject may have beside what the account may.
pub(super) fn check_each_most(report: &mut Report, path: &[&str], each: u64, per: &Option<String>) {
    if per.is_none() {
        let message = "the most is of the account alone: say `per: user` at the feature, or so";
        return report.say(path, message);
    }
    if each > limits::UNITS_MAX {
        let most = limits::UNITS_MAX;
        report.say(
            path,
            format_args!("{each} at a time are allowed for each, at most {most} are possible"),
        );
    }
}

pub(super) fn check_rate(report: &mut Report, path: &[&str], rate: RateSpec) {
    let rate_path = [path, &["rate"]].concat();
    let burst_path = [path, &["burst"]].concat();
    let counts = 1..=limits::UNITS_MAX;
    let mut is_counted = true;
    for (path, what, units) in
        [(&rate_path, "the rate", rate.units), (&burst_path, "the burst", rate.burst_units)]
    {
        if !counts.contains(&units) {
            is_counted = false;
            report.say(
                path,
                format_args!("{what} is {units} units, it must be 1 to {}", limits::UNITS_MAX),
            );
        }
    }
    if !(1..=limits::RATE_PERIOD_MS_MAX).contains(&rate.period_ms) {
        let period_ms = rate.period_ms;
        report.say(
            &rate_path,
            format_args!(
                "the period is {period_ms} ms, it must be 1 ms to 1 day: what counts longer is a \
                 quota"
            ),
        );
        return;
    }
    let fill_days = fill_ms(rate).div_ceil(24 * 60 * 60 * 1000);
    let days_max = limits::RATE_FILL_MS_MAX / (24 * 60 * 60 * 1000);
    if is_counted && fill_ms(rate) > u128::from(limits::RATE_FILL_MS_MAX.unsigned_abs()) {
        report.say(
            &burst_path,
            format_args!(
                "an empty bucket takes {fill_days} days to fill, at most {days_max} are possible: \
                 lower the burst, raise the rate, or use a quota"
            ),
        );
    }
}

/// Checks what each subject may take of a rate beside what the account may.
pub(super) fn check_each(
    report: &mut Report,
    path: &[&str],
    (each, rate): (RateSpec, Option<RateSpec>),
    per: &Option<String>,
) {
    let Some(per) = per else {
        report.say(path, "the rate is of the account alone: say `per: user` at the feature, or so");
        return;
    };
    check_rate(report, path, each);
    let (Some(own), Some(theirs)) = (rate.and_then(Rate::new), Rate::new(each)) else { return };
    if theirs.is_better(own) && own.burst_units() <= theirs.burst_units() {
        report.say(
            path,
            format_args!(
                "no {per} ever reaches this, the account's own rate is reached first: lower it, or \
                 leave it out"
            ),
        );
    }
}

/// Finds rates that a plan and an add-on, or two add-ons, give of one feature and that do not add up: no period
/// of a day at most holds both of theirs.
pub(super) fn check_sums(report: &mut Report, spec: &CatalogSpec) {
    let adds_up = |feature: &&FeatureSpec| {
        matches!(feature.kind, FeatureKindSpec::Rate { .. }) && feature.offering.merge == Merge::Sum
    };
    for feature in spec.features.iter().filter(adds_up) {
        let plans = spec.plans.iter().map(|plan| ("plans", plan));
        let given: Vec<_> =
            plans.chain(spec.addons.iter().map(|addon| ("addons", addon))).collect();
        for (place, (kind, addon)) in given.iter().enumerate().filter(|(_, (k, _))| *k == "addons")
        {
            for (each, what) in [(false, &["rate"][..]), (true, &["each", "rate"])] {
                let of = |plan: &PlanSpec| rate_given(plan, &feature.feature, each);
                let Some(rate) = of(addon) else { continue };
                let mut before =
                    given[..place].iter().filter_map(|(k, plan)| Some((k, plan, of(plan)?)));
                let apart = before.find(|(.., other)| !shares_period(rate, *other));
                let Some((other_kind, other, _)) = apart else { continue };
                let path =
                    [&[kind, addon.plan.as_str(), "entitlements", &feature.feature][..], what];
                let name = &feature.feature;
                report.say(
                    &path.concat(),
                    format_args!(
                        "this is added to `{other_kind}.{}.entitlements.{name}.{}`, and there is no period \
                         of a day at most that holds both of theirs: give both the same period, or say \
                         `merge: most_generous` at `features.{name}`",
                        other.plan,
                        what.join("."),
                    ),
                );
            }
        }
    }
}

/// The rate that a plan or an add-on gives of a feature, to the account or to each subject.
fn rate_given(plan: &PlanSpec, feature: &str, each: bool) -> Option<RateSpec> {
    let (_, given) = plan.entitlements.iter().find(|(of, _)| of == feature)?;
    match given {
        EntitlementSpec::Rate { rate, each: theirs } => {
            if each {
                *theirs
            } else {
                *rate
            }
        }
        _ => None,
    }
}

/// Whether the periods of two rates fit into one of a day at most. What is out of its range is told elsewhere.
fn shares_period(one: RateSpec, other: RateSpec) -> bool {
    let range = 1..=limits::RATE_PERIOD_MS_MAX;
    let (one, other) = (one.period_ms, other.period_ms);
    if !range.contains(&one) || !range.contains(&other) {
        return true;
    }
    shared_period_ms(one.unsigned_abs(), other.unsigned_abs())
        <= limits::RATE_PERIOD_MS_MAX.unsigned_abs()
}
