//! Numbers, money, dates and plurals as a language writes them, by the rules of CLDR.
//!
//! Which rules, and of which language, comes from data that is compiled in: nothing is read. What
//! CLDR has no words for ("on 14 May", "a month") is in a short table for some languages; in all
//! others a text says it itself, and the check refuses a fact that is not there.

use headroom_core::catalog::PricePeriod;
use headroom_core::prompt::fallbacks;
use headroom_core::time::Millis;
use icu_calendar::{Date, Gregorian};
use icu_datetime::fieldsets::{MD, T, YMD};
use icu_datetime::{FixedCalendarDateTimeFormatter, NoCalendarFormatter};
use icu_decimal::DecimalFormatter;
use icu_decimal::input::Decimal;
use icu_locale_core::Locale;
use icu_plurals::{PluralCategory, PluralRules};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::format::minor_digits;

/// Between an amount and its currency, and between a date's parts: a space where no line breaks.
const NO_BREAK: char = '\u{a0}';

/// One language, ready to write.
#[derive(Debug)]
pub(crate) struct Language {
    tag: String,
    decimals: DecimalFormatter,
    plurals: PluralRules,
    day: FixedCalendarDateTimeFormatter<Gregorian, MD>,
    day_of_year: FixedCalendarDateTimeFormatter<Gregorian, YMD>,
    time: NoCalendarFormatter<T>,
    words: Option<&'static Words>,
    currency_is_first: bool,
}

/// What CLDR has no words for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    language: &'static str,
    /// Before a date.
    on: &'static str,
    /// Before a time of the day.
    at: &'static str,
    /// Behind a price and "per".
    month: &'static str,
    year: &'static str,
    unlimited: &'static str,
}

