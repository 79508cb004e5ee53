//! What operators get wrong.

use std::collections::BTreeMap;
use std::fs;

use headroom_proto::v1;
use headroom_proto::v1::r#override::Value as OverrideValue;
use prost_types::value::Kind;
use tonic::{Code, Request};

use super::{bad_field, refused};
use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

const UNKNOWN_NAME: (Code, &str) = (Code::NotFound, "UNKNOWN_NAME");

fn instant(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

#[tokio::test]
async fn subscriptions_name_what_is_unknown_and_suggest() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    let message = refused(
        admin.put_subscription(ask::subscription("acme", "tigt")).await,
        UNKNOWN_NAME.0,
        UNKNOWN_NAME.1,
        "",
    );
    assert!(message.contains("plan \"tigt\"") && message.contains("mean \"tight\""), "{message}");
    let far = refused(
        admin.put_subscription(ask::subscription("acme", "qqqq")).await,
        UNKNOWN_NAME.0,
        UNKNOWN_NAME.1,
        "",
    );
    assert!(!far.contains("mean"), "{far}");

    let good = ask::subscription("acme", "open");
    let zoned = |zone: &str| v1::PutSubscriptionRequest { time_zone: zone.into(), ..good.clone() };
    for zone in ["Europe/Berlim", "+01:00", "../etc/passwd", "Europe/Berlin\0", &"x".repeat(999)] {
        bad_field(admin.put_subscription(zoned(zone)).await, "time_zone");
    }
    for bad in [instant(i64::MAX, 0), instant(0, -1), instant(0, 1_000_000_000)] {
        let anchored = v1::PutSubscriptionRequest { anchor: bad, ..good.clone() };
        bad_field(admin.put_subscription(anchored).await, "anchor");
        let ending = v1::PutSubscriptionRequest { ends_at: bad, ..good.clone() };
        bad_field(admin.put_subscription(ending).await, "ends_at");
    }
    bad_field(admin.put_subscription(ask::subscription("", "open")).await, "account");
    bad_field(admin.put_subscription(ask::subscription("acme", "")).await, "plan");
    assert_eq!(ask::status(&mut admin).await.accounts, 0);

    for (page_size, page_token, field) in
        [(-1, "", "page_size"), (1001, "", "page_size"), (0, "x", "page_token")]
    {
        let list = v1::ListAccountsRequest {
            page_size,
            page_token: page_token.into(),
            ..Default::default()
        };
        bad_field(admin.list_accounts(list).await, field);
    }
    drop(admin);
    sidecar.stop().await;
}

fn override_of(feature: &str, value: Option<OverrideValue>) -> v1::PutOverrideRequest {
    v1::PutOverrideRequest {
        account: "acme".into(),
        r#override: Some(v1::Override {
            feature: feature.into(),
            value,
            ..v1::Override::default()
        }),
    }
}

fn limit(name: &str, included_units: Option<i64>) -> Option<OverrideValue> {
    Some(OverrideValue::Limit(v1::LimitOverride {
        limit: name.into(),
        included_units,
        subject: String::new(),
    }))
}

