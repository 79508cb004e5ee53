//! What the rows of closed windows say that they were measured by, in the model: what was in force in the last
//! millisecond of each, and what so much use came to by that.

use headroom_core::catalog::Policy;

use super::closing::Then;
use super::{Account, Book, Model, Terms};

/// What a closed window was measured by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowTerms {
    /// Included units. `None`: no bound.
    pub included: Option<u128>,
    /// Whether what is above them is billed.
    pub bills: bool,
    /// Billionths of a minor unit for each, the most that the window may cost, and the currency.
    pub price: Option<(u64, Option<u64>, String)>,
    /// The plan in force.
    pub plan: String,
    /// Units of the window before.
    pub carried: u128,
    /// The most that is no debt. `None`: no bound.
    pub ceiling: Option<u128>,
    /// Units that are billed.
    pub overage: u128,
    /// What they cost, in minor units.
    pub cost: Option<u128>,
}

/// A closed window and its terms: the feature, the limit, the start. Buckets have no terms.
pub type TermsRow = (String, String, i64, Option<RowTerms>);

impl RowTerms {
    fn of(terms: &Terms, plan: String, book: &Book) -> RowTerms {
        let bills = terms.policy == Policy::Overage;
        let overage = terms.more.overage.as_ref().filter(|_| bills);
        let used = book.used();
        RowTerms {
            included: terms.included(),
            bills,
            price: overage.map(|o| (o.unit_price_nanos, o.cap_minor, o.currency.to_string())),
            plan,
            carried: book.carried,
            ceiling: terms.ceiling(),
            overage: terms.overage(used),
            cost: overage.and(terms.cost(used)).map(|(minor, _)| minor),
        }
    }

    /// Where nothing was included.
    fn nothing(plan: String, ceiling: Option<u128>, book: &Book) -> RowTerms {
        RowTerms {
            included: Some(0),
            bills: false,
            price: None,
            plan,
            carried: book.carried,
            ceiling,
            overage: 0,
            cost: None,
        }
    }

    /// What of it is rare enough to be looked for.
    pub(crate) fn met(&self) -> &'static [&'static str] {
        match self {
            RowTerms { cost: Some(1..), .. } => &["the terms of a window: a cost", ANY],
            RowTerms { carried: 1.., .. } => &["the terms of a window: carried units", ANY],
            RowTerms { included: Some(0), ceiling: None, .. } => {
                &["the terms of a window: no limit any more", ANY]
            }
            RowTerms { included: None, .. } => &["the terms of a window: unlimited", ANY],
            _ => &[ANY],
        }
    }
}

const ANY: &str = "the terms of a window";

impl Model {
    /// The terms of all windows of an account that have left the memory, or of those of its subjects by path; in
    /// order.
    pub fn closed_terms(&self, id: &str, now: i64) -> Vec<(Option<String>, TermsRow)> {
        let Some(account) = self.accounts.get(id) else { return Vec::new() };
        let account = self.with_charges(account, now);
        let names = std::iter::once(None).chain(account.subjects.keys().cloned().map(Some));
        let mut all = Vec::new();
        for name in names {
            let inner = name.as_ref().map(|name| Model::inner(&account, name));
            let of = inner.as_ref().unwrap_or(&account);
            let closed = of.books.iter().filter(|book| self.is_closed(of, book, now));
            all.extend(closed.map(|book| (name.clone(), self.terms_row(of, book, now))));
        }
        all.sort();
        all
    }

    fn terms_row(&self, account: &Account, book: &Book, now: i64) -> TermsRow {
        let terms = match self.then(account, book, now) {
            Then::Bucket => None,
            Then::Terms(terms, plan) => Some(RowTerms::of(&terms, plan, book)),
            Then::NotGiven(plan) => Some(RowTerms::nothing(plan, Some(0), book)),
            Then::Gone(plan) => Some(RowTerms::nothing(plan, None, book)),
        };
        (book.feature.clone(), book.limit.clone(), book.start, terms)
    }
}
