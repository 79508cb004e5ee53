use headroom_expansion::score::{Band, Card, PartTerms, score};
use headroom_expansion::terms::Terms;

use crate::facts;

#[test]
fn the_parts_of_the_default_score_add_up_to_140() {
    let terms = Terms::default();
    assert_eq!(terms.pql.points_max_tenths(), 1_400);
    assert_eq!(terms.opportunity.points_max_tenths(), 100);
    assert_eq!(terms.white_space.points_max_tenths(), 1_000);
    let best = facts(&[
        ("dau_mau_percent", "50"),
        ("features_adopted", "9"),
        ("api_use_percent", "130"),
        ("entitlement_used_percent", "100"),
        ("premium_attempt_days", "5"),
        ("invite_days", "5"),
        ("qbr_participated", "true"),
        ("health_score", "100"),
        ("days_since_login", "0"),
        ("contract_days_left", "180"),
        ("paid_on_time_percent", "100"),
    ]);
    let all = score(&terms.pql, &best);
    assert_eq!((all.points_tenths, all.band.as_str()), (1_400, "critical"));
    assert_eq!(all.missing().count(), 0);
}

#[test]
fn a_missing_fact_gives_nothing_and_is_named() {
    let found =
        score(&Terms::default().pql, &facts(&[("health_score", "75"), ("qbr_participated", "x")]));
    assert_eq!(found.points_tenths, 75, "half the way from 50 to 100 of 15 points");
    assert_eq!(found.missing().count(), 10);
    assert!(found.missing().any(|fact| fact == "qbr_participated"));
    assert_eq!(found.parts.iter().map(|part| part.points_tenths).sum::<u32>(), 75);
}

#[test]
fn every_value_lies_on_the_line_between_none_and_all() {
    let card = |zero_at, full_at| Card {
        parts: vec![PartTerms {
            part: "p".into(),
            group: String::new(),
            fact: "f".into(),
            points_max_tenths: 100,
            zero_at,
            full_at,
        }],
        bands: vec![Band { band: "b".into(), from_tenths: 0, advice: String::new() }],
        least_tenths: 0,
    };
    for (zero_at, full_at) in [(0, 10_000), (10_000, 0), (-5_000, 5_000), (30_000, 1_000)] {
        for value in -40..40 {
            let points = score(&card(zero_at, full_at), &facts(&[("f", &value.to_string())]));
            let way = f64::from(value * 1_000 - i32::try_from(zero_at).unwrap())
                / (i32::try_from(full_at - zero_at).unwrap() as f64);
            let expected = (way.clamp(0.0, 1.0) * 100.0 + 1e-9).floor();
            assert_eq!(f64::from(points.points_tenths), expected, "{value} {zero_at} {full_at}");
        }
    }
}

#[test]
fn bands_begin_where_they_say_and_tenths_do_not_round_up() {
    let terms = Terms::default();
    let band = |tenths: u32| {
        let found = terms.pql.bands.iter().rev().find(|band| band.from_tenths <= tenths);
        found.unwrap().band.as_str()
    };
    for (tenths, expected) in [
        (0, "not_ready"),
        (509, "not_ready"),
        (510, "warm"),
        (809, "warm"),
        (810, "hot"),
        (1_009, "hot"),
        (1_010, "critical"),
    ] {
        assert_eq!(band(tenths), expected);
    }
}

#[test]
fn an_opportunity_is_at_least_1_and_the_mean_of_its_axes() {
    let card = Terms::default().opportunity;
    assert_eq!(score(&card, &facts(&[])).points_tenths, 10);
    let axes = ["revenue_potential", "buyer_access", "usage_growth", "competitive_risk"];
    let mut words: Vec<_> = axes.iter().map(|axis| (*axis, "8")).collect();
    words.push(("strategic_weight", "7"));
    let found = score(&card, &facts(&words));
    assert_eq!((found.points_tenths, found.band.as_str()), (78, "quarterly"));
}
