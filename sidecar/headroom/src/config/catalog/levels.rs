//! Allocations in the file: `kind: allocation`, `billed_by: average`, and in a plan the same as one
//! limit of a quota, `{included: 10_000, soft_limits: [80%], policy: block}`.

use headroom_core::catalog::{EntitlementSpec, FeatureKindSpec, LEVEL_LIMIT, PlanLimitSpec};
use headroom_core::stock::BilledBy;
use headroom_core::window::WindowRule;

use super::{Entry, Fields, Reader, read_plan_limit, read_window};

/// What an allocation is measured by when the catalog does not say. The average charges for what there
/// was for as long as it was there.
const DEFAULT_BILLED_BY: BilledBy = BilledBy::Average;

pub(super) fn read_allocation(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
) -> Option<FeatureKindSpec> {
    let words = BilledBy::ALL.map(|billed_by| (billed_by.as_str(), billed_by));
    let billed_by = fields.optional("billed_by").map(|entry| reader.word(entry, &words));
    let window = fields.optional("window").map(|entry| read_window(reader, entry));
    fields.misplaced("limits", "an allocation has no `limits`, only a quota has");
    // A key that is not there is one thing, a value that cannot be read another.
    Some(FeatureKindSpec::Allocation {
        billed_by: billed_by.unwrap_or(Some(DEFAULT_BILLED_BY))?,
        window: window.unwrap_or(Some(WindowRule::Billing { months: 1 }))?,
    })
}

pub(super) fn read_level(reader: &Reader, entry: Entry<'_>) -> Option<EntitlementSpec> {
    let limit = read_plan_limit(reader, entry)?;
    let limit = PlanLimitSpec { limit: LEVEL_LIMIT.to_owned(), ..limit };
    Some(EntitlementSpec::Allocation { limit })
}
