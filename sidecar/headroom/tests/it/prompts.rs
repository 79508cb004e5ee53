//! Prompts over the wire: in the reader's language, as often as the catalog says, and what became
//! of them.

use std::time::Duration;

use headroom_proto::v1::{self, PromptComparison};
use headroom_sdk::{
    AdminClient, Audience, Client, Error, ErrorReason, Prompt, PromptOutcome, PromptSuppression,
    SuppressionReason,
};

use crate::support::ask::subscription;
use crate::support::home::Home;

const CATALOG: &str = "\
default_plan: free
features:
  calls: { name: Calls, kind: quota, unit: calls, limits: { ever: { window: lifetime } } }
  team: { name: Seats, kind: seats, unit: seats, invitations: 2 days }
plans:
  free:
    name: Free
    price: { amount_minor: 1000, currency: EUR, per: month }
    entitlements:
      calls: { ever: { included: 10_000, soft_limits: [10%] } }
      team: { included: 0 }
  pro:
    name: Pro
    price: { amount_minor: 4000, currency: EUR, per: month }
    entitlements: { calls: { ever: { included: 1_000_000 } } }
prompting:
  language: en
  languages: [de, de-CH]
  quiet_hours: { from: '22:00', to: '06:00' }
  caps: [{ per: account, shown: 3, within: 30 days }]
prompts:
  - prompt: near
    scenario: near_limit
    title: '{{ used }} {{ used|plural(one=\"call\", other=\"calls\") }}'
    message: '{% if offer_due_today %}{{ offer_due_today }}{% endif %} until {{ facts.renews|date }}'
    call_to_action: Upgrade
    url: 'https://x.test/up?a={{ account }}'
    offer: pro
    languages:
      de:
        title: '{{ used }} {{ used|plural(one=\"Aufruf\", other=\"Aufrufe\") }}'
        message: '{% if offer_due_today %}{{ offer_due_today }}{% endif %} bis {{ facts.renews|date }}'
        call_to_action: Mehr
        steps: ['{{ facts.why }}', '{{ facts.goal }}', '{{ facts.did }}', '{{ facts.got }}', '{{ facts.next }}']
    variants:
      - variant: bold
        share: 50%
        title: 'Now: {{ used }}'
        languages: { de: { title: 'Jetzt: {{ used }}' } }
    cool_down: 1 day
    caps: [{ per: person, shown: 2, within: 7 days }]
    steps: ['{{ facts.why }}', '{{ facts.goal }}', '{{ facts.did }}', '{{ facts.got }}', '{{ facts.next }}']
  - prompt: ask
    scenario: limit_hit
    audiences: [member, admin]
    title: Ask {{ facts.owner }}
    message: All is used
    call_to_action: Ask
    languages: { de: { title: 'Frag {{ facts.owner }}', message: Alles weg, call_to_action: Fragen } }
  - prompt: buy
    scenario: limit_hit
    title: Buy
    message: All is used
    languages: { de: { title: Kauf, message: Alles weg } }
  - prompt: seatless
    scenario: invite_without_seat
    title: No seat for them
    message: Buy one
    languages: { de: { title: Kein Platz, message: Kauf einen } }
  - prompt: trial
    scenario: trial_ending
    title: '{{ trial_days }} days left'
    message: of your trial
    languages: { de: { title: 'noch {{ trial_days }} Tage', message: zum Ausprobieren } }
";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Stage {
    client: Client,
    admin: AdminClient,
}

impl Stage {
    /// An account on `free` at noon, UTC, with a tenth of its calls used.
    async fn with_account(home: &Home, account: &str) -> Stage {
        let (client, admin) = home.clients().await;
        let stage = Stage { client, admin };
        stage.begin(account).await;
        stage
    }

    async fn begin(&self, account: &str) {
        let now = self.admin.get_status().await.unwrap().now.unwrap();
        let to_noon = (36 * 3_600 - now.seconds.rem_euclid(86_400)).rem_euclid(86_400);
        self.admin.advance_clock(Duration::from_secs(to_noon.unsigned_abs())).await.unwrap();
        self.admin.put_subscription(subscription(account, "free")).await.unwrap();
        self.client.record(account, "calls", 1_000).await.unwrap();
    }

