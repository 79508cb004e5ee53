//! What is read of sinks, and what is said of mistakes in them.

use headroom_core::signal::SignalState;

use super::*;
use crate::config::catalog;

struct Fake;

impl Secrets for Fake {
    fn env(&self, name: &str) -> Result<String, String> {
        match name {
            "GOOD" => Ok(format!("whsec_{}\n", "QUJD".repeat(8))),
            "BAD" => Ok("hunter2".into()),
            _ => Err(format!("the environment variable `{name}` is not set")),
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("good.txt") => Ok(format!("whsec_{}\n", "QUJD".repeat(8))),
            _ => Err("no such file".into()),
        }
    }
}

fn read(sinks: &str) -> Result<Vec<SinkSpec>, String> {
    let text = format!(
        "features: {{f: {{name: F, kind: switch}}}}\nplans: {{p: {{name: P, entitlements: {{f: \
         on}}}}}}\nsinks:\n{sinks}"
    );
    match catalog::parse("c", text.as_bytes(), &Fake) {
        Ok(parsed) => Ok(parsed.sinks),
        Err(problems) => Err(problems.to_string()),
    }
}

#[track_caller]
fn check(sink: &str, expected: &str) {
    let report = read(&format!("  - {{sink: s, {sink}}}\n")).unwrap_err();
    assert!(report.contains(expected), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn good_sinks_are_read() {
    let sinks = read(
        "
  - {sink: a, kind: standard_webhook, url: 'https://x.test/hook?a=1', secret: '${GOOD}'}
  - {sink: b, kind: standard_webhook, url: 'http://[::1]:80/', secret_file: good.txt, allow_private: on}
  - sink: c
    kind: standard_webhook
    url: https://x.test
    secrets: ['${GOOD}', whsec_QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD]
  - {sink: d, kind: ndjson, path: signals.ndjson, signals: [usage_ceiling, usage_ceiling]}
",
    )
    .unwrap();
    let good = WebhookSecret::Shared(b"ABC".repeat(8));
    let secrets = |sink: &SinkSpec| match &sink.kind {
        SinkKind::StandardWebhook { secrets, .. } => secrets.clone(),
        _ => vec![],
    };
    assert_eq!(secrets(&sinks[0]), std::slice::from_ref(&good));
    assert_eq!(secrets(&sinks[1]), std::slice::from_ref(&good));
    assert_eq!(secrets(&sinks[2]), [good.clone(), good.clone()]);
    assert_eq!(sinks[0].filter.signals, None);
    assert_eq!(sinks[3].filter.signals, Some(vec!["usage_ceiling".to_owned()]));
    assert_eq!(sinks[3].kind, SinkKind::Ndjson { file: "signals.ndjson".into() });
    assert_eq!(format!("{good:?}"), "WebhookSecret(…)");
}

#[test]
fn secrets_are_checked_and_never_shown() {
    let hook = "kind: standard_webhook, url: 'https://x.test'";
    check(hook, "no secret to sign with");
    check(&format!("{hook}, secret: hunter2"), "a secret is `whsec_` and 24 to 64 bytes");
    check(&format!("{hook}, secret: whsec_hunter2"), "is not base64");
    check(&format!("{hook}, secret: whsec_QUJD"), "the secret has 3 bytes");
    check(&format!("{hook}, secret: '${{NOPE}}'"), "variable `NOPE` is not set");
    check(&format!("{hook}, secret: '${{BAD}}'"), "in the environment variable `BAD`");
    check(&format!("{hook}, secret: [hunter2]"), "`secret` must be a text");
    check(&format!("{hook}, secret_file: none.txt"), "no such file");
    check(&format!("{hook}, secrets: []"), "0 secrets, it must be 1 to 4");
    check(&format!("{hook}, secret: a, secret_file: b"), "more than one way to a secret");
}

#[test]
fn a_private_address_must_be_meant() {
    let hook = |url: &str, more: &str| {
        format!("kind: standard_webhook, secret: '${{GOOD}}', url: '{url}'{more}")
    };
    let private = [
        "http://127.0.0.1:80/",
        "http://localhost/",
        "https://LOCALHOST.:1/",
        "http://[::1]/",
        "http://a.localhost",
        "https://10.1.2.3/hook",
        "http://169.254.169.254/latest",
    ];
    for url in private {
        check(&hook(url, ""), "add `allow_private: on`");
        check(&hook(url, ", allow_private: off"), "add `allow_private: on`");
        read(&format!("  - {{sink: s, {}}}\n", hook(url, ", allow_private: on"))).unwrap();
    }
    for url in ["https://x.test/", "https://1.1.1.1/", "http://[2606:4700::1111]/"] {
        read(&format!("  - {{sink: s, {}}}\n", hook(url, ""))).unwrap();
    }
    check(&hook("https://x.test", ", allow_private: yes"), "must be `on` or `off`");
    check("kind: ndjson, path: a.ndjson, allow_private: on", "`allow_private` belongs to");
}

#[test]
fn addresses_paths_and_filters_are_checked() {
    let hook = |url: &str| format!("kind: standard_webhook, secret: '${{GOOD}}', url: '{url}'");
    check(&hook("ftp://x.test"), "begins with https://");
    check(&hook("x.test/hook"), "begins with https://");
    check(&hook("https://me:hunter@x.test"), "user and password do not belong");
    check(&hook("https://x.test/#a"), "fragment");
    check(&hook("https://x test"), "this is no address");
    for path in ["../a.ndjson", "/tmp/a.ndjson", "a/b.ndjson", "journal.bin", ".ndjson", ""] {
        check(&format!("kind: ndjson, path: '{path}'"), "`path` must be a file name");
    }
    check("kind: ndjson, path: a.ndjson, url: x", "`url` belongs to a sink of kind");
    check("kind: ndjson, path: a.ndjson, signals: []", "a sink without signals gets nothing");
    check("kind: ndjson, path: a.ndjson, signals: [usage_celing]", "did you mean `usage_ceiling`?");
    check("kind: nd_json, path: a.ndjson", "did you mean `ndjson`?");
    let twice = "  - {sink: s, kind: ndjson, path: a.ndjson}\n".repeat(2);
    let report = read(&twice).unwrap_err();
    assert!(report.contains("sink `s` is defined twice"), "{report}");
    assert!(report.contains("another sink writes to `a.ndjson` already"), "{report}");
}

#[test]
fn a_key_pair_signs_and_secrets_may_be_of_both_sorts() {
    let hook = "kind: standard_webhook, url: 'https://x.test'";
    let seed = "QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUI=";
    let sinks =
        read(&format!("  - {{sink: s, {hook}, secrets: ['whsk_{seed}', '${{GOOD}}']}}\n")).unwrap();
    let SinkKind::StandardWebhook { secrets, .. } = &sinks[0].kind else { unreachable!() };
    assert!(matches!(secrets[..], [WebhookSecret::Seed(_), WebhookSecret::Shared(_)]));
    assert!(secrets[0].public_key().unwrap().starts_with("whpk_"));
    assert_eq!(secrets[1].public_key(), None);
    check(&format!("{hook}, secret: whsk_hunter2"), "what follows `whsk_`");
    check(&format!("{hook}, secret: whsk_QUJD"), "the `whsk_` key has 3 bytes, it must have 32");
    check(&format!("{hook}, secret: whpk_{seed}"), "this is a public key");
}

#[test]
fn a_filter_names_signals_states_features_and_plans_of_the_catalog() {
    let file = "kind: ndjson, path: a.ndjson";
    let of = |filter: &str| read(&format!("  - {{sink: s, {file}, {filter}}}\n"));
    let filter = &of("signals: [grace_started, usage_ceiling], states: [alarm, warning, alarm]")
        .unwrap()[0]
        .filter;
    let names = ["grace_started", "usage_ceiling"].map(str::to_owned);
    assert_eq!(filter.signals, Some(names.to_vec()));
    assert_eq!(filter.states, [SignalState::Warning, SignalState::Alarm]);
    assert_eq!((&filter.features, &filter.plans), (&None, &None));
    let filter = &of("features: [f], plans: [p, p]").unwrap()[0].filter;
    assert_eq!(filter.features.as_ref().unwrap().iter().collect::<Vec<_>>(), ["f"]);
    assert_eq!(filter.plans.as_ref().unwrap().iter().collect::<Vec<_>>(), ["p"]);
    assert_eq!(filter.signals, None);

    let recoveries = &of("states: [recovered]").unwrap()[0].filter;
    assert!(recoveries.recovered && recoveries.states.is_empty() && !filter.recovered);
    check(&format!("{file}, states: [alarms]"), "did you mean `alarm`?");
    check(&format!("{file}, states: []"), "a sink without states gets nothing");
    check(&format!("{file}, features: []"), "a sink without features gets nothing");
    check(&format!("{file}, plans: p"), "`plans` must be a list of plans");
    check(&format!("{file}, features: [g]"), "the catalog has no feature `g`");
    check(&format!("{file}, plans: [pp]"), "the catalog has no plan `pp`, did you mean `p`?");
}

#[test]
fn a_new_secret_is_one_that_is_read() {
    for is_pair in [false, true] {
        let secret = WebhookSecret::random(is_pair);
        assert_eq!(WebhookSecret::parse(&secret.text()).unwrap(), secret);
        assert_eq!(secret.public_key().is_some(), is_pair);
        assert_ne!(WebhookSecret::random(is_pair), secret);
    }
}

#[test]
fn cloudevents_are_read() {
    let base = "kind: cloudevents, url: 'https://x.test', source: //headroom/eu-1";
    let of = |more: &str| read(&format!("  - {{sink: s, {base}{more}}}\n"));
    let SinkKind::CloudEvents { mode, source, auth, secrets, .. } =
        &of(", mode: batch, auth: {bearer: '${GOOD}'}, secret: '${GOOD}'").unwrap()[0].kind
    else {
        unreachable!()
    };
    assert_eq!((*mode, &**source, secrets.len()), (CloudEventsMode::Batch, "//headroom/eu-1", 1));
    let value = format!("Bearer whsec_{}", "QUJD".repeat(8));
    assert_eq!(auth.as_ref().unwrap().value, value);
    assert!(!format!("{auth:?}").contains("QUJD"), "{auth:?}");
    let SinkKind::CloudEvents { mode, auth, secrets, .. } = &of("").unwrap()[0].kind else {
        unreachable!()
    };
    assert_eq!((*mode, auth, secrets.len()), (CloudEventsMode::Structured, &None, 0));

    check("kind: cloudevents, url: 'https://x.test'", "the key `source` is missing");
    check(&base.replace("//headroom/eu-1", "'a b'"), "`source` must be an address");
    check(&format!("{base}, mode: batched"), "did you mean `batch`?");
    check(&format!("{base}, write_key: x"), "`write_key` belongs to a sink of kind `segment`");
    check("kind: cloudevent, source: x", "did you mean `cloudevents`?");
}

#[test]
fn what_says_who_is_sending_is_one_way_and_never_shown() {
    let base = "kind: cloudevents, url: 'https://x.test', source: x";
    let header = |auth: &str| {
        let sinks = read(&format!("  - {{sink: s, {base}, auth: {auth}}}\n")).unwrap();
        let SinkKind::CloudEvents { auth, .. } = &sinks[0].kind else { unreachable!() };
        let auth = auth.as_ref().unwrap();
        (auth.name.to_string(), auth.value.to_str().unwrap().to_owned())
    };
    let authorization = |value: &str| ("authorization".to_owned(), value.to_owned());
    assert_eq!(header("{bearer: abc}"), authorization("Bearer abc"));
    assert_eq!(header("{basic: {user: u, password: p}}"), authorization("Basic dTpw"));
    assert_eq!(header("{header: {name: X-Key, value: k}}"), ("x-key".into(), "k".into()));
    check(&format!("{base}, auth: hunter2"), "`auth` must be a mapping with one of");
    check(&format!("{base}, auth: {{basic: hunter2}}"), "`basic` must be a mapping with");
    check(&format!("{base}, auth: {{}}"), "`auth` must be a mapping with one of");
    check(
        &format!("{base}, auth: {{bearer: a, basic: b}}"),
        "`auth` must be a mapping with one of",
    );
    check(&format!("{base}, auth: {{baerer: a}}"), "did you mean `bearer`?");
    check(&format!("{base}, auth: {{bearer: \"hunter2\\n\"}}"), "no header can have");
    check(
        &format!("{base}, auth: {{header: {{name: 'a b', value: c}}}}"),
        "is no name of a header",
    );
    check(&format!("{base}, auth: {{bearer: '${{NOPE}}'}}"), "`NOPE` is not set");
}

#[test]
fn segment_and_slack_are_read() {
    let sinks = read(
        "
  - {sink: a, kind: segment, write_key: wk}
  - {sink: b, kind: segment, write_key: wk, url: 'https://rudder.test/v1/batch'}
  - {sink: c, kind: slack, url: 'https://hooks.slack.com/services/T/B/X'}
",
    )
    .unwrap();
    let SinkKind::Segment { url, write_key, .. } = &sinks[0].kind else { unreachable!() };
    assert_eq!(url, "https://api.segment.io/v1/batch");
    assert_eq!(write_key.value, "Basic d2s6");
    let SinkKind::Segment { url, .. } = &sinks[1].kind else { unreachable!() };
    assert_eq!(url.host(), Some("rudder.test"));
    assert!(!format!("{sinks:?}").contains("/services/"), "{sinks:?}");

    check("kind: segment", "the key `write_key` is missing");
    check("kind: segment, write_key: wk, url: 'http://127.0.0.1/'", "add `allow_private: on`");
    check("kind: segment, write_key: wk, secret: x", "`secret` belongs to a sink of kind");
    check("kind: slack", "the key `url` is missing");
    check("kind: slack, url: hunter2", "begins with https://");
    check("kind: slack, url: '${BAD}'", "begins with https://");
    check("kind: slack, url: 'https://x.test', mode: batch", "`mode` belongs to a sink of kind");
}

/// A data directory keeps its catalog, and reads it again where no secret is at hand.
#[test]
fn a_catalog_is_read_without_its_secrets() {
    let text =
        "features: {f: {name: F, kind: switch}}\nplans: {p: {name: P, entitlements: {f: on}}}
sinks:
  - {sink: a, kind: slack, url: '${NOPE}'}
  - {sink: b, kind: segment, write_key: '${NOPE}'}
  - {sink: c, kind: cloudevents, url: 'https://x.test', source: x, auth: {bearer: '${NOPE}'}}
  - {sink: d, kind: standard_webhook, url: 'https://x.test', secret: '${NOPE}'}
  - {sink: e, kind: hubspot, token: '${NOPE}', event_name: a}
  - {sink: f, kind: http, url: 'https://x.test/${NOPE}', body: {a: '${NOPE}'}}
";
    assert_eq!(catalog::parse("c", text.as_bytes(), &NoSecrets).unwrap().sinks.len(), 6);
}

/// What is wrong with a sink of kind `http` that has this, too.
#[track_caller]
fn check_http(more: &str, expected: &str) {
    let body = if more.contains("body:") || more.contains("form:") { "" } else { ", body: {a: b}" };
    let url = if more.contains("url:") { "" } else { ", url: 'https://x.test'" };
    check(&format!("kind: http{url}{body}, {more}"), expected);
}

#[test]
fn templates_are_tried_when_they_are_read() {
    check_http("body: {a: '{{ acount }}'}", "did you mean `account`?");
    check_http("body: {a: 'x {{ nope }}'}", "unknown fact `nope` in the template");
    check_http("body: {a: {b: ['{{ data.grace_until }}']}}", "`data.grace_until` is not there");
    check_http("body: {a: '{{ facts.segment }}'}", "`facts.segment` is not there");
    check_http("body: {a: '{{ account '}", "syntax error");
    check_http("headers: {X-A: '{{ facts.a }}'}", "a value is not there for every signal");
    check_http("headers: {'X A': b}", "`X A` is no name of a header");
    check_http("headers: {Host: b}", "is set by the connection itself");
    check_http("headers: {X-A: \"a\\nb\"}", "no header can have");
    check_http("url: 'https://{{ account }}.x.test/'", "the host of an address cannot come from");
    check_http("url: 'https://${GOOD}/'", "the host of an address cannot come from");
    check_http("url: 'https://x.test/{{ nope }}'", "unknown fact `nope`");
    check_http("url: 'https://x.test/#a'", "fragment");
    check_http("url: 'http://10.0.0.1/{{ account }}'", "add `allow_private: on`");
    check_http("body: {a: '${NOPE}'}", "`NOPE` is not set");
    check_http("body: {a: 'b ${GOOD'}", "a `${` without its `}`");
    check_http("body: {a: '${a b}'}", "is the name of an environment variable");
    check_http("body: {a: b}, form: {a: b}", "a request needs one of `body` and `form`");
    check_http("method: GET", "`method` must be `POST`, `PUT` or `PATCH`");
    check_http("max_per_second: 0", "it must be 1 to 1000");
    check_http("accept_when: 'status =='", "`accept_when` is no condition");
    check_http("batch: {item: {a: '{{ nope }}'}}", "unknown fact `nope`");
    check_http("batch: {signals: 5}", "the key `item` is missing");
    check_http("batch: {item: a}, body: {a: '{{ account }}'}", "unknown fact `account`");
    check_http("mode: batch", "`mode` belongs to a sink of kind `cloudevents`");
    check("kind: http, url: 'https://x.test'", "a request needs one of `body` and `form`");
    let deep = format!("body: {}1{}", "[".repeat(20), "]".repeat(20));
    check_http(&deep, "at most 16 levels deep");
}

#[test]
fn tokens_are_asked_for_at_a_checked_address() {
    let oauth = |more: &str| format!("auth: {{oauth2: {{client_id: a, {more}}}}}");
    check_http(&oauth("client_secret: hunter2"), "the key `token_url` is missing");
    check_http(&oauth("token_url: 'https://x.test'"), "the key `client_secret` is missing");
    check_http(
        &oauth("token_url: 'https://10.0.0.1/', client_secret: hunter2"),
        "add `allow_private: on`",
    );
    check_http("auth: {oauth2: hunter2}", "`oauth2` must be a mapping");
    check_http("auth: {oauth2: {}, bearer: a}", "`auth` must be a mapping with one of");
    let events = "kind: cloudevents, url: 'https://x.test', source: x";
    check(&format!("{events}, auth: {{oauth2: {{}}}}"), "belongs to a sink of kind `http`");
}

#[test]
fn a_preset_says_what_it_needs_and_its_holes_change_nothing_else() {
    check("kind: hubspot, token: a", "the key `event_name` is missing");
    check("kind: hubspot, event_name: a", "the key `token` is missing");
    check("kind: hubspot, token: '${NOPE}', event_name: a", "`NOPE` is not set");
    check("kind: hubspot, token: a, event_name: a, object_id: '{{ x }}'", "unknown fact `x`");
    check("kind: posthog, api_key: a, url: 'http://127.0.0.1'", "add `allow_private: on`");
    check("kind: posthog, api_key: a, body: {}", "`body` belongs to a sink of kind `http`");
    check("kind: salesforce, client_id: a, client_secret: b", "`instance_url` is missing");
    check("kind: customer.io, api_key: a", "did you mean `customerio`?");
    // Whatever is in a hole, it is a text in its place.
    let sinks =
        read("  - {sink: s, kind: posthog, api_key: 'a\", \"x\": [1', group_type: 'b: {c}'}\n")
            .unwrap();
    let SinkKind::Http(spec) = &sinks[0].kind else { unreachable!() };
    let BodySpec::Json(body) = &spec.body else { unreachable!() };
    assert_eq!(body["api_key"], "a\", \"x\": [1");
    assert_eq!(spec.item.as_ref().unwrap()["properties"]["$groups"]["b: {c}"], "{{ account }}");
}

#[test]
fn a_stream_of_redis_is_read() {
    let of = |more: &str| read(&format!("  - {{sink: s, kind: redis_streams, {more}}}\n"));
    let sinks = of("url: 'redis://r.test', stream: a").unwrap();
    let SinkKind::RedisStreams(spec) = &sinks[0].kind else { unreachable!() };
    assert_eq!((&*spec.host, spec.port, spec.tls, spec.database), ("r.test", 6379, false, 0));
    assert_eq!((&spec.username, &spec.password, spec.entries_max), (&None, &None, None));
    let full = "url: 'rediss://10.0.0.1:7/3', stream: 'a b', allow_private: on, username: me, \
                password: '${BAD}', entries_max: 9";
    let sinks = of(full).unwrap();
    assert!(!format!("{sinks:?}").contains("hunter2"), "{sinks:?}");
    let SinkKind::RedisStreams(spec) = &sinks[0].kind else { unreachable!() };
    assert_eq!((&*spec.host, spec.port, spec.tls, spec.database), ("10.0.0.1", 7, true, 3));
    assert_eq!(spec.password, Some(secrets::SecretText("hunter2".into())));

    let base = "kind: redis_streams, stream: a";
    check(&format!("{base}, url: 'http://r.test'"), "an address is `redis://HOST:PORT/DATABASE`");
    check(&format!("{base}, url: 'redis://'"), "an address is `redis://HOST:PORT/DATABASE`");
    check(&format!("{base}, url: 'redis://me:hunter2@r.test'"), "use `username` and `password`");
    check(&format!("{base}, url: 'redis://r.test/x'"), "the number of the database");
    check(&format!("{base}, url: 'redis://10.0.0.1'"), "add `allow_private: on`");
    check(&format!("{base}, url: 'redis://r.test', entries_max: 0"), "it must be 1 to");
    check("kind: redis_streams, url: 'redis://r.test'", "the key `stream` is missing");
    check("kind: redis_stream, url: x", "did you mean `redis_streams`?");
}
