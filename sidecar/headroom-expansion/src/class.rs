//! What kind of signal a signal is.

/// What a signal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Use comes up against what is included.
    Usage,
    /// Something outside the plan was wanted.
    Feature,
    /// People bring people.
    Social,
    /// Money, contracts, interest in buying.
    Commercial,
    /// The account may leave. Such a signal is never held back.
    Churn,
    /// The product sells itself.
    Plg,
}

impl Class {
    /// All of them, in the order of the documentation.
    pub const ALL: [Class; 6] =
        [Class::Usage, Class::Feature, Class::Social, Class::Commercial, Class::Churn, Class::Plg];

    /// The word of the catalog and of deliveries.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Usage => "usage",
            Class::Feature => "feature",
            Class::Social => "social",
            Class::Commercial => "commercial",
            Class::Churn => "churn",
            Class::Plg => "plg",
        }
    }

    /// The class of this word.
    pub fn parse(word: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// Whether such a signal waits until the account is ready. Only what warns of a loss does not.
    pub fn is_gated(self) -> bool {
        self != Class::Churn
    }
}

/// Signals that the sidecar finds itself, with their classes.
pub const OWN: [(&str, Class); 22] = [
    ("usage_ceiling", Class::Usage),
    ("feature_limit_hit", Class::Usage),
    ("seat_threshold_90pct", Class::Usage),
    ("seats_nearly_full", Class::Usage),
    ("premium_feature_attempted", Class::Feature),
    ("feature_exploration", Class::Feature),
    ("team_invite_sent", Class::Social),
    ("api_tier_exceeded", Class::Usage),
    ("grace_started", Class::Usage),
    ("grace_ending", Class::Usage),
    ("overage_started", Class::Usage),
    ("overage_cap_near", Class::Usage),
    ("projected_exhaustion", Class::Usage),
    ("power_user", Class::Usage),
    ("contract_milestone", Class::Commercial),
    ("trial_ending", Class::Commercial),
    ("credits_low", Class::Commercial),
    ("credits_depleted", Class::Commercial),
    ("unlock_earned", Class::Commercial),
    ("declining_usage", Class::Churn),
    ("idle_seats", Class::Churn),
    ("multiple_signups", Class::Plg),
];

/// A deadline of an opportunity has passed.
pub const OVERDUE: &str = "opportunity_overdue";

/// Signals that other systems tell, with their classes. A catalog may name more.
pub const OUTSIDE: [(&str, Class); 9] = [
    ("headcount_growth", Class::Commercial),
    ("pricing_page_viewed", Class::Commercial),
    ("product_page_viewed", Class::Commercial),
    ("new_executive", Class::Commercial),
    ("champion_moved", Class::Churn),
    ("support_tickets_rising", Class::Churn),
    ("nps_recorded", Class::Commercial),
    ("qbr_outcome", Class::Commercial),
    ("funding_announced", Class::Commercial),
];

/// The class of a signal that every catalog knows.
pub fn of(signal: &str) -> Option<Class> {
    if signal == OVERDUE {
        return Some(Class::Commercial);
    }
    let found = OWN.iter().chain(&OUTSIDE).find(|(name, _)| *name == signal);
    found.map(|(_, class)| *class)
}