const fn words(
    language: &'static str,
    [on, at, month, year, unlimited]: [&'static str; 5],
) -> Words {
    Words { language, on, at, month, year, unlimited }
}

const WORDS: [Words; 9] = [
    words("en", ["on", "at", "month", "year", "unlimited"]),
    words("de", ["am", "um", "Monat", "Jahr", "unbegrenzt"]),
    words("fr", ["le", "à", "mois", "an", "illimité"]),
    words("es", ["el", "a las", "mes", "año", "ilimitado"]),
    words("pt", ["em", "às", "mês", "ano", "ilimitado"]),
    words("nl", ["op", "om", "maand", "jaar", "onbeperkt"]),
    words("sv", ["den", "kl.", "månad", "år", "obegränsat"]),
    words("da", ["den", "kl.", "måned", "år", "ubegrænset"]),
    words("nb", ["den", "kl.", "måned", "år", "ubegrenset"]),
];

/// Languages that write the currency before the amount, and regions that differ from their
/// language, by CLDR's standard patterns of currencies; all others write it behind. A currency is
/// shown by its code (ISO 4217), which is the same everywhere and never means another dollar.
const CURRENCY_IS_FIRST: [(&str, bool); 30] = [
    ("en", true),
    ("zh", true),
    ("ja", true),
    ("ko", true),
    ("th", true),
    ("hi", true),
    ("id", true),
    ("ms", true),
    ("nl", true),
    ("tr", true),
    ("cy", true),
    ("ga", true),
    ("sw", true),
    ("fil", true),
    ("mr", true),
    ("ta", true),
    ("te", true),
    ("ur", true),
    ("pt", true),
    ("pt-PT", false),
    ("de-AT", true),
    ("de-CH", true),
    ("de-LI", true),
    ("it-CH", true),
    ("es-419", true),
    ("es-MX", true),
    ("es-US", true),
    ("es-AR", true),
    ("es-CO", true),
    ("es-CL", true),
];

impl Language {
    /// A language by its tag. `None`: it is no tag, or none that there is data for.
    pub(crate) fn new(tag: &str) -> Option<Language> {
        let locale: Locale = tag.parse().ok()?;
        let decimals = DecimalFormatter::try_new((&locale).into(), Default::default()).ok()?;
        let plurals = PluralRules::try_new_cardinal((&locale).into()).ok()?;
        let day = FixedCalendarDateTimeFormatter::try_new((&locale).into(), MD::long()).ok()?;
        let day_of_year =
            FixedCalendarDateTimeFormatter::try_new((&locale).into(), YMD::long()).ok()?;
        let time = NoCalendarFormatter::try_new((&locale).into(), T::hm()).ok()?;
        let language = locale.id.language.as_str().to_owned();
        let is_first = |tag: &str| {
            let known = CURRENCY_IS_FIRST.iter().find(|(known, _)| known.eq_ignore_ascii_case(tag));
            known.map(|(_, is_first)| *is_first)
        };
        Some(Language {
            tag: tag.to_owned(),
            decimals,
            plurals,
            day,
            day_of_year,
            time,
            words: WORDS.iter().find(|words| words.language == language),
            currency_is_first: fallbacks(tag).find_map(is_first).unwrap_or(false),
        })
    }

    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether there are words for what CLDR has none for.
    pub(crate) fn has_words(&self) -> bool {
        self.words.is_some()
    }

    /// A whole number with its groups.
    pub(crate) fn number(&self, number: i64) -> String {
        self.decimals.format(&Decimal::from(number)).to_string()
    }

    /// Units as people count them: one is 10^-scale. Zeros at the end of the fraction are left out.
    pub(crate) fn units(&self, units: u64, scale: u8) -> (String, Decimal) {
        let mut decimal = Decimal::from(units);
        decimal.multiply_pow10(-i16::from(scale));
        decimal.trim_end();
        (self.decimals.format(&decimal).to_string(), decimal)
    }

    /// An amount of money: `USD 49.00`, `49,00 EUR`.
    pub(crate) fn money(&self, minor: u64, currency: &str) -> String {
        let mut decimal = Decimal::from(minor);
        decimal.multiply_pow10(-i16::from(minor_digits(currency)));
        let amount = self.decimals.format(&decimal);
        match self.currency_is_first {
            true => format!("{currency}{NO_BREAK}{amount}"),
            false => format!("{amount}{NO_BREAK}{currency}"),
        }
    }

    /// `14 May`, or `14 May 2031` when it is not this year. `None` where the calendar ends.
    pub(crate) fn date(&self, at: Millis, now: Millis, zone: &TimeZone) -> Option<String> {
        let (day, today) = (zoned(at, zone)?.date(), zoned(now, zone)?.date());
        self.day(day, day.year() == today.year())
    }

    /// A day, with its year or without.
    pub(crate) fn day(&self, day: jiff::civil::Date, is_this_year: bool) -> Option<String> {
        let number = |number: i8| u8::try_from(number).ok();
        let (month, of_month) = (number(day.month())?, number(day.day())?);
        let date = Date::try_new_gregorian(i32::from(day.year()), month, of_month).ok()?;
        Some(match is_this_year {
            true => self.day.format(&date).to_string(),
            false => self.day_of_year.format(&date).to_string(),
        })
    }

    /// `on 14 May`, or `at 15:30 UTC` when that is on the same day or less than half a day away: a time
    /// of tomorrow that lies further ahead would be read as one of today. `None` where the calendar ends,
    /// or the language has no such words here.
    pub(crate) fn when(&self, at: Millis, now: Millis, zone: &TimeZone) -> Option<String> {
        const HALF_DAY_MS: i64 = 12 * 60 * 60 * 1000;
        let words = self.words?;
        let is_today = zoned(at, zone)?.date() == zoned(now, zone)?.date();
        if is_today || at.since(now).abs() < HALF_DAY_MS {
            return Some(format!("{} {}", words.at, self.time(at, zone)?));
        }
        Some(format!("{} {}", words.on, self.date(at, now, zone)?))
    }

    /// `15:30 UTC`.
    pub(crate) fn time(&self, at: Millis, zone: &TimeZone) -> Option<String> {
        let local = zoned(at, zone)?;
        let number = |number: i8| u8::try_from(number).ok();
        let (hour, minute) = (number(local.hour())?, number(local.minute())?);
        let time = icu_datetime::input::Time::try_new(hour, minute, 0, 0).ok()?;
        Some(format!("{} {}", self.time.format(&time), local.strftime("%Z")))
    }

    /// The word for a period of a price.
    pub(crate) fn per(&self, per: PricePeriod) -> Option<&'static str> {
        let words = self.words?;
        Some(match per {
            PricePeriod::Month => words.month,
            PricePeriod::Year => words.year,
        })
    }

    /// The word for a limit that is none.
    pub(crate) fn unlimited(&self) -> &'static str {
        self.words.map_or("∞", |words| words.unlimited)
    }

    /// The plural that a number takes.
    pub(crate) fn plural(&self, number: &Decimal) -> &'static str {
        plural_word(self.plurals.category_for(number))
    }

    /// The plurals that there are.
    pub(crate) fn plurals(&self) -> impl Iterator<Item = &'static str> {
        self.plurals.categories().map(plural_word)
    }
}

fn plural_word(category: PluralCategory) -> &'static str {
    match category {
        PluralCategory::Zero => "zero",
        PluralCategory::One => "one",
        PluralCategory::Two => "two",
        PluralCategory::Few => "few",
        PluralCategory::Many => "many",
        PluralCategory::Other => "other",
    }
}

fn zoned(at: Millis, zone: &TimeZone) -> Option<jiff::Zoned> {
    Some(Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone()))
}
