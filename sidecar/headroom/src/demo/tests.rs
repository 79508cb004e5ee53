//! The demo as a whole: the real file, the real ports, and books that must agree.

use std::io;

use headroom_sdk::Verdict;

use super::*;
use crate::demo::replay::FEATURE;

/// What a test does with a stage after the rows were played and before they are reconciled.
trait Meddle: AsyncFnOnce(&Company) {}
impl<F: AsyncFnOnce(&Company)> Meddle for F {}

/// Plays some rows, lets a test meddle, and reconciles them with the rows of the file.
fn reconcile_after(played: &[Row], in_file: &[Row], meddle: impl Meddle) -> (Books, Vec<Verdict>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = Scene::set(played.len(), false).unwrap();
    let dir = scene.stage.places.dir.clone();
    let reconciled = runtime.block_on(async {
        let house = scene.open().unwrap();
        let show = Screen::plain(Box::new(io::sink())).show(house.board.clone());
        let company = house.gather(played).await.unwrap();
        company.play(played, Pace::Max).await.unwrap();
        meddle(&company).await;
        let books = reconcile::collect(&house, &company, in_file).await.unwrap();
        drop(show.end().await);
        let gravest = house.board.lock().books.iter().map(|book| book.worst).collect();
        house.close().await.unwrap();
        (books, gravest)
    });
    assert!(!dir.exists(), "the directory was left behind");
    reconciled
}

#[test]
fn the_hour_of_the_trace_adds_up() {
    let rows = trace::rows().unwrap();
    let (books, gravest) = reconcile_after(&rows, &rows, async |_| {});
    assert_eq!(books.differences(), [""; 0]);
    assert_eq!(books.file_tokens(), 18_305_870);
    assert_eq!(books.recorded_tokens() + books.refused_tokens(), 18_305_870);
    assert_eq!(books.accounts.len(), 20);
    for verdict in [
        Verdict::Allowed,
        Verdict::AllowedSoftLimit,
        Verdict::AllowedGrace,
        Verdict::AllowedOverage,
        Verdict::Denied,
    ] {
        assert!(gravest.contains(&verdict), "no account ends at {verdict:?}: {gravest:?}");
    }
    assert!(books.signals_emitted > 20, "{} signals", books.signals_emitted);
    assert_eq!(books.received.ids.len() as u64, books.signals_emitted);
}

#[test]
fn a_row_whose_commit_is_lost_is_found() {
    let rows = trace::rows().unwrap();
    let (last, played) = rows[..300].split_last().unwrap();
    let account = cast::CAST[last.member].account;
    let (books, _) = reconcile_after(played, &rows[..300], async |company| {
        let reserved = company.client.reserve(account, FEATURE, last.prompt_tokens).await;
        assert!(reserved.unwrap().reservation.is_some());
    });
    let found = books.differences();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with(&format!("{account}: tokens in the file")), "{found:?}");
    assert!(found[1].starts_with(&format!("{account}: tokens still held")), "{found:?}");
    assert!(found[2].starts_with("tokens in the file"), "{found:?}");
}

#[test]
fn units_that_the_clients_know_nothing_of_are_found() {
    let rows = trace::rows().unwrap();
    let (books, _) = reconcile_after(&rows[..300], &rows[..300], async |company| {
        company.client.record("fir", FEATURE, 7).await.unwrap();
    });
    let found = books.differences();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("fir: tokens recorded, and counted by the sidecar under `session`")
    );
    assert!(
        found[1].starts_with("fir: tokens recorded, and counted by the sidecar under `weekly`")
    );
}

#[test]
fn speeds_are_max_or_a_number() {
    assert_eq!(pace("max"), Ok(Pace::Max));
    assert_eq!(pace("140"), Ok(Pace::Times(140)));
    assert!(pace("0").is_err() && pace("fast").is_err() && pace("1.5").is_err());
}

#[test]
fn a_generated_fleet_has_a_past_that_rules_are_tried_on() {
    let lived = |seed| fleet::perform(fleet::Size { accounts: 12, days: 100, seed }).unwrap();
    let report = lived(3);
    assert_eq!((report.quarters, report.accounts, report.one_in), (1, 12, 1));
    let of = |signal: &str| {
        let found = report.triggers.iter().find(|one| one.signal == signal);
        found.unwrap_or_else(|| panic!("{signal} is not in {report:?}")).clone()
    };
    let (often, never) = (of("quiet_for_two_days"), of("sponsor_is_happy"));
    assert!(often.firings > 12, "{often:?}");
    assert_eq!((never.firings, never.verdict()), (0, headroom_sdk::v1::BacktestVerdict::Blind));
    assert_eq!(never.facts_never_known, ["nps", "sponsor"]);
    assert!(of("calls_at_70").firings >= of("calls_at_90").firings);
    assert!(of("pricing_page_viewed").source() == headroom_sdk::v1::BacktestSource::Raised);
    // The same seed is the same fleet; only how often somebody looked in between may differ.
    let again = lived(3);
    assert_eq!((&again.triggers[0], &again.base), (&report.triggers[0], &report.base));
}
