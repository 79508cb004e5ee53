//! One customer's way through the product, over the wire: two limits at once, warnings, a refusal, a
//! bigger plan, grace, overage, an exception, the next month. Reads from top to bottom.

mod catalog;

use std::time::{Duration, SystemTime};

use headroom_proto::v1::r#override::Value as OverrideValue;
use headroom_sdk::{
    AdminClient, Client, Decision, Denial, LimitState, OriginKind, ProjectionState, Severity,
    Verdict, v1,
};

use crate::support::ask::subscription;
use crate::support::home::Home;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// A sidecar on a test clock, and the two clients that talk to it.
struct Stage {
    client: Client,
    admin: AdminClient,
    midnight: SystemTime,
}

impl Stage {
    async fn new(home: &Home) -> Stage {
        let (client, admin) = home.clients().await;
        // Midnight of 1 March 2030 in UTC.
        let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(1_898_553_600);
        admin.set_clock(midnight).await.unwrap();
        Stage { client, admin, midnight }
    }

    async fn plan(&self, plan: &str) {
        self.admin.put_subscription(subscription("acme", plan)).await.unwrap();
    }

    /// Uses tokens, and asks for everything there is to say.
    async fn tokens(&self, units: u64) -> Decision {
        let call = self.client.consume("acme", "tokens", units);
        call.with_prompt().with_projection().with_all_limits().await.unwrap()
    }

    async fn later(&self, by: Duration) {
        self.admin.advance_clock(by).await.unwrap();
    }
}

/// The limit of this name in an answer.
#[track_caller]
fn limit<'a>(decision: &'a Decision, name: &str) -> &'a LimitState {
    let all = decision.binding.iter().chain(&decision.other_limits);
    all.into_iter().find(|state| state.limit == name).expect(name)
}

#[track_caller]
fn is_prompted(decision: &Decision, prompt: &str, severity: Severity, title: &str) {
    let found = decision.prompt.as_ref().expect("a prompt");
    let told = (found.prompt.as_str(), found.severity, found.title.as_str());
    assert_eq!(told, (prompt, severity, title), "{found:?}");
}

