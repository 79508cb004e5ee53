//! Everything that can be wrong with a catalog, found in one pass.
//!
//! No rule stops at its first find, so that an operator fixes a file in one round. Where in a file
//! something stands is not known here: a problem carries the path of keys, and the reader of the
//! file turns it into a line. Templates are checked by whoever renders them.

mod cohorts;
mod counting;
mod credits;
mod levels;
mod meters;
mod migrations;
mod prompt_texts;
mod prompting;
mod prompts;
mod reach;
mod subjects;
mod terms;
mod unlocks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanLimitSpec, PlanSpec,
    Policy, Price, PromptSpec, ROLLOUT_ALL_BP, SpecProblem,
};
use crate::limits;
use crate::versions;
use crate::window::{Every, SpanUnit, WindowRule};

/// Longest name, for programs and for people. The same bound as for account ids.
const NAME_BYTES_MAX: usize = 128;

/// Longest template or config value. A prompt is a paragraph, a config value is not a document.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Most decimal places of a unit: nine make it a billionth and leave whole numbers up to 9 million.
const SCALE_MAX: u8 = 9;

/// Grace of 10,000 %, in basis points.
const GRACE_BP_MAX: u32 = 1_000_000;

/// Longest billing window: ten years.
const BILLING_MONTHS_MAX: u16 = 120;

/// Problems with which known names are listed. All further ones are kept without: a file of so many mistakes
/// has one cause, and whoever shows them says how many there are.
const SUGGESTED_MAX: usize = 500;

/// Names listed with one problem. Above it there is no list, and so no "did you mean".
const KNOWN_NAMES_MAX: usize = 1_000;

/// All that is wrong with `spec`; empty when nothing is.
pub(crate) fn problems(spec: &CatalogSpec) -> Vec<SpecProblem> {
    let mut report = Report { problems: Vec::new() };
    let names = Names::of(spec);
    check_features(&mut report, &spec.features);
    check_plans(&mut report, "plans", &spec.plans, &names);
    check_plans(&mut report, "addons", &spec.addons, &names);
    if let Some(plan) = &spec.default_plan {
        check_plan_name(&mut report, &["default_plan"], plan, &names);
    }
    credits::check_payers(&mut report, spec, &names);
    subjects::check_given(&mut report, spec, &names);
    meters::check_sums(&mut report, spec);
    unlocks::check_unlocks(&mut report, spec, &names);
    prompts::check_prompts(&mut report, (&spec.prompting, &spec.prompts), &names);
    migrations::check_migrations(&mut report, spec, &names);
    report.problems
}

/// What is wrong with each of `prompts`, of which not all is known, beside the catalog `spec`.
pub(crate) fn problems_of_prompts(spec: &CatalogSpec, prompts: &[PromptSpec]) -> Vec<SpecProblem> {
    let mut report = Report { problems: Vec::new() };
    prompts::check_unclear(&mut report, spec, prompts, &Names::of(spec));
    report.problems
}

/// What names may refer to.
struct Names<'a> {
    features: BTreeMap<&'a str, &'a FeatureSpec>,
    plans: BTreeSet<&'a str>,
    versions: BTreeSet<(&'a str, u32)>,
}

impl<'a> Names<'a> {
    fn of(spec: &'a CatalogSpec) -> Names<'a> {
        Names {
            features: spec.features.iter().map(|f| (f.feature.as_str(), f)).collect(),
            plans: spec.plans.iter().map(|p| p.plan.as_str()).collect(),
            versions: spec.plans.iter().map(|p| (p.plan.as_str(), p.version)).collect(),
        }
    }
}

struct Report {
    problems: Vec<SpecProblem>,
}

impl Report {
    fn say(&mut self, path: &[&str], message: impl Display) {
        self.say_known(path, message, std::iter::empty());
    }

    fn say_known<'a>(
        &mut self,
        path: &[&str],
        message: impl Display,
        known: impl Iterator<Item = &'a str>,
    ) {
        let is_one_of_many = self.problems.len() >= SUGGESTED_MAX;
        let known = known.take(if is_one_of_many { 0 } else { KNOWN_NAMES_MAX + 1 });
        let mut known: Vec<String> = known.map(str::to_owned).collect();
        if known.len() > KNOWN_NAMES_MAX {
            known.clear();
        }
        let path = path.iter().map(|step| (*step).to_owned()).collect();
        self.problems.push(SpecProblem { path, message: message.to_string(), known });
    }

