//! What is foretold: real series, and generated ones of every kind that accounts are.

use super::random::Random;
use crate::error::Error;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// Monday, 6 January 2025: where generated series begin.
const BEGIN_MS: i64 = 1_736_121_600_000;

/// Series of each generated kind.
const SEEDS: u64 = 8;

/// Days of a generated series.
const DAYS: usize = 150;

/// One account's usage.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// The kind, as in the report.
    pub kind: &'static str,
    /// Whether somebody really used it.
    pub real: bool,
    /// When it begins.
    pub begin_ms: i64,
    /// What one entry covers.
    pub step_ms: i64,
    /// Units.
    pub units: Vec<u64>,
    /// When another plan began.
    pub changed_ms: Option<i64>,
    /// Lengths of the windows that it is asked about, in days.
    pub windows: &'static [i64],
}

const PAGE_VIEWS: &str = include_str!("../../data/wikipedia-daily/peyton_manning_log_views.csv");
const TRACE: &str = include_str!("../../data/azure-llm-2023/code.csv");

/// All of them.
pub(super) fn all() -> Result<Vec<Series>, Error> {
    let mut all = vec![page_views()?];
    all.extend(trace()?);
    let kinds: [(&'static str, MakeShape); 8] = [
        ("weekly rhythm", weekly),
        ("even", even),
        ("growing", growing),
        ("bursts", bursts),
        ("drifting", drifting),
        ("idle on most days", idle),
        ("another plan", another_plan),
        ("leaving", leaving),
    ];
    for (number, (kind, shape)) in kinds.into_iter().enumerate() {
        for seed in 0..SEEDS {
            let mut random = Random::new(number as u64 * 1000 + seed);
            all.push(generate(kind, &shape(&mut random), &mut random));
        }
    }
    Ok(all)
}

/// Daily views of a page, 2007 to 2016; days that are missing were not observed, and count as the day
/// before.
fn page_views() -> Result<Series, Error> {
    let broken = |line: &str| Error::WrongAnswer(format!("page views: no row: {line}"));
    let mut units: Vec<u64> = Vec::new();
    let mut begin_day = None;
    for line in PAGE_VIEWS.lines().skip(1).filter(|line| !line.is_empty()) {
        let (date, log) = line.split_once(',').ok_or_else(|| broken(line))?;
        let day = day_of(date.trim_matches('"')).ok_or_else(|| broken(line))?;
        let log: f64 = log.parse().map_err(|_| broken(line))?;
        let begin = *begin_day.get_or_insert(day);
        let last = units.last().copied().unwrap_or(0);
        let place = usize::try_from(day - begin).map_err(|_| broken(line))?;
        while units.len() < place {
            units.push(last);
        }
        units.push(whole(log.exp()));
    }
    Ok(Series {
        kind: "page views",
        real: true,
        begin_ms: begin_day.unwrap_or(0) * DAY_MS,
        step_ms: DAY_MS,
        units,
        changed_ms: None,
        windows: &[30, 7],
    })
}

/// Days since the epoch of a date of the calendar (Hinnant's algorithm).
fn day_of(date: &str) -> Option<i64> {
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// An hour of LLM traffic, as accounts and in slow motion: each second stands for an hour. Rows are
/// given to 12 accounts by a seeded skewed draw.
fn trace() -> Result<Vec<Series>, Error> {
    const ACCOUNTS: usize = 12;
    let broken = |line: &str| Error::WrongAnswer(format!("trace: no row: {line}"));
    let mut random = Random::new(2023);
    let mut accounts = vec![vec![0u64; 3600]; ACCOUNTS];
    let mut begin = None;
    for line in TRACE.lines().skip(1).filter(|line| !line.is_empty()) {
        let mut cells = line.split(',');
        let second = cells.next().and_then(second_of_day).ok_or_else(|| broken(line))?;
        let mut tokens = 0;
        for cell in cells {
            tokens += cell.trim().parse::<u64>().map_err(|_| broken(line))?;
        }
        let begin = *begin.get_or_insert(second);
        // Squared, so that the first account has many times what the last one has.
        let account = whole(random.part().powi(2) * ACCOUNTS as f64);
        let account = usize::try_from(account).unwrap_or(0).min(ACCOUNTS - 1);
        let hour = usize::try_from(second - begin).unwrap_or(0).min(3599);
        accounts[account][hour] += tokens;
    }
    let series = accounts.into_iter().map(|units| Series {
        kind: "LLM trace",
        real: true,
        begin_ms: BEGIN_MS,
        step_ms: HOUR_MS,
        units,
        changed_ms: None,
        windows: &[30, 7, 1],
    });
    Ok(series.collect())
}

fn second_of_day(time: &str) -> Option<i64> {
    let (_, clock) = time.split_once(' ')?;
    let mut parts = clock.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds: i64 = parts.next()?.split('.').next()?.parse().ok()?;
    Some(hours * 3600 + minutes * 60 + seconds)
}

/// Draws what one account of a kind is like.
type MakeShape = fn(&mut Random) -> Shape;

/// What a generated account is like.
struct Shape {
    /// Units of a mean hour.
    level: f64,
    /// What a weekend day has of a working day.
    weekend: f64,
    /// What the night has of the day.
    night: f64,
    /// Growth per day, a part of the level.
    growth: f64,
    /// Deviation of the level's random walk, per day.
    drift: f64,
    /// Deviation of a day, and of an hour.
    noise: (f64, f64),
    /// Probability that a burst begins on a day, and how many times the usual it is.
    burst: (f64, f64),
    /// Probability of a day without any use.
    idle: f64,
    /// The day of another plan, and how many times the usage is from then on.
    change: Option<(usize, f64)>,
    /// Whether the change is told.
    told: bool,
}

impl Shape {
    fn plain(random: &mut Random) -> Shape {
        Shape {
            level: random.between(2.0, 9.0).exp(),
            weekend: random.between(0.1, 0.6),
            night: random.between(0.05, 0.5),
            growth: 0.0,
            drift: 0.01,
            noise: (random.between(0.1, 0.3), random.between(0.2, 0.8)),
            burst: (0.0, 1.0),
            idle: 0.0,
            change: None,
            told: false,
        }
    }
}

fn weekly(random: &mut Random) -> Shape {
    Shape::plain(random)
}

fn even(random: &mut Random) -> Shape {
    Shape { weekend: 1.0, night: 1.0, ..Shape::plain(random) }
}

fn growing(random: &mut Random) -> Shape {
    Shape { growth: random.between(0.005, 0.03), ..Shape::plain(random) }
}

fn bursts(random: &mut Random) -> Shape {
    let burst = (random.between(0.03, 0.1), random.between(3.0, 12.0));
    Shape { burst, ..Shape::plain(random) }
}

fn drifting(random: &mut Random) -> Shape {
    Shape { drift: random.between(0.05, 0.12), ..Shape::plain(random) }
}

fn idle(random: &mut Random) -> Shape {
    Shape { idle: random.between(0.6, 0.9), weekend: 1.0, ..Shape::plain(random) }
}

fn another_plan(random: &mut Random) -> Shape {
    let day = 30 + usize::try_from(whole(random.between(0.0, 60.0))).unwrap_or(0);
    Shape { change: Some((day, random.between(1.5, 5.0))), told: true, ..Shape::plain(random) }
}

fn leaving(random: &mut Random) -> Shape {
    let day = 30 + usize::try_from(whole(random.between(0.0, 60.0))).unwrap_or(0);
    Shape { change: Some((day, random.between(0.05, 0.4))), ..Shape::plain(random) }
}

fn generate(kind: &'static str, shape: &Shape, random: &mut Random) -> Series {
    let mut units = Vec::with_capacity(DAYS * 24);
    let (mut level, mut burst_days) = (shape.level, 0);
    for day in 0..DAYS {
        level *= (shape.growth + shape.drift * random.normal()).exp();
        if shape.change.is_some_and(|(on, _)| on == day) {
            level *= shape.change.map_or(1.0, |(_, times)| times);
        }
        if random.chance(shape.burst.0) {
            burst_days = 1 + usize::try_from(whole(random.between(0.0, 3.0))).unwrap_or(0);
        }
        let mut of_day = level * (shape.noise.0 * random.normal()).exp();
        if day % 7 >= 5 {
            of_day *= shape.weekend;
        }
        if burst_days > 0 {
            burst_days -= 1;
            of_day *= shape.burst.1;
        }
        if random.chance(shape.idle) {
            of_day = 0.0;
        }
        for hour in 0..24 {
            let part = if (7..19).contains(&hour) { 1.0 } else { shape.night };
            units.push(whole(of_day * part * (shape.noise.1 * random.normal()).exp()));
        }
    }
    let told = shape.change.filter(|_| shape.told);
    Series {
        kind,
        real: false,
        begin_ms: BEGIN_MS,
        step_ms: HOUR_MS,
        units,
        changed_ms: told.map(|(day, _)| BEGIN_MS + day as i64 * DAY_MS),
        windows: &[30, 7, 1],
    }
}

/// The whole units of an amount that is not negative.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
pub(super) fn whole(amount: f64) -> u64 {
    amount.max(0.0) as u64
}
