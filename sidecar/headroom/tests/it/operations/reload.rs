//! Another catalog under running requests.

use headroom_proto::v1;
use headroom_proto::v1::Verdict;
use rustix::process::Signal;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::catalogs::PLAIN;
use crate::support::home::Home;
use crate::support::{ask, until_async};

#[tokio::test]
async fn sighup_brings_a_good_catalog_into_force_and_refuses_a_bad_one() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let mut admin = ask::admin(&home).await;
    ask::subscribe(&mut admin, "acme", "tight").await;
    ask::consumed(&mut client, "acme", "slots", 40, "a").await;
    assert!(!ask::consumed(&mut client, "acme", "slots", 1, "b").await.allowed);
    let before = ask::status(&mut admin).await.catalog_revision;

    home.write_catalog(&PLAIN.replace("included: 40,", "included: 50,"));
    sidecar.signal(Signal::HUP);
    until_async("the new revision", async || {
        (ask::status(&mut admin).await.catalog_revision == before + 1).then_some(())
    })
    .await;
    let decision = ask::consumed(&mut client, "acme", "slots", 1, "b").await;
    assert_eq!(decision.catalog_revision, before + 1);
    let state = decision.binding.expect("a limit");
    assert_eq!((state.included_units(), state.used_units, state.limit_revision), (50, 41, 2));

    home.write_catalog(&PLAIN.replace("included: 40, soft_limits", "included: forty, sof_limits"));
    sidecar.signal(Signal::HUP);
    sidecar.wait_log("catalog.yaml:28:35: `included` must be a number or");
    sidecar.wait_log("unknown key `sof_limits`, did you mean `soft_limits`?");
    let decision = ask::consumed(&mut client, "acme", "slots", 9, "c").await;
    assert_eq!((decision.allowed, decision.catalog_revision), (true, before + 1));

    let mut sidecar = sidecar;
    assert_eq!(sidecar.ended(), None);
    sidecar.kill();
    // A start on a bad catalog is refused; the good one is put back and is the same revision.
    home.write_catalog(&PLAIN.replace("included: 40,", "included: 50,"));
    drop(sidecar);
    let sidecar = home.start();
    let status = ask::status(&mut ask::admin(&home).await).await;
    assert_eq!(status.catalog_revision, before + 1);
    sidecar.stop().await;
}

#[tokio::test]
async fn reload_tells_whoever_asked() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let same = home.run(&["reload", "--json"]);
    assert_eq!(same.code, Some(0), "{same:?}");
    let json: serde_json::Value = serde_json::from_str(&same.stdout).unwrap();
    assert_eq!(json["changed"], false);

    home.write_catalog(&PLAIN.replace("plan: open", "plan: opn").replace("sso: on", "sos: on"));
    let refused = home.run(&["reload"]);
    assert_eq!(refused.code, Some(1));
    for part in ["catalog.yaml:1:15: unknown plan `opn`", "`sos`, did you mean `sso`?"] {
        assert!(refused.stderr.contains(part), "no {part:?} in {}", refused.stderr);
    }
    let mut admin = ask::admin(&home).await;
    let status = admin.reload_catalog(v1::ReloadCatalogRequest {}).await.unwrap_err();
    let told = (status.code(), ask::reason(&status));
    assert_eq!(told, (Code::FailedPrecondition, "CATALOG_REFUSED".to_owned()));
    assert_eq!(ask::violations(&status).len(), 2, "every problem is a violation");
    assert!(status.get_details_retry_info().is_none());

    home.write_catalog(&PLAIN.replace("sso: on", "sso: off"));
    let good = home.run(&["reload"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    let mut client = ask::entitlements(&home).await;
    let check = client.check(ask::check("acme", "sso")).await.unwrap().into_inner();
    assert_eq!(check.decision.unwrap().verdict(), Verdict::Denied);
    drop((client, admin));
    sidecar.stop().await;
}
