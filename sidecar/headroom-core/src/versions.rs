//! Versions of a plan: an account stays on the one it bought until it is moved.
//!
//! A version is a plan of its own with a number of its own, the number of the text `team@2`; version 1
//! is `team`, so that a plan that never had versions, and every account on it, is version 1. No name may
//! have an `@`, so the texts cannot clash. So nothing else needs to know of versions: what remembers a
//! plan remembers its version.

use std::collections::BTreeMap;

use crate::catalog::{Plan, PlanIx};
use crate::names::NameId;

/// The text of a plan's name and version.
pub fn join(plan: &str, version: u32) -> String {
    if version == 1 { plan.to_owned() } else { format!("{plan}@{version}") }
}

/// The name and the version of a text; a text without a version is version 1.
pub fn split(text: &str) -> (&str, u32) {
    explicit(text).unwrap_or((text, 1))
}

/// The one text for a name and a version: `team@1` is `team`.
pub(crate) fn canonical(text: &str) -> String {
    let (plan, version) = split(text);
    join(plan, version)
}

/// The name and the version, if the text says one.
pub(crate) fn explicit(text: &str) -> Option<(&str, u32)> {
    let (plan, digits) = text.split_once('@')?;
    let is_number = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    Some((plan, digits.parse().ok().filter(|_| is_number)?))
}

/// The highest version of each name.
pub(crate) fn sold<'a>(all: impl Iterator<Item = (&'a str, u32)>) -> BTreeMap<&'a str, u32> {
    let mut sold: BTreeMap<&str, u32> = BTreeMap::new();
    for (plan, version) in all {
        let known = sold.entry(plan).or_insert(version);
        *known = version.max(*known);
    }
    sold
}

/// Puts the plans that are sold before the versions that are not any more; otherwise the order stays.
pub(crate) fn put_sold_first(plans: Vec<Plan>) -> Vec<Plan> {
    let is_sold: Vec<bool> = {
        let sold = sold(plans.iter().map(|plan| (&*plan.plan, plan.version)));
        plans.iter().map(|plan| sold.get(&*plan.plan) == Some(&plan.version)).collect()
    };
    let (mut first, mut last) = (Vec::with_capacity(plans.len()), Vec::new());
    for (plan, is_sold) in plans.into_iter().zip(is_sold) {
        if is_sold { first.push(plan) } else { last.push(plan) }
    }
    first.append(&mut last);
    first
}

/// The place of the plan of a name, or of a name and a version. Those that are sold come first.
pub(crate) fn find(plans: &[Plan], text: &str) -> Option<usize> {
    match explicit(text) {
        None => plans.iter().position(|known| &*known.plan == text),
        Some((plan, version)) => {
            plans.iter().position(|known| &*known.plan == plan && known.version == version)
        }
    }
}

/// The numbers of all versions of these plans; of a text with a version, that one.
pub(crate) fn all_of(plans: &[Plan], texts: &[String]) -> Vec<NameId> {
    let is_meant = |known: &Plan| {
        texts.iter().any(|text| match explicit(text) {
            None => *known.plan == **text,
            Some((plan, version)) => &*known.plan == plan && known.version == version,
        })
    };
    plans.iter().filter(|known| is_meant(known)).map(|known| known.id).collect()
}

/// Which version an account gets that is put on a plan: the one that is named, or the one it is on
/// already, or the one that is sold. So a subscription that is told again with another add-on does not
/// move anybody.
pub fn bought(plans: &[Plan], text: &str, before: Option<NameId>) -> Option<PlanIx> {
    if explicit(text).is_none()
        && let Some(kept) = plans.iter().position(|p| Some(p.id) == before && &*p.plan == text)
    {
        return Some(PlanIx(kept));
    }
    find(plans, text).map(PlanIx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_name_and_perhaps_a_version() {
        for (text, plan, version) in
            [("team", "team", 1), ("team@2", "team", 2), ("team@1", "team", 1)]
        {
            assert_eq!(split(text), (plan, version));
        }
        for odd in ["team@", "team@x", "team@+2", "team@02", "team@0", "team@99999999999", "a@2@3"]
        {
            assert_eq!(split(odd), (odd, 1), "{odd}");
        }
        assert_eq!((join("team", 1), join("team", 7)), ("team".to_owned(), "team@7".to_owned()));
        assert_eq!(canonical("team@1"), "team");
    }
}
