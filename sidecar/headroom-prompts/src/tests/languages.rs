//! The same prompt in several languages, for several people.

use headroom_core::catalog::{CatalogSpec, Price, PricePeriod, Scenario};
use headroom_core::prompt::{Texts, VariantSpec};
use jiff::Timestamp;

use super::*;

static TOKYO: std::sync::LazyLock<TimeZone> =
    std::sync::LazyLock::new(|| TimeZone::get("Asia/Tokyo").unwrap());

fn at(text: &str) -> Millis {
    Millis(text.parse::<Timestamp>().unwrap().as_millisecond())
}

fn texts(title: &str, message: &str) -> Texts {
    let text = |text: &str| Some(text.to_owned());
    Texts {
        title: text(title),
        message: text(message),
        call_to_action: text("C"),
        ..Texts::default()
    }
}

/// A catalog whose prompt says `message` in a language, and the same in the catalog's own.
fn said_in(language: &str, own: &str, message: &str) -> CatalogSpec {
    let mut spec = spec(Scenario::NearLimit, own);
    spec.prompting.languages = vec![language.to_owned()];
    spec.prompts[0].languages = vec![(language.to_owned(), texts("Titel", message))];
    spec
}

#[track_caller]
fn check_said(language: &str, message: &str, facts: &Facts<'_>, expected: &str) {
    let spec = said_in(language, "M", message);
    let renderer = Renderer::compile(&spec).unwrap();
    let wording = Wording { language: Some(language), ..Wording::default() };
    let rendered = renderer.render(0, wording, facts).unwrap();
    assert_eq!(rendered.message.replace(['\u{a0}', '\u{202f}'], "_"), expected, "{language}");
}

#[test]
fn numbers_money_and_dates_are_written_as_in_each_language() {
    let all = "{{ used }}; {{ offer_price }}; {{ window_end }}; {{ window_end_time }}";
    let check = |language, expected| check_said(language, all, &facts(), expected);
    check("en-US", "809,999; USD_49.00; June 1; 2:00_PM UTC");
    check("en", "809,999; USD_49.00; June 1; 2:00_PM UTC");
    check("de", "809.999; 49,00_USD; 1. Juni; 14:00 UTC");
    check("de-AT", "809_999; USD_49,00; 1. Juni; 14:00 UTC");
    check("de-CH", "809'999; USD_49.00; 1. Juni; 14:00 UTC");
    check("fr", "809_999; 49,00_USD; 1 juin; 14:00 UTC");
    check("pl", "809_999; 49,00_USD; 1 czerwca; 14:00 UTC");
    check("pt-BR", "809.999; USD_49,00; 1 de junho; 14:00 UTC");
    check("ja", "809,999; USD_49.00; 6月1日; 14:00 UTC");
    check("hi", "8,09,999; USD_49.00; 1 जून; 2:00 pm UTC");
}

#[test]
fn the_words_around_a_date_are_those_of_the_language() {
    let message = "{{ window_end_when }}, {{ offer_price }} / {{ offer_per }}";
    check_said("de", message, &facts(), "am 1. Juni, 49,00_USD / Monat");
    check_said("fr", message, &facts(), "le 1 juin, 49,00_USD / mois");
    let soon = Facts { now: at("2026-06-01T09:30:00Z"), ..facts() };
    check_said("de", "{{ window_end_when }}", &soon, "um 14:00 UTC");
    // A time that comes before this one's on the clock would be read as one that is past.
    let eve = Facts { now: at("2026-05-31T15:00:00Z"), ..facts() };
    check_said("de", "{{ window_end_when }}", &eve, "am 1. Juni");
    let night = Facts { now: at("2026-06-01T02:01:00Z"), ..facts() };
    check_said("de", "{{ window_end_when }}", &night, "um 14:00 UTC");
    let evening = Facts { now: at("2026-05-31T23:00:00Z"), zone: &TOKYO, ..facts() };
    check_said("de", "{{ window_end_when }}", &evening, "um 23:00 JST");
    // Another year is said.
    let early = Facts { now: at("2025-12-01T00:00:00Z"), ..facts() };
    check_said("de", "{{ window_end }}", &early, "1. Juni 2026");
    let problems = check(&said_in("pl", "M", "{{ window_end_when }}"));
    assert_eq!(
        problems[0].message,
        "`window_end_when` is absent: there are no such words in `pl`, so write them yourself"
    );
    assert_eq!(problems[0].path.join("/"), "prompts/0/languages/pl/message");
}