    fn at_most(&mut self, path: &[&str], what: &str, count: usize, max: usize) {
        if count > max {
            self.say(path, format_args!("{count} {what}, at most {max} are possible"));
        }
    }

    /// A name that programs use: in requests, in metrics, in addresses.
    fn program_name(&mut self, path: &[&str], name: &str) {
        if name.is_empty() {
            self.say(path, "the name is empty");
        } else if name.len() > NAME_BYTES_MAX {
            let bytes = name.len();
            self.say(
                path,
                format_args!("the name has {bytes} bytes, at most {NAME_BYTES_MAX} fit"),
            );
        } else if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
        {
            self.say(
                path,
                format_args!("the name {name:?} may have only a-z, 0-9, `_`, `.` and `-`"),
            );
        }
    }

    /// A name that people read.
    fn people_name(&mut self, path: &[&str], name: &str) {
        if name.trim().is_empty() {
            self.say(path, "the text is empty");
        }
        self.people_text(path, name, NAME_BYTES_MAX);
        if name.chars().any(char::is_control) {
            self.say(path, format_args!("the text {name:?} has control characters"));
        }
    }

    fn people_text(&mut self, path: &[&str], text: &str, bytes_max: usize) {
        if text.len() > bytes_max {
            let bytes = text.len();
            self.say(path, format_args!("the text has {bytes} bytes, at most {bytes_max} fit"));
        }
    }
}

fn check_features(report: &mut Report, features: &[FeatureSpec]) {
    report.at_most(&["features"], "features", features.len(), limits::CATALOG_ITEMS_MAX);
    counting::check_all(report, features);
    let mut seen = BTreeSet::new();
    for feature in features {
        let path = ["features", &feature.feature];
        report.program_name(&path, &feature.feature);
        if !seen.insert(&feature.feature) {
            report.say(&path, format_args!("feature `{}` is defined twice", feature.feature));
        }
        report.people_name(&[&path[..], &["name"]].concat(), &feature.name);
        if !feature.unit.is_empty() {
            report.people_name(&[&path[..], &["unit"]].concat(), &feature.unit);
        }
        if feature.scale > SCALE_MAX {
            let scale = feature.scale;
            report.say(
                &[&path[..], &["scale"]].concat(),
                format_args!("the scale is {scale}, it must be 0 to {SCALE_MAX}"),
            );
        }
        let rollout_bp = feature.offering.rollout_bp;
        if rollout_bp > ROLLOUT_ALL_BP {
            report.say(
                &[&path[..], &["rollout"]].concat(),
                format_args!("the roll-out is {}, it must be 0% to 100%", Percent(rollout_bp)),
            );
        }
        cohorts::check_cohorts(report, &[&path[..], &["cohorts"]].concat(), &feature.offering);
        counting::check_counting(report, feature);
        if feature.shadow && matches!(feature.kind, FeatureKindSpec::Credits { .. }) {
            report.say(
                &[&path[..], &["shadow"]].concat(),
                "credits cannot be watched without refusing: what was bought is kept and not tried out. Watch \
                 the features that credits pay for",
            );
        }
        match &feature.kind {
            FeatureKindSpec::Quota { limits } => check_limits(report, &feature.feature, limits),
            FeatureKindSpec::Allocation { window, .. } => {
                levels::check_window(report, &path, *window);
            }
            FeatureKindSpec::Credits { window, .. } => {
                credits::check_pool(report, &feature.feature, *window);
            }
            FeatureKindSpec::Seats { invited_ms } => {
                levels::check_invitations(report, &path, *invited_ms);
            }
            FeatureKindSpec::Switch
            | FeatureKindSpec::Config
            | FeatureKindSpec::Concurrency { per: None }
            | FeatureKindSpec::Rate { per: None } => {}
            FeatureKindSpec::Concurrency { per: Some(per) }
            | FeatureKindSpec::Rate { per: Some(per) } => {
                subjects::check_type(report, &path, per);
            }
        }
    }
}