    async fn prompted(&self, account: &str, person: &str) -> Result<Prompt, PromptSuppression> {
        let call = self.client.check(account, "calls").rendering().with_prompt().person(person);
        let decision = call.with_prompt_suppression().await.unwrap();
        decision.prompt.ok_or_else(|| decision.prompt_suppression.expect("a reason"))
    }

    async fn tell(&self, account: &str, prompt: &Prompt, outcome: PromptOutcome) -> bool {
        self.client.record_outcome(account, &*prompt.prompt_id, outcome).await.unwrap()
    }

    async fn report(&self, prompt: &str) -> v1::GetPromptReportResponse {
        // The projection trails the journal by milliseconds.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let prompt = prompt.to_owned();
        let request = v1::GetPromptReportRequest { prompt, ..Default::default() };
        self.admin.get_prompt_report(request).await.unwrap()
    }
}

#[tokio::test]
async fn a_prompt_speaks_the_readers_language() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::with_account(&home, "acme").await;
    let facts = |pairs: &[(&str, &str)]| {
        let value = |text: &str| prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
        };
        let fields = pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text)));
        prost_types::Struct { fields: fields.collect() }
    };
    let put = |pairs| stage.admin.put_facts("acme", facts(pairs));
    put(&[("renews", "2027-03-01"), ("owner", "<b>Zoë</b>")]).await.unwrap();
    let asked = |locale: &str| {
        let call = stage.client.check("acme", "calls").rendering().with_prompt().locale(locale);
        async move { call.await.unwrap().prompt.unwrap() }
    };
    let english = asked("fr-CA").await;
    let is_bold = english.variant == "bold";
    let title = |plain: &str, bold: &str| if is_bold { bold.to_owned() } else { plain.to_owned() };
    assert_eq!(english.title, title("1,000 calls", "Now: 1,000"));
    assert_eq!(english.language, "en");
    assert!(english.message.ends_with(" until March 1, 2027"), "{}", english.message);
    let german = asked("de-DE").await;
    assert_eq!(german.title, title("1.000 Aufrufe", "Jetzt: 1.000"));
    assert_eq!((german.language.as_str(), german.call_to_action.as_str()), ("de", "Mehr"));
    assert!(german.message.ends_with("\u{a0}EUR bis 1. März 2027"), "{}", german.message);
    assert_eq!(german.url.as_deref(), Some("https://x.test/up?a=acme"));
    assert_eq!(
        asked("de_CH").await.title,
        title("1’000 Aufrufe", "Jetzt: 1’000").replace('’', "'")
    );
    // Without a locale the account's own language.
    put(&[("language", "de")]).await.unwrap();
    let own = asked("").await;
    assert_eq!((&own.title, own.variant == "bold"), (&german.title, is_bold));
    assert_eq!(asked("en-US").await.title, english.title);

    // What is due today: by the second, and less what was paid.
    let offer = german.offer.unwrap();
    assert!(offer.period_end.is_some());
    let due = offer.due_today_minor.unwrap();
    assert!((0..=3_000).contains(&due) && offer.credit_minor <= 1_000, "{offer:?}");

    // The long form comes when its last fact is told.
    assert_eq!(own.steps, [""; 0]);
    let story = [("why", "A"), ("goal", "B"), ("did", "C"), ("got", "D")];
    put(&story).await.unwrap();
    assert_eq!(asked("").await.steps, [""; 0]);
    put(&[("next", "E\u{7}{{ 1 }}")]).await.unwrap();
    assert_eq!(asked("").await.steps, ["A", "B", "C", "D", "E{{ 1 }}"]);

    // At the limit, by what the reader may do.
    let hit = |audience| {
        let call = stage.client.check("acme", "calls").units(10_000).rendering().with_prompt();
        async move { call.audience(audience).await.unwrap().prompt.unwrap() }
    };
    assert_eq!(hit(Audience::Buyer).await.prompt, "buy");
    assert_eq!(hit(Audience::Unspecified).await.prompt, "buy");
    let ask = hit(Audience::Member).await;
    assert_eq!((ask.prompt.as_str(), ask.title.as_str()), ("ask", "Frag bZoë/b"));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_prompt_is_shown_as_often_as_the_catalog_says() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::with_account(&home, "acme").await;
    let first = stage.prompted("acme", "ann").await.unwrap();
    // Only what was shown counts: not what was made.
    let second = stage.prompted("acme", "ann").await.unwrap();
    assert!(stage.tell("acme", &second, PromptOutcome::Shown).await);
    assert!(!stage.tell("acme", &second, PromptOutcome::Shown).await, "the same again is known");
    let held = stage.prompted("acme", "ann").await.unwrap_err();
    assert_eq!((held.prompt.as_str(), held.reason), ("near", SuppressionReason::CoolDown));
    assert!(held.until.is_some());
    // Others have not seen it.
    let other = stage.prompted("acme", "bob").await.unwrap();
    let week = PromptOutcome::Snoozed(DAY * 7);
    assert!(stage.tell("acme", &other, week).await);
    assert_eq!(stage.prompted("acme", "bob").await.unwrap_err().reason, SuppressionReason::Snoozed);

    // It is all known after a crash.
    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    let stage = Stage { client, admin };
    assert_eq!(
        stage.prompted("acme", "ann").await.unwrap_err().reason,
        SuppressionReason::CoolDown
    );
    assert_eq!(stage.prompted("acme", "bob").await.unwrap_err().reason, SuppressionReason::Snoozed);
    assert!(!stage.tell("acme", &second, PromptOutcome::Shown).await);

    // At night there is no promotion, where the account is.
    stage.admin.advance_clock(DAY + DAY / 2).await.unwrap();
    let night = stage.prompted("acme", "ann").await.unwrap_err();
    assert_eq!(night.reason, SuppressionReason::QuietHours);
    let hit = stage.client.check("acme", "calls").units(10_000).rendering().with_prompt();
    assert_eq!(hit.await.unwrap().prompt.unwrap().prompt, "buy", "who meets a limit is told");
    let mut there = subscription("acme", "free");
    there.time_zone = "Asia/Tokyo".to_owned();
    stage.admin.put_subscription(there).await.unwrap();
    let by_day = stage.prompted("acme", "ann").await.unwrap();
    assert!(stage.tell("acme", &by_day, PromptOutcome::Clicked).await);
    stage.admin.advance_clock(DAY).await.unwrap();
    // Three showings of the account are all there are in a month, and two of a person in a week.
    assert_eq!(
        stage.prompted("acme", "ann").await.unwrap_err().reason,
        SuppressionReason::PromptCap
    );
    assert_eq!(stage.prompted("acme", "cid").await.unwrap_err().reason, SuppressionReason::Cap);

    // An id is of its account alone, and of nobody who makes one up.
    let told = |account: &'static str, id: String| {
        stage.client.record_outcome(account, id, PromptOutcome::Shown)
    };
    let made_up = first.prompt_id.replace("prm_", "prm_1");
    for (account, id) in
        [("globex", first.prompt_id.clone()), ("acme", made_up), ("acme", String::new())]
    {
        let error = told(account, id).await.unwrap_err();
        let Error::Rejected { reason, .. } = &error else { panic!("{error}") };
        assert_eq!(*reason, ErrorReason::UnknownPrompt);
    }
    assert!(told("acme", first.prompt_id.clone()).await.unwrap());
    stage.admin.advance_clock(DAY * 90).await.unwrap();
    let error = told("acme", first.prompt_id.clone()).await.unwrap_err().to_string();
    assert!(error.contains("more than 90 days ago"), "{error}");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_report_says_what_became_of_a_prompt() {
    let catalog = CATALOG.replacen("    cool_down: 1 day\n", "    holdout: 50%\n", 1);
    let home = Home::with_settings(&catalog, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::with_account(&home, "a0").await;
    let (mut held, mut shown) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let account = format!("a{number}");
        stage.begin(&account).await;
        match stage.prompted(&account, "ann").await {
            Ok(prompt) => {
                assert!(stage.tell(&account, &prompt, PromptOutcome::Shown).await);
                shown.push((account, prompt));
            }
            Err(suppressed) => {
                assert_eq!(suppressed.reason, SuppressionReason::Holdout);
                // As often as one looks, it is one reader.
                stage.prompted(&account, "ann").await.unwrap_err();
                held.push(account);
            }
        }
    }
    assert!(held.len() > 8 && shown.len() > 8, "{} held", held.len());
    // All who saw it buy, and one of the others.
    for account in shown.iter().map(|(account, _)| account).chain(&held[..1]) {
        stage.admin.put_subscription(subscription(account, "pro")).await.unwrap();
    }
    assert!(stage.tell(&shown[0].0, &shown[0].1, PromptOutcome::Clicked).await);
    let report = stage.report("near").await;
    let count = |variant: &str| -> i64 {
        report.counts.iter().filter(|line| line.variant == variant).map(|line| line.shown).sum()
    };
    let len = |list: usize| i64::try_from(list).unwrap();
    assert_eq!(count("holdout"), len(held.len()), "{report:?}");
    assert_eq!(count("bold") + count("control"), len(shown.len()));
    assert_eq!(report.counts.iter().map(|line| line.clicked).sum::<i64>(), 1);
    let arm = |variant: &str| report.arms.iter().find(|arm| arm.variant == variant).unwrap();
    assert_eq!((arm("holdout").readers, arm("holdout").converted), (len(held.len()), 1));
    for variant in ["bold", "control"] {
        let arm = arm(variant);
        assert_eq!(arm.converted, arm.readers, "{report:?}");
        assert_eq!(arm.against_holdout(), PromptComparison::Better, "{report:?}");
        let share = arm.conversion_share.unwrap();
        assert!(share.seen_bp == 10_000 && share.high_bp == 10_000 && share.low_bp < 10_000);
    }
    assert_eq!(report.winner, "", "both wordings do equally well");
    assert!(!report.truncated);
    let unknown = v1::GetPromptReportRequest { prompt: "nea".to_owned(), ..Default::default() };
    let error = stage.admin.get_prompt_report(unknown).await.unwrap_err().to_string();
    assert!(error.contains("is it `near`?"), "{error}");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_change_of_plan_long_after_is_not_a_prompts_doing() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::with_account(&home, "late").await;
    stage.begin("soon").await;
    for account in ["late", "soon"] {
        let prompt = stage.prompted(account, "ann").await.unwrap();
        stage.tell(account, &prompt, PromptOutcome::Shown).await;
    }
    // Told again with the same plan: nothing changed.
    stage.admin.put_subscription(subscription("soon", "free")).await.unwrap();
    stage.admin.advance_clock(DAY * 6).await.unwrap();
    assert_eq!(stage.report("near").await.counts.iter().map(|l| l.converted).sum::<i64>(), 0);
    stage.admin.put_subscription(subscription("soon", "pro")).await.unwrap();
    stage.admin.advance_clock(DAY).await.unwrap();
    stage.admin.put_subscription(subscription("late", "pro")).await.unwrap();
    let report = stage.report("near").await;
    assert_eq!(report.counts.iter().map(|line| line.converted).sum::<i64>(), 1, "{report:?}");
    sidecar.stop().await;
}

