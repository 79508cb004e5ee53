//! Slack's incoming webhooks: what is posted, how fast, and what its answers mean.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::{Value, json};

use super::{Bench, told};
use crate::config::sinks::SecretUrl;
use crate::sinks::courier::Form;
use crate::sinks::delivery::Outcome;
use crate::sinks::http::Answer;
use crate::sinks::slack::Slack;

fn form() -> Slack {
    let url = SecretUrl("https://hooks.slack.com/services/T/B/hunter2".parse().unwrap());
    Slack { url }
}

fn posts(bench: &Bench) -> Vec<Value> {
    let post = |message| {
        let request = form().request(&[message], SystemTime::now()).unwrap();
        super::json(request.body())
    };
    told(bench).into_iter().map(post).collect()
}

#[test]
fn a_signal_is_a_sentence_with_its_facts_and_a_text_for_notifications() {
    let bench = Bench::new();
    bench.write("acme", 12);
    let said = "has used 10 % of what is included: 10 of 100 tokens (AI tokens, limit monthly)";
    let small = format!("`usage_ceiling` at 2026-11-03T09:00:00Z, {}", bench.ids()[0]);
    let text = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let expected = json!({
        "text": format!("acme {said}"),
        "blocks": [
            { "type": "section", "text": text(&format!("*acme* {said}")) },
            { "type": "context", "elements": [text(&small)] },
        ],
    });
    let posts = posts(&bench);
    assert_eq!(posts[0], expected);
    assert_eq!(
        posts[10]["text"],
        "acme was refused at a limit: 100 of 100 tokens used (AI tokens, limit monthly)"
    );
}

#[test]
fn a_request_is_what_slacks_own_library_sends() {
    let golden: Value = serde_json::from_str(include_str!("golden/clients.json")).unwrap();
    let golden = &golden["slack"][0];
    let theirs: Value = serde_json::from_str(golden["body"].as_str().unwrap()).unwrap();
    let bench = Bench::new();
    bench.write("acme", 1);
    let post = &posts(&bench)[0];
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&theirs), keys(post));
    assert_eq!(keys(&theirs["blocks"][0]), keys(&post["blocks"][0]));
    assert_eq!(keys(&theirs["blocks"][0]["text"]), keys(&post["blocks"][0]["text"]));
    assert_eq!(golden["method"], "POST");
}

/// Whoever chooses an account's id would otherwise wake up a whole channel.
#[test]
fn an_account_can_neither_mention_nor_link() {
    let bench = Bench::new();
    bench.write("<!channel> & <https://evil.test|x>\n", 1);
    let post = posts(&bench)[0].to_string();
    assert!(post.contains("&lt;!channel&gt; &amp; &lt;https://evil.test|x&gt; "), "{post}");
    assert!(!post.contains('<') && !post.contains("\\n"), "{post}");
}

#[test]
fn an_answer_says_why_and_a_closed_channel_is_gone() {
    let answer = |status: u16, body: &str| Answer {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: Some(Duration::from_secs(30)),
        body: body.as_bytes().to_vec(),
    };
    assert_eq!(form().judge(&answer(200, "ok")), Outcome::Accepted);
    assert_eq!(form().judge(&answer(410, "channel_is_archived")), Outcome::Gone);
    let check = |status: u16, body: &str, told: &str, of_endpoint: bool| {
        let Outcome::Refused { what, failure, .. } = form().judge(&answer(status, body)) else {
            panic!("{status} is a refusal")
        };
        assert_eq!((&*what, failure.of_endpoint), (told, of_endpoint));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(30)));
    };
    check(400, "invalid_payload", "status 400: invalid_payload", false);
    check(404, "no_service", "status 404: no_service", true);
    check(429, "", "status 429", true);
    // Whatever else stands there is not repeated.
    check(503, "<html>hunter2</html>", "status 503", true);
}

#[test]
fn a_channel_gets_one_message_per_second_and_its_address_is_never_printed() {
    let shape = form().shape();
    assert_eq!((shape.batch_max, shape.in_flight_max), (1, 1));
    assert!(shape.pace >= Duration::from_secs(1));
    assert!(!format!("{:?}", form().url).contains("hunter2"));
}