fn check_limits(report: &mut Report, feature: &str, limits: &[LimitSpec]) {
    let path = ["features", feature, "limits"];
    if limits.is_empty() {
        report.say(&path, "a quota needs at least one limit");
    }
    subjects::check_shapes(report, &path, limits);
    report.at_most(&path, "limits", limits.len(), limits::LIMITS_PER_FEATURE_MAX);
    let mut seen = BTreeSet::new();
    for limit in limits {
        let path = ["features", feature, "limits", &limit.limit];
        report.program_name(&path, &limit.limit);
        if !seen.insert(&limit.limit) {
            report.say(&path, format_args!("limit `{}` is defined twice", limit.limit));
        }
        meters::check_limit_name(report, &path, &limit.limit);
        if let Some(per) = &limit.per {
            subjects::check_type(report, &path, per);
        }
        check_window(report, &[&path[..], &["window"]].concat(), limit.window);
    }
}

fn check_window(report: &mut Report, path: &[&str], window: WindowRule) {
    match window {
        WindowRule::Billing { months } if !(1..=BILLING_MONTHS_MAX).contains(&months) => report
            .say(
                path,
                format_args!(
                    "the window is {months} months long, it must be 1 to {BILLING_MONTHS_MAX}"
                ),
            ),
        WindowRule::Fixed(every) | WindowRule::FirstUse(every) | WindowRule::Sliding(every) => {
            check_every(report, path, window, every);
        }
        WindowRule::Billing { .. } | WindowRule::Calendar(_) | WindowRule::Lifetime => {}
    }
}

fn check_every(report: &mut Report, path: &[&str], window: WindowRule, every: Every) {
    let (unit, max) = (every.unit.as_str(), every.unit.count_max());
    if !(1..=max).contains(&every.count) {
        let count = every.count;
        report.say(path, format_args!("the window is {count} {unit}s long, it must be 1 to {max}"));
    }
    if every.unit == SpanUnit::Month && matches!(window, WindowRule::Sliding(_)) {
        report.say(
            path,
            "a sliding window cannot be in months, which differ in length: use hours, days or \
             weeks, as `30 days`",
        );
    }
}

/// Plans, or add-ons, which are written alike. `list` is the key they stand under.
fn check_plans(report: &mut Report, list: &str, plans: &[PlanSpec], names: &Names<'_>) {
    report.at_most(&[list], list, plans.len(), limits::CATALOG_ITEMS_MAX);
    let what = if list == "addons" { "add-on" } else { "plan" };
    let sold = versions::sold(plans.iter().map(|plan| (plan.plan.as_str(), plan.version)));
    let mut seen = BTreeSet::new();
    for plan in plans {
        let version = plan.version.to_string();
        let own_path = migrations::path_of(list, plan, &sold, &version);
        let path = &own_path[..];
        report.program_name(&[list, &plan.plan], &plan.plan);
        migrations::check_version(report, path, what, plan);
        if !seen.insert((&plan.plan, plan.version)) {
            report.say(path, format_args!("{what} `{}` is defined twice", plan.plan));
        }
        report.people_name(&[path, &["name"]].concat(), &plan.name);
        if let Some(price) = &plan.price {
            check_price(report, path, price);
        }
        let mut seen = BTreeSet::new();
        for (feature, entitlement) in &plan.entitlements {
            let path = [path, &["entitlements", feature]].concat();
            if !seen.insert(feature) {
                report.say(&path, format_args!("feature `{feature}` is entitled twice"));
            }
            match names.features.get(feature.as_str()) {
                Some(known) => check_entitlement(report, (&path, what), known, entitlement),
                None => report.say_known(
                    &path,
                    format_args!("unknown feature `{feature}`"),
                    names.features.keys().copied(),
                ),
            }
        }
    }
}

fn check_price(report: &mut Report, path: &[&str], price: &Price) {
    check_currency(report, &[path, &["price", "currency"]].concat(), &price.currency);
    if price.minor > limits::UNITS_MAX {
        report.say(
            &[path, &["price", "amount_minor"]].concat(),
            format_args!("the price is {}, at most {} is possible", price.minor, limits::UNITS_MAX),
        );
    }
}

