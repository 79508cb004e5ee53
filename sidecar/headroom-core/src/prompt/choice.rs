//! Which prompt a decision calls for, and which words of it.

use super::spec::{Audience, PromptSpec, Scenario, Unit};
use super::{Occasion, Severity, scenarios};
use crate::catalog::{Catalog, Prompt};
use crate::decision::Decision;
use crate::fingerprint::{fnv1a, mixed};

/// Whom a prompt is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The account's segment; empty when nobody said.
    pub segment: &'a str,
    /// What the person may do, when the request says.
    pub audience: Option<Audience>,
    /// Who it is; empty when the request does not say.
    pub person: &'a str,
}

/// A prompt that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Its place in [`Catalog::prompts`].
    pub place: usize,
    /// The situation.
    pub scenario: Scenario,
    /// How loud it should be.
    pub severity: Severity,
}

/// How closely a prompt names what it is for: a feature weighs more than a plan, that more than a
/// segment, that more than an audience.
pub fn specificity(prompt: &PromptSpec) -> u8 {
    u8::from(prompt.feature.is_some()) << 3
        | u8::from(!prompt.plans.is_empty()) << 2
        | u8::from(!prompt.segments.is_empty()) << 1
        | u8::from(!prompt.audiences.is_empty())
}

/// The prompt for a decision: of those for the situation that fit feature, plan, segment and
/// audience the most specific, of several the first. Where a situation has a narrower name
/// (`seats_full` is a `limit_hit`), prompts for that come before all others.
pub fn choose(
    catalog: &Catalog,
    decision: &Decision,
    occasion: Occasion,
    reader: Reader<'_>,
) -> Option<Chosen> {
    let (scenarios, severity) = scenarios(decision, occasion)?;
    let feature = decision.feature.and_then(|id| catalog.feature_of(id));
    let fits = |prompt: &Prompt| {
        let PromptSpec { segments, audiences, .. } = &prompt.spec;
        (prompt.feature.is_none() || prompt.feature == feature)
            && (prompt.plans.is_empty() || prompt.plans.contains(&decision.plan))
            && (segments.is_empty() || segments.iter().any(|name| name == reader.segment))
            && (audiences.is_empty() || reader.audience.is_some_and(|who| audiences.contains(&who)))
    };
    scenarios.iter().find_map(|&scenario| {
        let all = catalog.prompts().iter().enumerate();
        let fitting = all.filter(|(_, prompt)| prompt.spec.scenario == scenario && fits(prompt));
        // `max_by_key` takes the last of equals, and the first is to win.
        let (place, _) = fitting.rev().max_by_key(|(_, prompt)| specificity(&prompt.spec))?;
        Some(Chosen { place, scenario, severity })
    })
}

/// What a reader gets of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Nothing, to see what the prompt does.
    Holdout,
    /// The words of a variant; `None`: the prompt's own.
    Variant(Option<usize>),
}

/// The group of a reader: drawn by the account's or the person's name and the prompt's, so the same
/// every time and everywhere, and of another prompt another.
pub fn group(prompt: &PromptSpec, reader: Reader<'_>) -> Group {
    let who = match prompt.assign_by {
        Unit::Account => reader.account.to_owned(),
        Unit::Person => format!("{}\0{}", reader.account, reader.person),
    };
    let draw = |what: &str| share_of(&[&who, &prompt.prompt, what]);
    if draw("holdout") < prompt.holdout_bp {
        return Group::Holdout;
    }
    let mut drawn = draw("variant");
    for (place, variant) in prompt.variants.iter().enumerate() {
        match drawn.checked_sub(variant.share_bp) {
            Some(rest) => drawn = rest,
            None => return Group::Variant(Some(place)),
        }
    }
    Group::Variant(None)
}

/// A number of 0 to 9,999 for some texts. It decides who sees what, so it must never change.
fn share_of(texts: &[&str]) -> u32 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    // 2^64 is no multiple of 10,000; what that makes uneven cannot be measured.
    u32::try_from(mixed(fnv1a(bytes)) % 10_000).unwrap_or_default()
}