#[test]
fn a_number_takes_its_plural() {
    let message = "{{ used|plural(one='token', other='tokens') }}";
    let with = |used_units, language: &str, message: &str, expected: &str| {
        let limit = LimitFacts { used_units, ..facts().limit.unwrap() };
        check_said(language, message, &Facts { limit: Some(limit), ..facts() }, expected);
    };
    with(1, "en", message, "token");
    with(0, "en", message, "tokens");
    with(0, "fr", "{{ used|plural(one='jeton', many='de jetons', other='jetons') }}", "jeton");
    let polish =
        "{{ used }} {{ used|plural(one='plik', few='pliki', many='plików', other='pliku') }}";
    with(1, "pl", polish, "1 plik");
    with(2, "pl", polish, "2 pliki");
    with(5, "pl", polish, "5 plików");
    with(22, "pl", polish, "22 pliki");
    with(1_000_000, "pl", polish, "1_000_000 plików");
    let problems = check(&said_in("pl", "M", "{{ used|plural(one='plik', other='pliku') }}"));
    assert_eq!(
        problems[0].message,
        "the template fails: missing argument: `plural` has no form `few`, which `pl` needs"
    );
}

#[test]
fn facts_of_the_account_are_written_as_money_and_dates_too() {
    let own = [
        ("renews".to_owned(), "\"2027-03-01\"".to_owned()),
        ("saved".to_owned(), "1234567".to_owned()),
        ("seats".to_owned(), "12500".to_owned()),
        ("since".to_owned(), "\"2024-02-29T23:00:00Z\"".to_owned()),
    ];
    let facts = Facts { account_facts: &own, ..facts() };
    let message = "{{ facts.renews|date }} {{ facts.since|date }} {{ facts.saved|money('EUR') }} \
                   {{ facts.seats|grouped }} {{ facts.seats|plural(one='x', other='Plätze') }} \
                   {{ facts.nobody|date }}";
    check_said("de", message, &facts, "1. März 2027 29. Februar 2024 12.345,67_EUR 12.500 Plätze");
}

#[test]
fn a_language_falls_back_to_the_nearest_and_then_to_the_catalogs_own() {
    let mut spec = said_in("de", "own", "deutsch");
    spec.prompting.languages.push("de-AT".into());
    spec.prompts[0].languages.push((
        "de-AT".into(),
        Texts { message: Some("österreichisch {{ used }}".into()), ..Texts::default() },
    ));
    let renderer = Renderer::compile(&spec).unwrap();
    let said = |locale: &str| {
        let language = spec.prompting.language_for(locale);
        let rendered = renderer.render(0, Wording { language, variant: None }, &facts()).unwrap();
        (rendered.title, rendered.message.replace('\u{a0}', " "), rendered.url)
    };
    let url = "https://x.test/up?account=acme".to_owned();
    let expect = |title: &str, message: &str| (title.to_owned(), message.to_owned(), url.clone());
    assert_eq!(said("de-AT"), expect("Titel", "österreichisch 809 999"));
    assert_eq!(said("de_at"), expect("Titel", "österreichisch 809 999"));
    assert_eq!(said("de-DE"), expect("Titel", "deutsch"));
    assert_eq!(said("de-AT-1996"), expect("Titel", "österreichisch 809 999"));
    for other in ["en-GB", "en-US", "fr", "", "-", "nonsense", "dee"] {
        assert_eq!(said(other), expect("T", "own"), "{other}");
    }
}

#[test]
fn a_translation_that_leaves_out_a_fact_is_refused() {
    let own = "{{ used }} {{ unit }} until {{ window_end_when }}: {{ facts.goal }}";
    let problems = check(&said_in("de", own, "{{ used }} bis {{ window_end }}"));
    assert_eq!(problems[0].message, "it leaves out `facts.goal`, which the text in `en-GB` says");
    assert_eq!(problems[0].path.join("/"), "prompts/0/languages/de/message");
    assert_eq!(check(&said_in("de", own, "{{ facts.goal }}, {{ used }} bis {{ window_end }}")), []);
}