#[tokio::test]
async fn an_invitation_without_a_seat_and_the_end_of_a_trial_have_their_own_words() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::with_account(&home, "acme").await;
    let mut seats = crate::support::ask::seats(&home).await;
    let include = Some(v1::Include { prompt: true, ..v1::Include::default() });
    let invite = v1::InviteSeatRequest {
        account: "acme".to_owned(),
        feature: "team".to_owned(),
        member: "bob".to_owned(),
        include: include.clone(),
        ..v1::InviteSeatRequest::default()
    };
    let decision = seats.invite_seat(invite).await.unwrap().into_inner().decision.unwrap();
    assert_eq!(decision.prompt.unwrap().title, "No seat for them");
    let claim = v1::ClaimSeatRequest {
        account: "acme".to_owned(),
        feature: "team".to_owned(),
        member: "bob".to_owned(),
        include,
    };
    let decision = seats.claim_seat(claim).await.unwrap().into_inner().decision.unwrap();
    assert_eq!(decision.prompt.unwrap().title, "Buy");

    let now = stage.admin.get_status().await.unwrap().now.unwrap();
    let ends_at = prost_types::Timestamp { seconds: now.seconds + 5 * 86_400, nanos: 0 };
    let mut on_trial = subscription("trier", "free");
    on_trial.trial =
        Some(v1::Trial { plan: "pro".to_owned(), ends_at: Some(ends_at), ..v1::Trial::default() });
    stage.admin.put_subscription(on_trial).await.unwrap();
    let shown = || async {
        let call = stage.client.check("trier", "calls").rendering().with_prompt();
        call.await.unwrap().prompt.map(|prompt| prompt.title)
    };
    assert_eq!(shown().await, None);
    stage.admin.advance_clock(DAY * 2).await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("3 days left"));
    stage.admin.advance_clock(DAY * 3).await.unwrap();
    assert_eq!(shown().await, None);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_preview_shows_any_wording_and_counts_nothing() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::with_account(&home, "acme").await;
    let preview = |prompt: &str, variant: &str, locale: &str| {
        stage.admin.preview_prompt(v1::PreviewPromptRequest {
            prompt: prompt.to_owned(),
            account: "acme".to_owned(),
            variant: variant.to_owned(),
            locale: locale.to_owned(),
            feature: String::new(),
        })
    };
    let bold = preview("near", "bold", "de").await.unwrap();
    assert_eq!((bold.title.as_str(), bold.variant.as_str()), ("Jetzt: 1.000", "bold"));
    assert_eq!(preview("near", "control", "").await.unwrap().title, "1,000 calls");
    assert_eq!(preview("trial", "", "").await.unwrap().title, "2 days left");
    assert_eq!(bold.prompt_id, "");
    for (prompt, variant) in [("nearr", ""), ("near", "bald")] {
        let error = preview(prompt, variant, "").await.unwrap_err().to_string();
        assert!(error.contains("is it `"), "{error}");
    }
    assert_eq!(stage.report("near").await.counts, []);
    sidecar.stop().await;
}

