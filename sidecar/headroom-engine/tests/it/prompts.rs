//! What became of prompts: told by many at once, over restarts, and by whom it may be.

use headroom_core::catalog::{CatalogSpec, PromptSpec, Scenario};
use headroom_core::names::NameId;
use headroom_core::prompt::{Exposure, Outcomes, Told};
use headroom_core::time::Millis;
use headroom_engine::digest::RecordDigest;
use headroom_engine::engine::DecisionId;
use headroom_engine::ports::{Digest, ProjectionOp, Table};
use headroom_engine::prompts::OutcomeError;

use crate::house::{DAY_MS, House, T0, spec};
use crate::races::race;

const ANSWER: DecisionId = DecisionId::Passing(1, 2, 3);

fn prompted() -> CatalogSpec {
    let mut spec = spec(100, Some("free"));
    let mut prompt = PromptSpec::new("near", Scenario::NearLimit);
    (prompt.texts.title, prompt.texts.message) = (Some("T".into()), Some("M".into()));
    spec.prompts = vec![prompt];
    spec
}

fn name(house: &House, text: &str) -> NameId {
    house.engine.catalog().names().get(text).unwrap()
}

/// The id of a prompt that was made for a person.
fn made(house: &House, account: &str, person: &str, at: i64) -> String {
    let names = (name(house, "near"), name(house, "control"), name(house, "en-GB"));
    let person = house.engine.person_number(account, person);
    house.engine.ticket(account, names, person, (Millis(at), ANSWER)).1
}

fn tell(house: &House, account: &str, id: &str, what: Told, at: i64) -> Result<bool, OutcomeError> {
    let catalog = house.engine.catalog();
    let told = house.engine.tell_outcome(&catalog, (account, id), what, Millis(at));
    told.map(|told| told.changed)
}

fn known(house: &House, account: &str) -> Vec<Exposure> {
    house.engine.about(account, Millis(T0)).unwrap().exposures
}

