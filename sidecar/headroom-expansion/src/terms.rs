//! What an operator may set, with every default.
//!
//! The defaults are a starting point for a company that has not measured its own yet: each of them can be
//! replaced in the catalog, by segment, condition, part and play.

use std::collections::BTreeSet;

use crate::benchmark::BenchmarkTerms;
use crate::class::{self, Class};
use crate::facts::{Facts, INFERRED, PARTS};
use crate::gate::{Condition, Test};
use crate::opportunity::Deadlines;
use crate::route::{Gate, Kind, Motion, Play};
use crate::rule::{Names, Rule};
use crate::score::{Band, Card, PartTerms};
use crate::watch::Watch;

/// A kind of account, and when it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its name, as accounts' facts have it.
    pub segment: String,
    /// Whether a condition whose fact is missing is passed over. Otherwise it fails.
    pub passes_unknown: bool,
    /// What must hold.
    pub conditions: Vec<Condition>,
}

/// Everything about growth that a catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The fact that names an account's segment.
    pub segment_fact: String,
    /// The segments; never empty. An account that names none of them is of the first.
    pub segments: Vec<Segment>,
    /// Facts that, when they are true, hold everything back.
    pub risks: Vec<String>,
    /// The score of a product-qualified lead.
    pub pql: Card,
    /// The score of an opportunity, 1 to 10.
    pub opportunity: Card,
    /// What else the account could buy, in percent.
    pub white_space: Card,
    /// Signals from outside that the catalog names itself.
    pub outside: Vec<(String, Class)>,
    /// Who does what, in order.
    pub plays: Vec<Play>,
    /// Signals that come of rules.
    pub watches: Vec<Watch>,
    /// How long opportunities may take.
    pub deadlines: Deadlines,
    /// Uses on so many different days of the last 30 make a feature adopted.
    pub adopted_days: u32,
    /// What is told of accounts of the same size.
    pub benchmark: BenchmarkTerms,
}

impl Terms {
    /// The segment of an account, and whether it was assumed.
    pub fn segment_of(&self, facts: &Facts) -> (&Segment, bool) {
        let named = facts.text(&self.segment_fact);
        let found = named.and_then(|name| self.segments.iter().find(|one| one.segment == name));
        match found {
            Some(segment) => (segment, false),
            None => (&self.segments[0], true),
        }
    }

    /// The class of a signal. `None`: nobody knows it.
    pub fn class_of(&self, signal: &str) -> Option<Class> {
        let own = self.outside.iter().find(|(name, _)| name == signal).map(|(_, class)| *class);
        let watched = self.watches.iter().find(|watch| watch.signal == signal);
        own.or_else(|| watched.map(|watch| watch.class)).or_else(|| class::of(signal))
    }

    /// Names of signals that other systems may tell.
    pub fn outside_signals(&self) -> impl Iterator<Item = &str> {
        let own = self.outside.iter().map(|(name, _)| name.as_str());
        class::OUTSIDE.iter().map(|(name, _)| *name).chain(own)
    }

    /// The facts that something is asked of, and those that are worked out here.
    pub fn fact_names(&self) -> BTreeSet<&str> {
        let conditions = self.segments.iter().flat_map(|segment| &segment.conditions);
        let cards = [&self.pql, &self.opportunity, &self.white_space];
        let parts = cards.into_iter().flat_map(|card| &card.parts);
        let named =
            conditions.map(|one| one.fact.as_str()).chain(parts.map(|one| one.fact.as_str()));
        let named = named.chain(self.risks.iter().map(String::as_str));
        let kinds = [self.segment_fact.as_str(), self.benchmark.size_fact.as_str()];
        named.chain(kinds).chain(INFERRED).collect()
    }

    /// The texts that rules and conditions compare facts with.
    pub fn words(&self) -> BTreeSet<&str> {
        let rules = self.watches.iter().flat_map(|watch| watch.warn.iter().chain([&watch.when]));
        let conditions = self.segments.iter().flat_map(|segment| &segment.conditions);
        let tests = conditions.filter_map(|condition| match &condition.test {
            Test::OneOf(words) => Some(words.iter().map(String::as_str)),
            _ => None,
        });
        let segments = self.segments.iter().map(|segment| segment.segment.as_str());
        rules.flat_map(Rule::texts).chain(tests.flatten()).chain(segments).collect()
    }

    /// The score of this name: `pql`, `opportunity` or `white_space`.
    pub fn card(&self, name: &str) -> Option<&Card> {
        match name {
            "pql" => Some(&self.pql),
            "opportunity" => Some(&self.opportunity),
            "white_space" => Some(&self.white_space),
            _ => None,
        }
    }
}