const SIZES: &str = "\
default_plan: small
features:
  seats: { name: Seats, kind: seats, unit: seats }
plans:
  small: { name: Small, entitlements: { seats: { included: 3 } } }
  large: { name: Large, entitlements: { seats: { included: 50 } } }
prompts:
  - prompt: full
    scenario: seats_full
    title: All seats are taken
    message: >-
      {% if facts.typical_seats %}Teams your size typically use {{ facts.typical_seats }} seats.{% else %}Buy
      more.{% endif %}
expansion:
  benchmark: { size_fact: people, accounts_at_least: 6 }
";

#[tokio::test]
async fn who_needs_more_seats_reads_how_many_others_of_that_size_use() {
    let home = Home::with_settings(SIZES, "clock: test\n");
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    let people = async |account: &str, many: u32| {
        let told = home.run(&["account", "facts", account, &format!("people={many}")]);
        assert_eq!(told.code, Some(0), "{told:?}");
    };
    let sit = async |account: &str, seats: u32| {
        for seat in 0..seats {
            let claimed = client.claim_seat(account, "seats", format!("m{seat}")).await.unwrap();
            assert!(claimed.changed, "{account}: {claimed:?}");
        }
    };
    for (place, seats) in [12, 15, 15, 18, 40].into_iter().enumerate() {
        let account = format!("other{place}");
        admin.put_subscription(subscription(&account, "large")).await.unwrap();
        sit(&account, seats).await;
        people(&account, 60 + u32::try_from(place).unwrap()).await;
    }
    for (account, size) in [("acme", 75), ("tiny", 4)] {
        sit(account, 3).await;
        people(account, size).await;
    }
    let reads = async |account: &str| {
        let decision = client.check(account, "seats").with_prompt().await.unwrap();
        decision.prompt.expect("a prompt").message
    };
    assert_eq!(reads("acme").await, "Buy more.", "they are counted once a day");
    admin.advance_clock(Duration::from_secs(25 * 60 * 60)).await.unwrap();
    assert_eq!(reads("acme").await, "Teams your size typically use 15 seats.");
    assert_eq!(reads("tiny").await, "Buy more.", "alone in its size");
    let shown = home.run(&["prompt", "preview", "full", "--account", "acme"]);
    assert!(shown.stdout.contains("typically use 15 seats"), "{shown:?}");

    let wrong = SIZES.replace("at_least: 6", "at_least: 4");
    std::fs::write(home.data().join("wrong.yaml"), wrong).unwrap();
    let path = home.data().join("wrong.yaml");
    let refused = home.run(&["check", path.to_str().unwrap()]);
    assert!(refused.stderr.contains("accounts_at_least"), "{refused:?}");
}