#[test]
fn of_64_threads_that_tell_the_same_one_tells_news() {
    let house = House::of(prompted(), 1_000_000);
    let rounds = race(|_, round| {
        let account = format!("acct{round}");
        tell(&house, &account, &made(&house, &account, "ann", T0), Told::Shown, T0).unwrap()
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(results.iter().filter(|changed| **changed).count(), 1, "round {round}");
        assert_eq!(known(&house, &format!("acct{round}")).len(), 1);
    }
}

#[test]
fn an_id_is_of_its_account_alone() {
    let house = House::of(prompted(), 1_000);
    let id = made(&house, "acme", "ann", T0);
    assert!(tell(&house, "acme", &id, Told::Shown, T0).unwrap());
    let unknown = |account: &str, id: &str| {
        assert_eq!(tell(&house, account, id, Told::Shown, T0), Err(OutcomeError::UnknownPrompt));
    };
    unknown("globex", &id);
    for place in 0..id.len() {
        let mut other = id.clone().into_bytes();
        other[place] = if other[place] == b'1' { b'2' } else { b'1' };
        unknown("acme", &String::from_utf8(other).unwrap());
        unknown("acme", &id[..place]);
    }
    unknown("acme", &format!("{id}0"));
    // Two answers of one instant have two ids.
    let names = (name(&house, "near"), name(&house, "control"), name(&house, "en-GB"));
    let of = |count| {
        house.engine.ticket("acme", names, 0, (Millis(T0), DecisionId::Passing(1, 2, count))).1
    };
    assert_ne!(of(1), of(2));
    assert_eq!(of(1), of(1));
    let late = T0 + 90 * DAY_MS;
    assert_eq!(tell(&house, "acme", &id, Told::Clicked, late), Err(OutcomeError::TooOld));
    assert!(tell(&house, "acme", &id, Told::Clicked, late - 1).unwrap());
    // Persons of one name are others in another account, and nobody is nobody.
    let number = |account: &str, person: &str| house.engine.person_number(account, person);
    assert_ne!(number("acme", "ann"), number("globex", "ann"));
    assert_eq!((number("acme", ""), number("acme", "ann") == 0), (0, false));
}

#[test]
fn what_became_of_prompts_outlasts_restarts_and_checkpoints() {
    let house = House::of(prompted(), 1_000);
    let first = made(&house, "acme", "ann", T0);
    assert!(tell(&house, "acme", &first, Told::Snoozed(DAY_MS), T0).unwrap());
    let catalog = house.engine.catalog();
    let names = (name(&house, "near"), name(&house, "holdout"), name(&house, "en-GB"));
    for at in [T0, T0 + 1] {
        let ticket = house.engine.ticket("held", names, 0, (Millis(at), ANSWER)).0;
        house.engine.hold_back(&catalog, "held", ticket, Millis(at));
    }
    drop(catalog);
    let (acme, held) = (known(&house, "acme"), known(&house, "held"));
    assert_eq!((acme.len(), held.len()), (1, 1));
    let again = house.reopen(prompted());
    assert_eq!((known(&again, "acme"), known(&again, "held")), (acme.clone(), held.clone()));
    again.store.keep(again.checkpoint());
    let after = again.reopen(prompted());
    assert_eq!((known(&after, "acme"), known(&after, "held")), (acme, held));
    assert!(!tell(&after, "acme", &first, Told::Snoozed(DAY_MS), T0).unwrap());
    // A change of plan finds them.
    after.subscribe("acme", "pro");
    let converted = Outcomes::SHOWN | Outcomes::SNOOZED | Outcomes::CONVERTED;
    assert_eq!(known(&after, "acme")[0].outcomes, converted);
}

#[test]
fn names_that_only_a_later_version_numbers_are_journaled_all_the_same() {
    // A catalog whose text is the same, and of which the earlier program knew no prompts.
    let house = House::of(spec(100, Some("free")), 1_000);
    let (_, tail) = house.store.found();
    let before = tail.len();
    let mut recovery = crate::house::recovery(1_000);
    tail.iter().for_each(|(seq, stored)| recovery.record(*seq, &stored.bytes).unwrap());
    let source = recovery.catalog_source().to_owned();
    let options = headroom_engine::recovery::EngineOptions {
        store: house.store.clone(),
        secret: [7; 16],
        boot: 2,
        key_horizon_ms: DAY_MS,
        keys_max: std::num::NonZeroUsize::new(1_000).unwrap(),
    };
    let (engine, installed) = recovery.finish(prompted(), &source, Millis(T0), options).unwrap();
    assert!(!installed.changed);
    let near = engine.catalog().names().get("near").unwrap();
    let (_, tail) = house.store.found();
    assert!(before < tail.len());
    let mut recovery = crate::house::recovery(1_000);
    tail.iter().for_each(|(seq, stored)| recovery.record(*seq, &stored.bytes).unwrap());
    assert_eq!(recovery.name(near), "near");
}

#[test]
fn each_exposure_is_one_row_that_is_put_anew() {
    let house = House::of(prompted(), 1_000);
    let id = made(&house, "acme", "ann", T0);
    tell(&house, "acme", &id, Told::Shown, T0).unwrap();
    tell(&house, "acme", &id, Told::Clicked, T0 + 5).unwrap();
    let (_, tail) = house.store.found();
    let mut ops = Vec::new();
    for (seq, stored) in &tail {
        let before = ops.len();
        RecordDigest.digest(*seq, &stored.bytes, &mut ops);
        assert_eq!(stored.matter, before < ops.len(), "whether the projection must see it");
    }
    let rows: Vec<&Vec<u8>> = ops
        .iter()
        .filter_map(|op| match op {
            ProjectionOp::Put { table: Table::Prompts, key, .. } => Some(key),
            _ => None,
        })
        .collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], rows[1]);
}
