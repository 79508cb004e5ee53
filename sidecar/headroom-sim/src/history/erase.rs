//! Whose name is forgotten.

use super::{History, Step};
use crate::model::Model;

impl History {
    pub(super) fn erase(&mut self, model: &Model, account: String) -> Step {
        if self.rng.percent(15) {
            let member = format!("m{}", self.rng.below(7));
            return Step::EraseMember { account, member };
        }
        let known = model.subject_names(&account);
        let subject = match known.is_empty() || self.rng.percent(25) {
            true => self.subject(),
            false => self.rng.pick(&known).clone(),
        };
        Step::Erase { account, subject }
    }
}
