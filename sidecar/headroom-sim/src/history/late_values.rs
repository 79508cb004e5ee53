//! Values that come late to windows that are over: largest and latest ones, and different ones.

use super::History;
use crate::model::{Earlier, Model};

/// Of which feature, for whom, and the value.
type LateValue = (String, Option<String>, Earlier);

impl History {
    /// A value of a window that is over, or of the gap before it. `None`: there is none to come late to.
    pub(super) fn late_value(
        &mut self,
        model: &Model,
        account: &str,
        now: i64,
    ) -> Option<LateValue> {
        let windows = model.windows_of_values(account, now);
        if windows.is_empty() {
            return None;
        }
        let (feature, subject, (start, end)) = self.rng.pick(&windows).clone();
        let occurred_at = match self.rng.below(4) {
            0 => start,
            1 => start - 1 - self.rng.between(0, end - start),
            _ => self.rng.between(start, end - 1),
        };
        let units = self.units(model.drawable(account, &feature, now));
        Some((feature, subject, Earlier::Recorded { units, occurred_at }))
    }
}
