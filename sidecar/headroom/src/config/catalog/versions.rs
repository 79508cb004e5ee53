//! Versions of a plan, and the migrations between one catalog and the next, as the file says them.

use headroom_core::catalog::PlanSpec;
use headroom_core::change::OnChange;
use headroom_core::migrate::Migration;

use super::given::{Known, read_entitlements};
use super::read_price;
use crate::config::problems::Problem;
use crate::config::reader::{Entry, Reader};

/// Highest version of a plan: one a week for two thousand years.
const VERSION_MAX: u64 = 99_999;

const LINE: &str = "`{rename_feature: …, to: …}`, `{drop_feature: …}`, `{drop_limit: …, of: …}`, \
                    `{change_kind: …, to: …}`, `{end_lifetime: …, of: …}`, `{move_plan: …, to: …}` or \
                    `{drop_addon: …}`";

/// A plan, and after it the versions of it that are not sold any more.
pub(super) fn read_plan(
    reader: &Reader,
    entry: Entry<'_>,
    known: &Known<'_>,
    plans: &mut Vec<PlanSpec>,
) {
    let mut plan = PlanSpec {
        plan: entry.name.to_owned(),
        version: 1,
        name: entry.name.to_owned(),
        price: None,
        entitlements: vec![],
    };
    let Some(mut fields) = reader.fields(entry, "a mapping with `name` and `entitlements`") else {
        plans.push(plan);
        return;
    };
    if let Some(name) = fields.required("name").and_then(|entry| reader.text(entry)) {
        plan.name = name;
    }
    plan.price = fields.optional("price").and_then(|entry| read_price(reader, entry));
    let entitlements = fields.required("entitlements");
    let version = fields.optional("version");
    let versions = fields.optional("versions");
    fields.end();
    let is_numbered = version.is_some();
    let version = version.and_then(|entry| reader.whole_number(entry, 1..=VERSION_MAX));
    // One that cannot be read leaves all others below it.
    let stand_in = if versions.is_some() { VERSION_MAX } else { 1 };
    plan.version = u32::try_from(version.unwrap_or(stand_in)).unwrap_or(1);
    plan.entitlements = read_entitlements(reader, entitlements, known);
    let (sold, name) = (plan.version, plan.name.clone());
    plans.push(plan);
    let Some(entry_of_all) = versions else { return };
    if !is_numbered {
        let message = "`versions` are the ones before the version that is sold: say which that is with `version`";
        reader.note(Problem::at(entry_of_all.place(), message));
    }
    let what = "a mapping from numbers to what the plan was in that version";
    for (key, node) in reader.map(entry_of_all, what).unwrap_or_default() {
        let number: Option<u32> = key.text.parse().ok().filter(|n| (1..sold).contains(n));
        let Some(version) = number else {
            let message = match key.text.parse::<u32>() {
                Ok(_) => format!("`{}` must be below the version that is sold, {sold}", key.text),
                Err(_) => format!("`{}` is not the number of a version", key.text),
            };
            reader.note(Problem::at(key.place, message));
            continue;
        };
        let within = Entry { name: entry.name, owner: key.place, node };
        let older = PlanSpec {
            plan: entry.name.to_owned(),
            version,
            name: name.clone(),
            price: None,
            entitlements: vec![],
        };
        plans.push(read_version(reader, within, known, older));
    }
}

fn read_version(
    reader: &Reader,
    entry: Entry<'_>,
    known: &Known<'_>,
    mut plan: PlanSpec,
) -> PlanSpec {
    let Some(mut fields) = reader.fields(entry, "a mapping with `entitlements`") else {
        return plan;
    };
    if let Some(name) = fields.optional("name").and_then(|entry| reader.text(entry)) {
        plan.name = name;
    }
    plan.price = fields.optional("price").and_then(|entry| read_price(reader, entry));
    let entitlements = fields.required("entitlements");
    fields.end();
    plan.entitlements = read_entitlements(reader, entitlements, known);
    plan
}

/// What becomes of a limit when the plan changes in the middle of its window.
pub(super) fn read_on_change(reader: &Reader, entry: Entry<'_>) -> Option<OnChange> {
    let words = [OnChange::Keep, OnChange::Prorate, OnChange::Reset];
    reader.word(entry, &words.map(|word| (word.as_str(), word)))
}

/// The migrations, in order.
pub(super) fn read_lines(reader: &Reader, entry: Entry<'_>) -> Vec<Migration> {
    let Some(items) = reader.list(entry, "a list of migrations") else { return Vec::new() };
    // A line of which nothing is asked stands in for one that cannot be read.
    let stand_in = || Migration::DropFeature { feature: String::new() };
    let mut is_rename_unclear = false;
    let mut lines: Vec<Migration> = Vec::new();
    for item in items {
        let before = reader.count();
        let line = read_line(reader, item);
        let is_rename = matches!(line, None | Some(Migration::RenameFeature { .. }));
        is_rename_unclear |= is_rename && before < reader.count();
        lines.push(line.unwrap_or_else(stand_in));
    }
    if is_rename_unclear {
        // Where one rename leads, another may go on.
        let is_rename = |line: &&mut Migration| matches!(line, Migration::RenameFeature { .. });
        lines.iter_mut().filter(is_rename).for_each(|line| *line = stand_in());
    }
    lines
}

/// A line; nothing stands in for names that cannot be read. `None`: it is not known which it is.
fn read_line(reader: &Reader, entry: Entry<'_>) -> Option<Migration> {
    const FIRST: [&str; 7] = [
        "rename_feature",
        "drop_feature",
        "drop_limit",
        "change_kind",
        "end_lifetime",
        "move_plan",
        "drop_addon",
    ];
    let mut fields = reader.fields(entry, LINE)?;
    let mut said = FIRST.map(|key| (key, fields.optional(key))).into_iter();
    let mut said = said.by_ref().filter_map(|(key, entry)| Some((key, entry?)));
    let first = said.next();
    let is_one = said.next().is_none();
    let Some((key, what)) = first.filter(|_| is_one) else {
        // Whatever it was to be, its keys are no mistakes.
        let _ = (fields.optional("of"), fields.optional("to"));
        fields.end();
        reader.note_at(entry, format!("a migration is one of {LINE}"));
        return None;
    };
    let second = match key {
        "drop_limit" | "end_lifetime" => fields.required("of"),
        "rename_feature" | "change_kind" | "move_plan" => fields.required("to"),
        _ => None,
    };
    fields.end();
    let what = reader.text(what).unwrap_or_default();
    let second = second.and_then(|entry| reader.text(entry)).unwrap_or_default();
    Some(match key {
        "rename_feature" => Migration::RenameFeature { from: what, to: second },
        "drop_feature" => Migration::DropFeature { feature: what },
        "drop_addon" => Migration::DropAddOn { addon: what },
        "drop_limit" => Migration::DropLimit { limit: what, feature: second },
        "end_lifetime" => Migration::EndLifetime { limit: what, feature: second },
        "change_kind" => Migration::ChangeKind { feature: what, to: second },
        _ => Migration::MovePlan { from: what, to: second },
    })
}