impl Default for Terms {
    fn default() -> Terms {
        let risks = ["open_escalation", "churn_signal", "price_objection", "competitor_evaluation"];
        Terms {
            segment_fact: "segment".to_owned(),
            segments: vec![smb(), mid_market(), enterprise()],
            risks: risks.map(str::to_owned).to_vec(),
            pql: pql(),
            opportunity: opportunity(),
            white_space: white_space(),
            outside: Vec::new(),
            plays: plays(),
            watches: watches(),
            deadlines: Deadlines::default(),
            adopted_days: 3,
            benchmark: BenchmarkTerms::default(),
        }
    }
}

fn whole(number: i64) -> i64 {
    number * PARTS
}

fn condition(fact: &str, test: Test) -> Condition {
    Condition { fact: fact.to_owned(), test }
}

fn words(words: &[&str]) -> Test {
    Test::OneOf(words.iter().map(|word| (*word).to_owned()).collect())
}

/// What every segment asks besides its own numbers: value realised, engagement, stakeholders, buying.
fn dimensions() -> [Condition; 4] {
    [
        condition("journey", words(&["tangible_roi", "expansion_ready"])),
        condition("core_engagement_percent", Test::Above(whole(70))),
        condition("stakeholders_engaged", Test::Is(true)),
        condition("buying_ready", Test::Is(true)),
    ]
}

struct Numbers {
    onboarded_days: i64,
    features: i64,
    health: i64,
    active_percent: i64,
    support: &'static [&'static str],
    nps: i64,
}

fn segment(name: &str, passes_unknown: bool, numbers: &Numbers, more: Vec<Condition>) -> Segment {
    let mut conditions = vec![
        condition("days_since_onboarding", Test::Above(whole(numbers.onboarded_days))),
        condition("features_adopted", Test::AtLeast(whole(numbers.features))),
        condition("health_score", Test::AtLeast(whole(numbers.health))),
        condition("active_seats_percent", Test::Above(whole(numbers.active_percent))),
        condition("support_trend", words(numbers.support)),
        condition("nps", Test::AtLeast(whole(numbers.nps))),
    ];
    conditions.extend(more);
    conditions.extend(dimensions());
    Segment { segment: name.to_owned(), passes_unknown, conditions }
}

fn smb() -> Segment {
    let numbers = Numbers {
        onboarded_days: 30,
        features: 3,
        health: 75,
        active_percent: 60,
        support: &["falling", "flat"],
        nps: 7,
    };
    segment("smb", true, &numbers, Vec::new())
}

fn mid_market() -> Segment {
    let numbers = Numbers {
        onboarded_days: 45,
        features: 5,
        health: 80,
        active_percent: 70,
        support: &["falling"],
        nps: 8,
    };
    segment("mid_market", false, &numbers, Vec::new())
}

fn enterprise() -> Segment {
    let numbers = Numbers {
        onboarded_days: 60,
        features: 7,
        health: 85,
        active_percent: 75,
        support: &["falling"],
        nps: 8,
    };
    let more = vec![
        condition("departments", Test::AtLeast(whole(2))),
        condition("sponsor", Test::Is(true)),
    ];
    segment("enterprise", false, &numbers, more)
}

/// A part of a card: its name, which is also the fact's, points, and the values for none and all.
fn part(group: &str, fact: &str, points: u32, (zero_at, full_at): (i64, i64)) -> PartTerms {
    PartTerms {
        part: fact.to_owned(),
        group: group.to_owned(),
        fact: fact.to_owned(),
        points_max_tenths: points * 10,
        zero_at: whole(zero_at),
        full_at: whole(full_at),
    }
}

fn bands(bands: &[(&str, u32, &str)]) -> Vec<Band> {
    let band = |(band, from, advice): &(&str, u32, &str)| Band {
        band: (*band).to_owned(),
        from_tenths: from * 10,
        advice: (*advice).to_owned(),
    };
    bands.iter().map(band).collect()
}

fn pql() -> Card {
    Card {
        parts: vec![
            part("usage", "dau_mau_percent", 20, (0, 50)),
            part("usage", "features_adopted", 15, (0, 7)),
            part("usage", "api_use_percent", 15, (0, 100)),
            part("expansion", "entitlement_used_percent", 20, (0, 100)),
            part("expansion", "premium_attempt_days", 10, (0, 5)),
            part("expansion", "invite_days", 10, (0, 5)),
            part("engagement", "qbr_participated", 10, (0, 1)),
            part("engagement", "health_score", 15, (50, 100)),
            part("engagement", "days_since_login", 10, (30, 1)),
            // Whoever has time left on the contract can grow in it; at its end it is a renewal.
            part("commercial", "contract_days_left", 10, (0, 180)),
            part("commercial", "paid_on_time_percent", 5, (50, 100)),
        ],
        bands: bands(&[
            ("not_ready", 0, "leave alone"),
            ("warm", 51, "nurture"),
            ("hot", 81, "customer success reaches out"),
            ("critical", 101, "sales now"),
        ]),
        least_tenths: 0,
    }
}

