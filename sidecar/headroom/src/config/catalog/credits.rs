//! Pools of credits: the feature with its window and rate card, what a plan gives of it, and who pays for
//! a quota.

use headroom_core::catalog::{EntitlementSpec, FeatureKindSpec, PlanLimitSpec};
use headroom_core::credits::{CreditPrice, PRIORITY_USUAL, PoolTerms, Rounding};
use headroom_core::limits::UNITS_MAX;
use headroom_core::window::WindowRule;

use super::super::reader::Fields;
use super::given::{Known, read_soft_limits};
use super::spans::read_window;
use super::{Entry, Reader, policy};

/// The key that says who pays for a quota. No limit has it as its name.
pub(super) const PAID_BY: &str = "paid_by";

/// The kind of a feature of which `kind: credits` was said. What cannot be read of it is as harmless as
/// can be, so that what refers to it is right.
pub(super) fn read_pool(reader: &Reader, fields: &mut Fields<'_, '_>) -> FeatureKindSpec {
    let window = fields.required("window").and_then(|entry| read_window(reader, entry));
    let window = window.unwrap_or(WindowRule::Billing { months: 1 });
    let rate_card = fields.optional("rate_card").map(|entry| read_rate_card(reader, entry));
    FeatureKindSpec::Credits { window, rate_card: rate_card.unwrap_or_default() }
}

fn read_rate_card(reader: &Reader, entry: Entry<'_>) -> Vec<(String, CreditPrice)> {
    let entries = reader.map(entry, "a mapping from features to prices").unwrap_or_default();
    let read = |entry: Entry<'_>| {
        let price = read_price(reader, entry).unwrap_or(CreditPrice::ITSELF);
        (entry.name.to_owned(), price)
    };
    entries.iter().map(|entry| read(Entry::of(entry))).collect()
}

fn read_price(reader: &Reader, entry: Entry<'_>) -> Option<CreditPrice> {
    let mut fields = reader.fields(entry, "a mapping with `credits`, `per` and `rounding`")?;
    let number = |entry| reader.whole_number(entry, 1..=UNITS_MAX);
    let credits = fields.required("credits").and_then(number);
    let per = fields.optional("per").map_or(Some(1), number);
    let words = [("up", Rounding::Up), ("down", Rounding::Down), ("nearest", Rounding::Nearest)];
    let rounding = fields.optional("rounding");
    let rounding = rounding.map_or(Some(Rounding::Up), |entry| reader.word(entry, &words));
    fields.end();
    Some(CreditPrice { credits: credits?, per: per?, rounding: rounding? })
}

/// What a plan gives of a pool.
pub(super) fn read_terms(reader: &Reader, entry: Entry<'_>) -> Option<EntitlementSpec> {
    let mut fields = reader.fields(entry, "a mapping with `included`")?;
    let number = |entry| reader.whole_number(entry, 0..=UNITS_MAX);
    let included = fields.required("included").and_then(number);
    let priority = fields.optional("priority");
    let rollover = fields.optional("rollover");
    let overdraft = fields.optional("overdraft");
    let debt = fields.optional("debt");
    let soft_limits = fields.optional("soft_limits");
    fields.end();
    let priority = match priority {
        Some(entry) => {
            let priority = reader.whole_number(entry, 0..=u64::from(u8::MAX));
            priority.and_then(|priority| u8::try_from(priority).ok())
        }
        None => Some(PRIORITY_USUAL),
    };
    let rollover = rollover.map_or(Some((0, 0)), |entry| read_rollover(reader, entry));
    let overdraft_units = overdraft.map_or(Some(0), |entry| {
        let mut fields = reader.fields(entry, "a mapping with `up_to`")?;
        let up_to = fields.required("up_to").and_then(number);
        fields.end();
        up_to
    });
    // Unlike the debt of a quota, which ends with its window: credits are bought, so they are owed.
    let carries_debt = debt.map_or(Some(true), |entry| policy::read_debt(reader, entry));
    let soft_limits_bp = read_soft_limits(reader, soft_limits);
    // What cannot be read does not hide what is wrong with the rest.
    let (rollover_min_units, rollover_max_units) = rollover.unwrap_or((0, 0));
    let terms = PoolTerms {
        included_units: included.unwrap_or(1),
        priority: priority.unwrap_or(PRIORITY_USUAL),
        rollover_min_units,
        rollover_max_units,
        overdraft_units: overdraft_units.unwrap_or(0),
        forgives_debt: !carries_debt.unwrap_or(true),
        soft_limits_bp,
    };
    Some(EntitlementSpec::Credits { terms })
}

/// The least and the most that rolls over.
fn read_rollover(reader: &Reader, entry: Entry<'_>) -> Option<(u64, u64)> {
    let mut fields = reader.fields(entry, "a mapping with `max`")?;
    let number = |entry| reader.whole_number(entry, 0..=UNITS_MAX);
    let max = fields.required("max").and_then(number);
    let min = fields.optional("min").map_or(Some(0), number);
    fields.end();
    Some((min?, max?))
}

/// What a plan gives of a quota: its limits, and who pays if anybody is said to. `None`: who pays is not
/// known, and nothing else is given.
pub(super) fn with_payer(
    reader: &Reader,
    entry: Entry<'_>,
    limits: Vec<PlanLimitSpec>,
    known: &Known<'_>,
) -> Option<EntitlementSpec> {
    let Some((key, node)) = entry.node.get(PAID_BY) else {
        return Some(EntitlementSpec::Quota { limits });
    };
    let payer = reader.text(Entry { name: PAID_BY, owner: key.place, node });
    // One that cannot be read is the one that has a price for it.
    let has_price = |kind: &FeatureKindSpec| match kind {
        FeatureKindSpec::Credits { rate_card, .. } => {
            rate_card.iter().any(|(priced, _)| priced == entry.name)
        }
        _ => false,
    };
    let priced = known.kinds.iter().find(|(_, kind)| has_price(kind));
    let payer = payer.or_else(|| Some((*priced?.0).to_owned()));
    match payer.filter(|payer| !known.unclear.features.contains(payer)) {
        Some(paid_by) => Some(EntitlementSpec::PaidQuota { limits, paid_by }),
        None => (!limits.is_empty()).then_some(EntitlementSpec::Quota { limits }),
    }
}
