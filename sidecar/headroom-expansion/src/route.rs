//! Routes: every signal has one play, one owner and one message.
//!
//! Plays are looked at in their order and the first that fits is taken. So a special one stands before a
//! general one, and there is never a second.

use crate::class::Class;
use crate::terms::Terms;

/// How an account grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It uses more of what it has.
    AdoptionUpsell,
    /// Somebody sells it more of what it has.
    SalesLedUpsell,
    /// It buys something else, too.
    CrossSell,
}

/// How it is gone about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Motion {
    /// A: usage-based, by the product itself, within days.
    UsageBased,
    /// B: a larger plan, with help, within weeks.
    TierUpgrade,
    /// C: another product, by sales, within quarters.
    CrossSell,
    /// D: a transformation, by executives, over quarters.
    Transformation,
}

macro_rules! words {
    ($name:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $name {
            /// All of them, with the words of the catalog and of deliveries.
            pub const WORDS: &'static [(&'static str, $name)] =
                &[$(($word, $name::$variant)),+];

            /// The word of the catalog and of deliveries.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
    };
}

words!(Kind {
    AdoptionUpsell => "adoption_upsell",
    SalesLedUpsell => "sales_led_upsell",
    CrossSell => "cross_sell",
});
words!(Motion {
    UsageBased => "usage_based",
    TierUpgrade => "tier_upgrade",
    CrossSell => "cross_sell",
    Transformation => "transformation",
});

/// How the gate stands for a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// The account is ready.
    Passed,
    /// It is not: the signal is kept and told, and nobody is to sell.
    Held,
    /// The signal is of a class that no gate holds.
    Exempt,
}

words!(Gate {
    Passed => "passed",
    Held => "held",
    Exempt => "exempt",
});

/// What is to be done about signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// Its name.
    pub play: String,
    /// For these signals. Empty: for any.
    pub signals: Vec<String>,
    /// For signals of these classes. Empty: of any.
    pub classes: Vec<Class>,
    /// For accounts of these segments. Empty: of any.
    pub segments: Vec<String>,
    /// For these states of the gate. Empty: for any.
    pub gates: Vec<Gate>,
    /// How the account grows.
    pub kind: Kind,
    /// How it is gone about.
    pub motion: Motion,
    /// Where it is said; may be empty.
    pub channel: String,
    /// Who does it; never empty.
    pub owner: String,
    /// What is said; never empty.
    pub message: String,
}

/// What a play is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case<'a> {
    /// The signal's name.
    pub signal: &'a str,
    /// Its class.
    pub class: Class,
    /// The account's segment.
    pub segment: &'a str,
    /// How the gate stands.
    pub gate: Gate,
}

impl Play {
    /// Whether it is for such a case.
    pub fn fits(&self, case: Case<'_>) -> bool {
        let named =
            |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        named(&self.signals, case.signal)
            && named(&self.segments, case.segment)
            && (self.classes.is_empty() || self.classes.contains(&case.class))
            && (self.gates.is_empty() || self.gates.contains(&case.gate))
    }
}

/// The play of a case. `None`: no play fits, which the check refuses for signals it knows.
pub fn route<'t>(terms: &'t Terms, case: Case<'_>) -> Option<&'t Play> {
    terms.plays.iter().find(|play| play.fits(case))
}