fn opportunity() -> Card {
    let axis = |fact| part("", fact, 2, (0, 10));
    Card {
        parts: vec![
            axis("revenue_potential"),
            axis("buyer_access"),
            axis("usage_growth"),
            axis("competitive_risk"),
            axis("strategic_weight"),
        ],
        bands: bands(&[
            ("retention", 0, "retention first"),
            ("yearly", 4, "look at it once a year"),
            ("quarterly", 6, "look at it once a quarter"),
            ("now", 8, "now"),
        ]),
        least_tenths: 10,
    }
}

fn white_space() -> Card {
    Card {
        parts: vec![
            part("", "product_fit", 30, (0, 100)),
            part("", "adoption_depth", 25, (0, 100)),
            part("", "expressed_interest", 20, (0, 100)),
            part("", "budget_timing", 15, (0, 100)),
            part("", "champion_strength", 10, (0, 100)),
        ],
        bands: bands(&[("low", 0, ""), ("medium", 40, ""), ("high", 70, "")]),
        least_tenths: 0,
    }
}

/// The plays of a catalog that names none: a health-first track for whoever is not ready, a retention
/// play for what warns, and otherwise one by segment.
fn plays() -> Vec<Play> {
    let smb = Play {
        play: "self_serve_upgrade".to_owned(),
        signals: Vec::new(),
        classes: Vec::new(),
        // Of whatever other segment an account is, it is taken for a small one.
        segments: Vec::new(),
        gates: Vec::new(),
        kind: Kind::AdoptionUpsell,
        motion: Motion::UsageBased,
        channel: "in-app and e-mail".to_owned(),
        owner: "pooled_cs".to_owned(),
        message: "Show what the next plan adds where the limit is met; the upgrade is one click."
            .to_owned(),
    };
    let mid_market = Play {
        play: "cs_led_upgrade".to_owned(),
        segments: vec!["mid_market".to_owned()],
        kind: Kind::SalesLedUpsell,
        motion: Motion::TierUpgrade,
        channel: "csm".to_owned(),
        owner: "named_csm".to_owned(),
        message: "Take the usage into the next review and propose the plan that fits it."
            .to_owned(),
        ..smb.clone()
    };
    let enterprise = Play {
        play: "strategic_expansion".to_owned(),
        segments: vec!["enterprise".to_owned()],
        kind: Kind::SalesLedUpsell,
        motion: Motion::Transformation,
        channel: "executive review".to_owned(),
        owner: "account_team".to_owned(),
        message: "Prepare an executive review: results so far, the goal ahead, what it takes."
            .to_owned(),
        ..smb.clone()
    };
    let retention = Play {
        play: "retention".to_owned(),
        classes: vec![Class::Churn],
        kind: Kind::AdoptionUpsell,
        motion: Motion::UsageBased,
        channel: "csm".to_owned(),
        owner: "cs".to_owned(),
        message: "Find out what is in the way of the account's use, before anything is sold."
            .to_owned(),
        ..smb.clone()
    };
    let health_first = Play {
        play: "health_first".to_owned(),
        classes: Vec::new(),
        gates: vec![Gate::Held],
        message: "Not ready to be sold to: work on what the gate names first.".to_owned(),
        ..retention.clone()
    };
    vec![retention, health_first, mid_market, enterprise, smb]
}

/// The rules that every catalog has unless it takes them out: each signal, its class, its rule, and for how
/// many days the rule must not hold before it may come again.
const WATCHES: [(&str, Class, &str, u32); 6] = [
    ("feature_exploration", Class::Feature, "gated_features_tried >= 3", 14),
    ("power_user", Class::Usage, "active_users >= 3 && power_user_percent >= 200", 7),
    // People are counted over thirty days: of a younger account they cannot all have come yet.
    (
        "idle_seats",
        Class::Churn,
        "seats >= 5 && active_seats_percent < 50 && days_since_signup >= 30",
        7,
    ),
    ("declining_usage", Class::Churn, "usage_change_percent <= -30", 14),
    ("multiple_signups", Class::Plg, "signups_of_domain >= 3 && plan_price_minor == 0", 7),
    // Two months are time to talk; of whom nobody says that it is well, nothing is said.
    (
        "contract_milestone",
        Class::Commercial,
        "contract_days_left >= 0 && contract_days_left <= 60 && facts.health_score >= 75",
        7,
    ),
];

fn watches() -> Vec<Watch> {
    let names = Names { facts: &INFERRED, features: &[], signals: &[] };
    let watch = |(signal, class, rule, calm_days): (&str, Class, &str, u32)| {
        let when = Rule::parse(rule, names).ok()?;
        Some(Watch { signal: signal.to_owned(), class, warn: None, when, calm_days })
    };
    WATCHES.into_iter().filter_map(watch).collect()
}