#[test]
fn a_variant_says_its_own_words_and_the_prompts_for_the_rest() {
    let mut spec = said_in("de", "own", "deutsch");
    let only_title = |title: &str| Texts { title: Some(title.into()), ..Texts::default() };
    spec.prompts[0].variants = vec![VariantSpec {
        variant: "bold".into(),
        share_bp: 5_000,
        texts: only_title("Now!"),
        languages: vec![("de".into(), only_title("Jetzt!"))],
    }];
    let renderer = Renderer::compile(&spec).unwrap();
    let said = |variant, language| {
        let rendered = renderer.render(0, Wording { variant, language }, &facts()).unwrap();
        format!("{} {}", rendered.title, rendered.message)
    };
    assert_eq!(said(None, None), "T own");
    assert_eq!(said(Some(0), None), "Now! own");
    assert_eq!(said(None, Some("de")), "Titel deutsch");
    assert_eq!(said(Some(0), Some("de")), "Jetzt! deutsch");
}

#[test]
fn the_long_form_is_there_only_with_all_of_its_facts() {
    let mut spec = spec(Scenario::NearLimit, "M");
    let names = ["reason", "goal", "done", "brought", "next.step"];
    let steps = names.map(|name| format!("You: {{{{ facts.{name} }}}}")).to_vec();
    spec.prompts[0].texts.steps = steps;
    let renderer = Renderer::compile(&spec).unwrap();
    let json = |text: &str| format!("{text:?}");
    let mut own: Vec<(String, String)> =
        names[..4].iter().map(|name| ((*name).to_owned(), json(&format!("the {name}")))).collect();
    own.push(("next".to_owned(), r#"{"step": "more"}"#.to_owned()));
    let told = |own: &[(String, String)]| {
        let facts = Facts { account_facts: own, ..facts() };
        renderer.render(0, Wording::default(), &facts).unwrap().steps
    };
    let expected = ["the reason", "the goal", "the done", "the brought", "more"];
    assert_eq!(told(&own), expected.map(|step| format!("You: {step}")));
    for missing in 0..5 {
        let mut known = own.clone();
        known.remove(missing);
        assert_eq!(told(&known), [""; 0]);
        let mut empty = own.clone();
        empty[missing].1 = if missing == 4 { "{}".into() } else { "\"  \"".into() };
        assert_eq!(told(&empty), [""; 0]);
    }
    spec.prompts[0].texts.steps[2] = "{{ used }} tokens".into();
    assert_eq!(
        check(&spec)[0].message,
        "a step is about a fact of the account, as `{{ facts.goal }}`"
    );
}

#[test]
fn what_an_upgrade_costs_today_is_said_where_it_can_be() {
    // 15 of the 31 days of the period are left; the offer costs 49 dollars a month.
    let now = facts().now;
    let anchor = now.plus(-15 * 86_400_000);
    let message = "{% if offer_due_today %}{{ offer_due_today }} today{% endif %}.";
    let said = |paid: Option<&Price>| {
        let facts = Facts { paid, anchor, ..facts() };
        let rendered = render(message, &facts);
        (rendered.message.replace('\u{a0}', " "), rendered.due_today.map(|due| due.minor()))
    };
    let days = 30; // 30 April to 30 May.
    let rest = 4_900 - 4_900 * 15 / days;
    assert_eq!(said(None), ("USD 24.50 today.".to_owned(), Some(rest)));
    let paid = Price { minor: 900, currency: "USD".into(), per: PricePeriod::Month };
    assert_eq!(said(Some(&paid)), ("USD 20.00 today.".to_owned(), Some(rest - 450)));
    let euro = Price { currency: "EUR".into(), ..paid };
    assert_eq!(said(Some(&euro)), (".".to_owned(), None));
    let problems = check(&spec(Scenario::NearLimit, "{{ offer_due_today }}"));
    assert!(problems[0].message.starts_with("`offer_due_today` can be absent"), "{problems:?}");
}

#[test]
fn a_trial_says_when_it_ends() {
    let spec = spec(
        Scenario::TrialEnding,
        "{{ trial_days }} {{ trial_days|plural(one='day', other='days') }}, {{ trial_end_when }}.",
    );
    let renderer = Renderer::compile(&spec).unwrap();
    let facts = Facts { trial_ends_at: Some(facts().now.plus(30 * 3_600_000)), ..facts() };
    let rendered = renderer.render(0, Wording::default(), &facts).unwrap();
    assert_eq!(rendered.message, "2 days, on 16 May.");
}
