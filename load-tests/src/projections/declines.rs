//! How often usage is told to fall: of whoever leaves it should be, and of others seldom.

use headroom_forecast::{History, trend};

use super::series::{DAY_MS, Series};

/// A fall of so many thousandths is told of: the default of the rule.
const FALL_PERMILLE: i64 = -300;

/// Days for which it must not be so before it is told again: the default of the rule.
const CALM_DAYS: i64 = 14;

/// Days of a quarter.
const QUARTER_DAYS: f64 = 91.0;

/// What was told of one kind of series.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Row {
    /// Of which series.
    pub of: &'static str,
    /// How many there are.
    pub series: usize,
    /// Of how many a fall was told at all.
    pub told_of: usize,
    /// How often it was told, per series and quarter in which it could be.
    pub per_quarter: f64,
}

/// What is told of all series, by kind.
pub(super) fn rows(series: &[Series]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut days = Vec::new();
    for one in series {
        let place = rows.iter().position(|row| row.of == one.kind).unwrap_or_else(|| {
            rows.push(Row { of: one.kind, ..Row::default() });
            days.push((0, 0));
            rows.len() - 1
        });
        let (told, known) = told(one);
        rows[place].series += 1;
        rows[place].told_of += usize::from(told > 0);
        days[place] = (days[place].0 + told, days[place].1 + known);
    }
    for (row, (told, known)) in rows.iter_mut().zip(days) {
        row.per_quarter = f64::from(told) / (f64::from(known) / QUARTER_DAYS).max(1.0);
    }
    rows
}

/// How often a fall is told of a series that is looked at once a day, and on how many days one could be.
fn told(series: &Series) -> (u32, u32) {
    let mut history = History::new(series.begin_ms);
    let (mut count, mut known, mut looked_on) = (0, 0, i64::MIN);
    let mut falls_since = None;
    for (units, step) in series.units.iter().zip(1..) {
        let now_ms = series.begin_ms + step * series.step_ms;
        history.observe(now_ms, *units);
        let today = now_ms.div_euclid(DAY_MS);
        if today == looked_on {
            continue;
        }
        looked_on = today;
        let Some(trend) = trend(&history) else { continue };
        known += 1;
        if trend.change_permille <= FALL_PERMILLE {
            count += u32::from(falls_since.is_none_or(|day| today - day > CALM_DAYS));
            falls_since = Some(today);
        }
    }
    (count, known)
}