fn check_currency(report: &mut Report, path: &[&str], currency: &str) {
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        report.say(
            path,
            format_args!(
                "{currency:?} is no currency: three capital letters of ISO 4217, as `USD`"
            ),
        );
    }
}

fn check_entitlement(
    report: &mut Report,
    (path, what): (&[&str], &str),
    feature: &FeatureSpec,
    entitlement: &EntitlementSpec,
) {
    let entitlement = entitlement.given();
    match (&feature.kind, entitlement) {
        (FeatureKindSpec::Switch, EntitlementSpec::Switch { .. }) => {}
        (FeatureKindSpec::Config, EntitlementSpec::Config { value_json }) => {
            report.people_text(path, value_json, TEXT_BYTES_MAX);
        }
        (FeatureKindSpec::Credits { window, .. }, EntitlementSpec::Credits { terms }) => {
            credits::check_terms(report, path, terms, *window);
        }
        (
            FeatureKindSpec::Quota { limits: known },
            EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. },
        ) => {
            let is_paid = matches!(entitlement, EntitlementSpec::PaidQuota { .. });
            if limits.is_empty() && !is_paid {
                let message =
                    format!("the {what} gives no limit of this quota, it needs at least one");
                report.say(path, message);
            }
            let mut seen = BTreeSet::new();
            for limit in limits {
                let path = [path, &[limit.limit.as_str()]].concat();
                if !seen.insert(&limit.limit) {
                    report.say(&path, format_args!("limit `{}` is given twice", limit.limit));
                }
                if !known.iter().any(|shape| shape.limit == limit.limit) {
                    report.say_known(
                        &path,
                        format_args!(
                            "feature `{}` has no limit `{}`",
                            feature.feature, limit.limit
                        ),
                        known.iter().map(|shape| shape.limit.as_str()),
                    );
                }
                check_plan_limit(report, &path, limit);
                let shape = known.iter().find(|shape| shape.limit == limit.limit);
                terms::check_terms(report, &path, limit, shape.map(|shape| shape.window));
                counting::check_plan_limit(report, &path, feature, limit);
            }
        }
        (
            FeatureKindSpec::Concurrency { per },
            EntitlementSpec::Concurrency { max_units, soft_limits_bp, each },
        ) => {
            meters::check_concurrency(report, path, *max_units, soft_limits_bp);
            if let Some(each) = each {
                meters::check_each_most(report, &[path, &["each"]].concat(), *each, per);
            }
        }
        (FeatureKindSpec::Rate { per }, EntitlementSpec::Rate { rate, each }) => {
            if let Some(rate) = rate {
                meters::check_rate(report, path, *rate);
            }
            if let Some(each) = each {
                meters::check_each(report, &[path, &["each"]].concat(), (*each, *rate), per);
            }
        }
        (FeatureKindSpec::Allocation { .. }, EntitlementSpec::Allocation { limit }) => {
            levels::check_level(report, path, limit);
        }
        (
            FeatureKindSpec::Seats { .. },
            EntitlementSpec::Seats { included_units, soft_limits_bp },
        ) => levels::check_seats(report, path, *included_units, soft_limits_bp),
        (
            FeatureKindSpec::Switch
            | FeatureKindSpec::Config
            | FeatureKindSpec::Quota { .. }
            | FeatureKindSpec::Concurrency { .. }
            | FeatureKindSpec::Rate { .. }
            | FeatureKindSpec::Allocation { .. }
            | FeatureKindSpec::Credits { .. }
            | FeatureKindSpec::Seats { .. },
            _,
        ) => {
            let feature_kind = with_article(kind_word(&feature.kind));
            let given = with_article(entitlement_word(entitlement));
            report.say(
                path,
                format_args!(
                    "`{}` is {feature_kind}, but the {what} gives {given}",
                    feature.feature
                ),
            );
        }
    }
}

fn with_article(word: &str) -> String {
    if word == "seats" {
        return word.to_owned();
    }
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

fn kind_word(kind: &FeatureKindSpec) -> &'static str {
    match kind {
        FeatureKindSpec::Switch => "switch",
        FeatureKindSpec::Config => "config",
        FeatureKindSpec::Quota { .. } => "quota",
        FeatureKindSpec::Concurrency { .. } => "concurrency",
        FeatureKindSpec::Rate { .. } => "rate",
        FeatureKindSpec::Allocation { .. } => "allocation",
        FeatureKindSpec::Credits { .. } => "credits",
        FeatureKindSpec::Seats { .. } => "seats",
    }
}

