//! Allocations and seats in the file. Seats: `kind: seats`, `invitations: 7 days`, and in a plan
//! `{included: 5, soft_limits: [80%]}`. Allocations: `kind: allocation`, `billed_by: average`, and in a plan the same as one
//! limit of a quota, `{included: 10_000, soft_limits: [80%], policy: block}`.

use headroom_core::catalog::{EntitlementSpec, FeatureKindSpec, LEVEL_LIMIT, PlanLimitSpec};
use headroom_core::stock::BilledBy;
use headroom_core::window::WindowRule;

use super::given::{read_included, read_plan_limit, read_soft_limits};
use super::policy::read_span_ms;
use super::spans::read_window;
use super::{Entry, Fields, Reader};

/// How long an invitation holds a seat when the catalog does not say: a week is time to answer a
/// message, and nobody waits longer for a seat that is not used. Milliseconds: 7 days.
const DEFAULT_INVITED_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What an allocation is measured by when the catalog does not say. The average charges for what there
/// was for as long as it was there.
const DEFAULT_BILLED_BY: BilledBy = BilledBy::Average;

pub(super) fn read_allocation(reader: &Reader, fields: &mut Fields<'_, '_>) -> FeatureKindSpec {
    let words = BilledBy::ALL.map(|billed_by| (billed_by.as_str(), billed_by));
    let billed_by = fields.optional("billed_by").and_then(|entry| reader.word(entry, &words));
    let window = fields.optional("window").and_then(|entry| read_window(reader, entry));
    fields.misplaced("limits", "an allocation has no `limits`, only a quota has");
    FeatureKindSpec::Allocation {
        billed_by: billed_by.unwrap_or(DEFAULT_BILLED_BY),
        window: window.unwrap_or(WindowRule::Billing { months: 1 }),
    }
}

pub(super) fn read_level(reader: &Reader, entry: Entry<'_>) -> Option<EntitlementSpec> {
    let limit = read_plan_limit(reader, entry, false)?;
    let limit = PlanLimitSpec { limit: LEVEL_LIMIT.to_owned(), ..limit };
    Some(EntitlementSpec::Allocation { limit })
}

pub(super) fn read_seats(reader: &Reader, fields: &mut Fields<'_, '_>) -> FeatureKindSpec {
    let invited_ms = fields.optional("invitations").and_then(|entry| read_span_ms(reader, entry));
    for key in ["limits", "scale"] {
        fields.misplaced(key, &format!("seats have no `{key}`, only a quota has"));
    }
    FeatureKindSpec::Seats { invited_ms: invited_ms.unwrap_or(DEFAULT_INVITED_MS) }
}

pub(super) fn read_seats_given(reader: &Reader, entry: Entry<'_>) -> Option<EntitlementSpec> {
    let mut fields = reader.fields(entry, "a mapping with `included`")?;
    let included = fields.required("included").and_then(|entry| read_included(reader, entry));
    let soft_limits = fields.optional("soft_limits");
    fields.end();
    let soft_limits_bp = read_soft_limits(reader, soft_limits);
    // One that cannot be read leaves the rest to be checked.
    let included_units = included.unwrap_or(Some(1));
    Some(EntitlementSpec::Seats { included_units, soft_limits_bp })
}