#[tokio::test]
async fn a_customer_grows_from_free_to_scale() {
    let home = Home::with_settings(catalog::GROWING, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    near_the_limit_of_free(&stage).await;
    grace_of_pro(&stage).await;
    overage_of_scale(&stage).await;
    the_next_month(&stage).await;
    drop(stage);
    sidecar.stop().await;
}

/// Nobody told the sidecar of the account, so it is on the default plan.
async fn near_the_limit_of_free(stage: &Stage) {
    let first = stage.tokens(200).await;
    assert_eq!((first.verdict, first.prompt.as_ref()), (Verdict::Allowed, None));
    let origin = first.origin.as_ref().unwrap();
    assert_eq!((origin.kind, origin.plan.as_str()), (OriginKind::DefaultPlan, "free"));
    // Both limits count it; the one with the least left is the one that binds.
    assert_eq!(first.binding.as_ref().unwrap().limit, "hourly");
    assert_eq!(
        (limit(&first, "hourly").used_units, limit(&first, "monthly").used_units),
        (200, 200)
    );
    assert_eq!(first.projection.as_ref().unwrap().state, ProjectionState::Learning);

    stage.later(10 * MINUTE).await;
    let warned = stage.tokens(50).await;
    assert_eq!(warned.verdict, Verdict::AllowedSoftLimit);
    assert_eq!(limit(&warned, "hourly").thresholds_passed_bp, [8_000]);
    is_prompted(&warned, "near", Severity::Warning, "83 % of your hourly tokens are used");
    let prompt = warned.prompt.as_ref().unwrap();
    // 250 in ten minutes, and 50 are left. A line would say 00:12; two calls are little to be sure of.
    let message =
        "At this rate you reach 300 at 00:13 UTC. Pro has 750 for USD\u{a0}49.00 a month.";
    assert_eq!(prompt.message, message);
    let offer = prompt.offer.as_ref().unwrap();
    assert_eq!((offer.plan.as_str(), offer.price_minor), ("pro", Some(4900)));
    let projection = warned.projection.as_ref().unwrap();
    assert_eq!(projection.state, ProjectionState::ReachesLimit);
    let minute = |at: SystemTime| at.duration_since(stage.midnight).unwrap().as_secs() / 60;
    let [from, at, to] =
        [projection.reaches_limit_from, projection.reaches_limit_at, projection.reaches_limit_to]
            .map(|at| minute(at.unwrap()));
    assert_eq!((from, at, to), (10, 13, 32));
    assert!(projection.probability_bp.unwrap() > 9_900);
    let (low, high) = (projection.units_at_window_end_low, projection.units_at_window_end_high);
    assert!(low.unwrap() < 1_500 && 1_500 < high.unwrap(), "{projection:?}");

    let refused = stage.tokens(60).await;
    assert_eq!((refused.allowed, refused.denial), (false, Some(Denial::QuotaExhausted)));
    assert_eq!(refused.retry_after, Some(50 * MINUTE));
    assert_eq!(limit(&refused, "hourly").drawable_units_remaining, Some(50));
    is_prompted(&refused, "hit", Severity::Alarm, "Your hourly tokens do not cover this");

    let locked = stage.client.check("acme", "sso").with_prompt().await.unwrap();
    assert_eq!(locked.denial, Some(Denial::NotInPlan));
    is_prompted(&locked, "locked", Severity::Info, "Single sign-on comes with Scale");
}

/// The upgrade counts at the next decision; what was used stays used.
async fn grace_of_pro(stage: &Stage) {
    stage.plan("pro").await;
    let allowed = stage.tokens(60).await;
    assert_eq!(allowed.verdict, Verdict::Allowed);
    let hourly = limit(&allowed, "hourly");
    assert_eq!((hourly.included_units, hourly.used_units), (Some(750), 310));
    assert_eq!((hourly.limit_revision, hourly.grace_units_remaining), (2, Some(75)));
    assert_eq!(allowed.origin.as_ref().unwrap().kind, OriginKind::Plan);

    // Units set aside are not usage, and nobody else gets them.
    let reserved = stage.client.reserve("acme", "tokens", 400).with_all_limits().await.unwrap();
    let hourly = limit(&reserved.decision, "hourly");
    assert_eq!((hourly.used_units, hourly.reserved_units), (310, 400));
    assert_eq!(hourly.settled_units_remaining, Some(440));
    let in_flight = stage.tokens(200).await;
    assert_eq!(in_flight.denial, Some(Denial::InFlight));
    assert!(in_flight.retry_after.is_some() && in_flight.prompt.is_none());
    let id = reserved.reservation.unwrap().id;
    let committed = stage.client.commit("acme", id, 390).with_all_limits().await.unwrap();
    assert_eq!((committed.surplus_units, committed.debt_units), (0, 0));
    assert_eq!(limit(&committed.decision, "hourly").used_units, 700);

    let grace = stage.tokens(80).await;
    assert_eq!(grace.verdict, Verdict::AllowedGrace);
    assert_eq!(limit(&grace, "hourly").grace_units_remaining, Some(45));
    is_prompted(&grace, "grace", Severity::Alarm, "You're past your hourly tokens");
    assert_eq!(grace.projection.as_ref().unwrap().state, ProjectionState::Reached);
    assert_eq!(stage.tokens(46).await.denial, Some(Denial::QuotaExhausted));

    // Usage that happened is counted whatever the limit says; what no limit allowed is debt.
    let recorded = stage.client.record("acme", "tokens", 50).with_all_limits().await.unwrap();
    assert_eq!(recorded.debt_units, 5);
    let hourly = limit(&recorded.decision, "hourly");
    assert_eq!((hourly.used_units, hourly.debt_units), (830, 5));
}

async fn overage_of_scale(stage: &Stage) {
    stage.plan("scale").await;
    let allowed = stage.tokens(1_170).await;
    assert_eq!(allowed.verdict, Verdict::AllowedSoftLimit, "2,000 of 2,000 are used");
    let overage = stage.tokens(60).await;
    assert_eq!(overage.verdict, Verdict::AllowedOverage);
    let hourly = limit(&overage, "hourly");
    assert_eq!((hourly.overage_units, hourly.drawable_units_remaining), (60, None));
    is_prompted(&overage, "overage", Severity::Alarm, "Your included hourly tokens are used up");
    assert!(stage.client.check("acme", "sso").await.unwrap().allowed);
    let models = stage.client.check("acme", "models").await.unwrap();
    assert_eq!(models.config_value.as_deref(), Some(r#"["small","large"]"#));

    // An exception for one account, of one limit.
    let units = OverrideValue::Limit(v1::LimitOverride {
        limit: "hourly".into(),
        included_units: Some(5_000),
        subject: String::new(),
    });
    let exception =
        v1::Override { feature: "tokens".into(), value: Some(units), ..v1::Override::default() };
    stage.admin.put_override("acme", exception).await.unwrap();
    let allowed = stage.tokens(10).await;
    assert_eq!((allowed.verdict, allowed.prompt.as_ref()), (Verdict::Allowed, None));
    assert_eq!(limit(&allowed, "hourly").included_units, Some(5_000));
    assert_eq!(allowed.origin.as_ref().unwrap().kind, OriginKind::Override);
    stage.admin.delete_override("acme", "tokens", None).await.unwrap();
    assert_eq!(stage.tokens(1).await.verdict, Verdict::AllowedOverage);

    stage.admin.set_account_status("acme", v1::AccountStatus::Suspended).await.unwrap();
    assert_eq!(stage.tokens(1).await.denial, Some(Denial::AccountSuspended));
    stage.admin.set_account_status("acme", v1::AccountStatus::Active).await.unwrap();
}

/// The hour and then the month begin anew; what was used in them can be read.
async fn the_next_month(stage: &Stage) {
    stage.later(HOUR).await;
    let fresh = stage.tokens(1).await;
    assert_eq!(fresh.verdict, Verdict::Allowed);
    assert_eq!(
        (limit(&fresh, "hourly").used_units, limit(&fresh, "monthly").used_units),
        (1, 2_072)
    );

    stage.later(31 * 24 * HOUR).await;
    let fresh = stage.tokens(2).await;
    assert_eq!((limit(&fresh, "hourly").used_units, limit(&fresh, "monthly").used_units), (2, 2));
    let closed = crate::support::until_async("the closed windows", async || {
        let since = Some(stage.midnight);
        let page = stage.client.get_usage("acme", Some("tokens"), since, None).await.unwrap();
        let mut closed: Vec<_> = page.windows.into_iter().filter(|w| w.closed).collect();
        closed.sort_by_key(|w| (w.limit.clone(), w.window_start));
        (closed.len() == 3).then_some(closed)
    })
    .await;
    let used: Vec<_> = closed.iter().map(|w| (w.limit.as_str(), w.used_units)).collect();
    assert_eq!(used, [("hourly", 2_071), ("hourly", 1), ("monthly", 2_072)]);
    assert_eq!((closed[0].debt_units, closed[2].debt_units), (5, 0));

    let ended = v1::PutSubscriptionRequest {
        ends_at: Some((stage.midnight + HOUR).into()),
        ..subscription("acme", "scale")
    };
    stage.admin.put_subscription(ended).await.unwrap();
    assert_eq!(stage.tokens(1).await.denial, Some(Denial::SubscriptionEnded));
}
