//! The rows of closed windows as the projection would hold them: whose they are, and what each was measured by.

use std::collections::BTreeMap;

use headroom_core::closing::Ceiling;
use headroom_core::event::Restated;
use headroom_core::subject::SubjectId;
use headroom_engine::digest::usage_row;
use headroom_engine::subjects;

use super::{Met, Player, compare};
use crate::model::{RowTerms, TermsRow};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The account of a row.
fn serial(key: &[u8]) -> Result<u32, String> {
    let serial = key.first_chunk().ok_or("a short key")?;
    Ok(u32::from_be_bytes(*serial))
}

/// What all are called here whose names were forgotten: which of them had several numbers, no row says any more.
pub(super) const ERASED: &str = "erased";

/// A name, or [`ERASED`].
pub(super) fn plain_name(name: &str) -> String {
    if name.starts_with("erased:") { ERASED.to_owned() } else { name.to_owned() }
}

/// The names that numbers have, by account.
pub(super) struct Names(BTreeMap<(u32, SubjectId), String>);

impl Names {
    pub(super) fn of(rows: &Rows) -> Result<Names, String> {
        let mut names = BTreeMap::new();
        for key in rows.keys().filter(|key| subjects::is_name(key)) {
            let (id, name) = subjects::name_row(key).ok_or("a name's row")?;
            names.insert((serial(key)?, id), name);
        }
        Ok(Names(names))
    }

    pub(super) fn of_number(&self, serial: u32, id: SubjectId) -> String {
        self.0.get(&(serial, id)).map_or_else(|| ERASED.to_owned(), String::clone)
    }
}

impl Player {
    /// What closed windows were measured by is what was in force at their ends, also after catalogs, plans and
    /// overrides have changed, and after what came late.
    pub(super) fn compare_terms(&mut self, own: &Rows, of_subjects: &Rows) -> Met {
        let names = Names::of(of_subjects)?;
        let mut all: BTreeMap<u32, Vec<(Option<String>, TermsRow)>> = BTreeMap::new();
        for (key, value) in own {
            let row = usage_row(value).map_err(|error| error.to_string())?;
            if row.stock.is_none() {
                let rows = all.entry(serial(key)?).or_default();
                rows.push((None, self.terms_row(&row.window)?));
            }
        }
        for (key, value) in of_subjects.iter().filter(|(key, _)| subjects::is_window(key)) {
            let row = usage_row(value).map_err(|error| error.to_string())?;
            let id = subjects::window_subject(key).ok_or("a window's row")?;
            let name = names.of_number(serial(key)?, id);
            let rows = all.entry(serial(key)?).or_default();
            rows.push((Some(name), self.terms_row(&row.window)?));
        }
        for (serial, id) in self.engine.account_ids(0, usize::MAX) {
            let mut rows = all.remove(&serial).unwrap_or_default();
            rows.sort();
            let mut expected = self.model.closed_terms(&id, self.now);
            for (whose, _) in &mut expected {
                *whose = whose.as_deref().map(plain_name);
            }
            expected.sort();
            let met = expected.iter().filter_map(|(_, (.., terms))| terms.as_ref());
            for what in met.flat_map(RowTerms::met) {
                self.coverage.note(what);
            }
            if expected.iter().any(|(whose, (.., terms))| whose.is_some() && terms.is_some()) {
                self.coverage.note("the terms of a window of a subject");
            }
            if expected.iter().any(|(_, (.., terms))| terms.is_none()) {
                self.coverage.note("a bucket without terms");
            }
            compare::same_rows(&format!("the terms of the windows of {id}"), &rows, &expected)?;
        }
        Ok(())
    }

    fn terms_row(&self, window: &Restated) -> Result<TermsRow, String> {
        let catalog = self.engine.catalog();
        let text = |id| catalog.text(id).to_owned();
        let terms = match &window.terms {
            None => None,
            Some(terms) => Some(RowTerms {
                included: terms.included_units.map(u128::from),
                bills: terms.bills,
                price: terms.price.as_ref().map(|price| {
                    (price.unit_price_nanos, price.cap_minor, price.currency().to_owned())
                }),
                plan: text(terms.plan),
                carried: terms.carried_units.into(),
                ceiling: match terms.ceiling {
                    Ceiling::Units(units) => Some(units.into()),
                    Ceiling::Unbounded => None,
                    Ceiling::Unknown => return Err("this version knows every ceiling".to_owned()),
                },
                overage: terms.overage_units(window.used).into(),
                cost: terms.cost_minor(window.used).map(u128::from),
            }),
        };
        let closed = &window.closed;
        Ok((text(closed.feature), text(closed.limit), closed.window.start().0, terms))
    }
}