#[tokio::test]
async fn overrides_must_fit_their_feature() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    ask::subscribe(&mut admin, "acme", "open").await;
    let before = account(&mut admin).await;

    let json = |text: &str| Some(OverrideValue::ConfigValue(text.into()));
    for text in ["", "{", "[1,]", "small", "1 2", "NaN"] {
        let message = bad_field(
            admin.put_override(override_of("models", json(text))).await,
            "override.config_value",
        );
        assert!(message.contains("is not JSON"), "{message}");
    }
    let switch = Some(OverrideValue::SwitchOn(true));
    for (feature, value) in [
        ("calls", switch.clone()),
        ("calls", json("1")),
        ("sso", json("1")),
        ("sso", limit("total", None)),
        ("models", switch.clone()),
    ] {
        let result = admin.put_override(override_of(feature, value)).await;
        let message = refused(result, Code::InvalidArgument, "WRONG_FEATURE_KIND", "");
        assert!(message.contains(feature), "{message}");
    }
    let result = admin.put_override(override_of("callz", limit("total", None))).await;
    let message = refused(result, UNKNOWN_NAME.0, UNKNOWN_NAME.1, "");
    assert!(message.contains("mean \"calls\""), "{message}");
    let result = admin.put_override(override_of("calls", limit("totl", None))).await;
    let message = refused(result, UNKNOWN_NAME.0, UNKNOWN_NAME.1, "");
    assert!(message.contains("mean \"total\""), "{message}");
    for units in [-1, 1 << 53] {
        let result = admin.put_override(override_of("calls", limit("total", Some(units)))).await;
        bad_field(result, "included_units");
    }
    bad_field(admin.put_override(override_of("calls", None)).await, "override");
    let nothing = v1::PutOverrideRequest { account: "acme".into(), r#override: None };
    bad_field(admin.put_override(nothing).await, "override");
    assert_eq!(account(&mut admin).await, before);

    let stranger = |feature: &str, value| v1::PutOverrideRequest {
        account: "stranger".into(),
        ..override_of(feature, value)
    };
    let unknown = (Code::NotFound, "UNKNOWN_ACCOUNT");
    refused(admin.put_override(stranger("sso", switch)).await, unknown.0, unknown.1, "");
    let delete = v1::DeleteOverrideRequest {
        account: "stranger".into(),
        feature: "sso".into(),
        limit: String::new(),
        subject: String::new(),
    };
    refused(admin.delete_override(delete).await, unknown.0, unknown.1, "");
    let get = v1::GetAccountRequest { account: "stranger".into() };
    refused(admin.get_account(get).await, unknown.0, unknown.1, "");
    let suspend = |account: &str, status: v1::AccountStatus| v1::SetAccountStatusRequest {
        account: account.into(),
        status: status.into(),
    };
    let result = admin.set_account_status(suspend("stranger", v1::AccountStatus::Active)).await;
    refused(result, unknown.0, unknown.1, "");
    let result = admin.set_account_status(suspend("acme", v1::AccountStatus::Unspecified)).await;
    bad_field(result, "status");
    drop(admin);
    sidecar.stop().await;
}

async fn account(admin: &mut ask::Admin) -> Option<v1::Account> {
    let request = v1::GetAccountRequest { account: "acme".into() };
    admin.get_account(request).await.unwrap().into_inner().account
}

fn facts(fields: impl IntoIterator<Item = (String, Kind)>) -> Request<v1::PutFactsRequest> {
    let value = |(name, kind)| (name, prost_types::Value { kind: Some(kind) });
    let fields: BTreeMap<_, _> = fields.into_iter().map(value).collect();
    let facts = Some(prost_types::Struct { fields });
    Request::new(v1::PutFactsRequest { account: "acme".into(), facts })
}

#[tokio::test]
async fn facts_have_bounds() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    ask::subscribe(&mut admin, "acme", "open").await;
    let number = || Kind::NumberValue(1.0);
    let text = |length| Kind::StringValue("x".repeat(length));
    admin.put_facts(facts((0..64).map(|n| (format!("f{n}"), number())))).await.unwrap();
    let before = account(&mut admin).await;

    let bad = (Code::InvalidArgument, "INVALID_FIELD");
    let many = admin.put_facts(facts([("f64".to_owned(), number())])).await.unwrap_err();
    assert_eq!((many.code(), ask::reason(&many).as_str()), bad, "{many}");
    let long = admin.put_facts(facts([("f0".to_owned(), text(8 * 1024))])).await.unwrap_err();
    assert_eq!((long.code(), ask::reason(&long).as_str()), bad, "{long}");
    for name in [String::new(), "n".repeat(65), "a\tb".to_owned()] {
        bad_field(admin.put_facts(facts([(name, number())])).await, "facts");
    }
    let endless = Kind::NumberValue(f64::INFINITY);
    bad_field(admin.put_facts(facts([("f0".to_owned(), endless)])).await, "facts.f0");
    let deep = (0..20).fold(number(), |inner, _| {
        let values = vec![prost_types::Value { kind: Some(inner) }];
        Kind::ListValue(prost_types::ListValue { values })
    });
    bad_field(admin.put_facts(facts([("f0".to_owned(), deep)])).await, "facts.f0");
    let nothing = v1::PutFactsRequest { account: "acme".into(), facts: None };
    bad_field(admin.put_facts(nothing).await, "facts");
    assert_eq!(account(&mut admin).await, before);
    drop(admin);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_backup_goes_to_an_empty_absolute_directory() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    let full = home.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine.txt"), "precious").unwrap();
    let file = home.path("file");
    fs::write(&file, "precious").unwrap();
    let nul = format!("{}\0", home.path("nul").display());
    let paths = [String::new(), nul, "backup".into(), "./backup".into()];
    let taken = [&full, &file, &home.data()].map(|path| path.display().to_string());
    for path in paths.into_iter().chain(taken) {
        bad_field(admin.backup(v1::BackupRequest { path }).await, "path");
    }
    let there: Vec<_> = fs::read_dir(&full).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(there, ["mine.txt"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
    drop(admin);
    sidecar.stop().await;
}