fn entitlement_word(entitlement: &EntitlementSpec) -> &'static str {
    match entitlement {
        EntitlementSpec::Locked { given, .. } => entitlement_word(given),
        EntitlementSpec::Switch { .. } => "switch",
        EntitlementSpec::Config { .. } => "config",
        EntitlementSpec::Quota { .. } | EntitlementSpec::PaidQuota { .. } => "quota",
        EntitlementSpec::Credits { .. } => "credits",
        EntitlementSpec::Concurrency { .. } => "concurrency",
        EntitlementSpec::Rate { .. } => "rate",
        EntitlementSpec::Allocation { .. } => "allocation",
        EntitlementSpec::Seats { .. } => "seats",
    }
}

fn check_plan_limit(report: &mut Report, path: &[&str], limit: &PlanLimitSpec) {
    let included_path = [path, &["included"]].concat();
    let policy_path = [path, &["policy"]].concat();
    match (limit.included_units, limit.policy) {
        (Some(units), _) if units > limits::UNITS_MAX => report.say(
            &included_path,
            format_args!("{units} units are included, at most {} are possible", limits::UNITS_MAX),
        ),
        (Some(0), Policy::Grace { grace_bp }) if grace_bp != Policy::GRACE_BY_TIME_ALONE => {
            report.say(&policy_path, "a grace on 0 included units is 0 units: use `block`");
        }
        (None, Policy::Block | Policy::Grace { .. } | Policy::Overage) => report.say(
            &policy_path,
            format_args!(
                "the policy `{}` can never apply, because the included units are unlimited: give \
                 a number of units, or leave the policy out",
                policy_word(limit.policy)
            ),
        ),
        (Some(_), _) | (None, Policy::Unlimited) => {}
    }
    if let Policy::Grace { grace_bp } = limit.policy
        && grace_bp != Policy::GRACE_BY_TIME_ALONE
        && !(1..=GRACE_BP_MAX).contains(&grace_bp)
    {
        let percent = Percent(grace_bp);
        report
            .say(&policy_path, format_args!("the grace is {percent}, it must be 0.01% to 10000%"));
    }
    check_soft_limits(report, path, limit, "the included units, which are");
}

/// `share_of` says what a soft limit is a share of.
fn check_soft_limits(report: &mut Report, path: &[&str], limit: &PlanLimitSpec, share_of: &str) {
    let soft_path = [path, &["soft_limits"]].concat();
    let count = limit.soft_limits_bp.len();
    report.at_most(&soft_path, "soft limits", count, limits::THRESHOLDS_MAX);
    if count > 0 && matches!(limit.included_units, None | Some(0)) {
        let units = if limit.included_units.is_none() { "unlimited" } else { "0" };
        report.say(&soft_path, format_args!("a soft limit is a share of {share_of} {units}"));
    }
    let mut seen = BTreeSet::new();
    for (ix, soft_limit_bp) in limit.soft_limits_bp.iter().enumerate() {
        let ix = ix.to_string();
        let path = [&soft_path[..], &[ix.as_str()]].concat();
        let percent = Percent(*soft_limit_bp);
        if !(1..=9_999).contains(soft_limit_bp) {
            report.say(&path, format_args!("a soft limit of {percent} must be 0.01% to 99.99%"));
        }
        if !seen.insert(soft_limit_bp) {
            report.say(&path, format_args!("the soft limit {percent} is given twice"));
        }
    }
}

/// Basis points as people write them: `80%`, `12.5%`.
struct Percent(u32);

impl Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::Block => "block",
        Policy::Grace { .. } => "grace",
        Policy::Overage => "overage",
        Policy::Unlimited => "unlimited",
    }
}

fn check_plan_name(report: &mut Report, path: &[&str], plan: &str, names: &Names<'_>) {
    if !names.plans.contains(plan) {
        report.say_known(path, format_args!("unknown plan `{plan}`"), names.plans.iter().copied());
    }
}

#[cfg(test)]
mod tests;
