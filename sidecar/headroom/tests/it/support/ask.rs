//! Requests in few words, through the generated clients: what is tested is the wire.

use headroom_proto::v1;
use headroom_proto::v1::admin_service_client::AdminServiceClient;
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::seat_service_client::SeatServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

use super::SOON;
use super::home::Home;

pub(crate) type Entitlements = EntitlementServiceClient<Channel>;
pub(crate) type Admin = AdminServiceClient<Channel>;

/// A connection to `http://host:port` or `unix:/path`.
pub(crate) async fn channel(endpoint: &str) -> Channel {
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("an endpoint");
    endpoint.timeout(SOON).connect().await.expect("the sidecar listens")
}

pub(crate) async fn entitlements(home: &Home) -> Entitlements {
    EntitlementServiceClient::new(channel(&home.endpoint()).await)
}

pub(crate) async fn seats(home: &Home) -> SeatServiceClient<Channel> {
    SeatServiceClient::new(channel(&home.endpoint()).await)
}

pub(crate) async fn admin(home: &Home) -> Admin {
    AdminServiceClient::new(channel(&home.admin()).await)
}

pub(crate) fn consume(account: &str, feature: &str, units: i64, key: &str) -> v1::ConsumeRequest {
    v1::ConsumeRequest {
        account: account.into(),
        feature: feature.into(),
        units,
        idempotency_key: key.into(),
        ..Default::default()
    }
}

pub(crate) fn record(account: &str, feature: &str, units: i64, key: &str) -> v1::RecordRequest {
    v1::RecordRequest {
        account: account.into(),
        feature: feature.into(),
        units,
        idempotency_key: key.into(),
        ..Default::default()
    }
}

pub(crate) fn reserve(account: &str, feature: &str, units: i64, key: &str) -> v1::ReserveRequest {
    v1::ReserveRequest {
        account: account.into(),
        feature: feature.into(),
        units,
        // Long enough that no hold ends in a test on the real clock.
        hold_for: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        idempotency_key: key.into(),
        ..v1::ReserveRequest::default()
    }
}

pub(crate) fn commit(account: &str, id: &str, units: i64, key: &str) -> v1::CommitRequest {
    v1::CommitRequest {
        account: account.into(),
        reservation_id: id.into(),
        units,
        idempotency_key: key.into(),
        ..v1::CommitRequest::default()
    }
}

pub(crate) fn release(account: &str, id: &str, key: &str) -> v1::ReleaseRequest {
    v1::ReleaseRequest {
        account: account.into(),
        reservation_id: id.into(),
        idempotency_key: key.into(),
        include: None,
    }
}

pub(crate) fn check(account: &str, feature: &str) -> v1::CheckRequest {
    v1::CheckRequest {
        account: account.into(),
        feature: feature.into(),
        ..v1::CheckRequest::default()
    }
}

pub(crate) fn subscription(account: &str, plan: &str) -> v1::PutSubscriptionRequest {
    v1::PutSubscriptionRequest {
        account: account.into(),
        plan: plan.into(),
        ..v1::PutSubscriptionRequest::default()
    }
}

/// Puts an account on a plan.
pub(crate) async fn subscribe(admin: &mut Admin, account: &str, plan: &str) {
    admin.put_subscription(subscription(account, plan)).await.expect("the plan exists");
}

/// Consumes and returns the decision.
pub(crate) async fn consumed(
    client: &mut Entitlements,
    account: &str,
    feature: &str,
    units: i64,
    key: &str,
) -> v1::Decision {
    let answer = client.consume(consume(account, feature, units, key)).await;
    answer.expect("an answer").into_inner().decision.expect("a decision")
}

/// Current windows of an account; none if nobody knows it.
pub(crate) async fn usage(client: &mut Entitlements, account: &str) -> Vec<v1::UsageWindow> {
    let request = v1::GetUsageRequest { account: account.into(), ..Default::default() };
    match client.get_usage(request).await {
        Ok(answer) => answer.into_inner().windows,
        Err(status) if reason(&status) == "UNKNOWN_ACCOUNT" => Vec::new(),
        Err(status) => panic!("{status}"),
    }
}

/// Used and reserved units of a feature's only limit.
pub(crate) async fn used(client: &mut Entitlements, account: &str, feature: &str) -> (i64, i64) {
    let windows = usage(client, account).await;
    let mut of_feature = windows.iter().filter(|window| window.feature == feature);
    let found = of_feature.next().map_or((0, 0), |w| (w.used_units, w.reserved_units));
    assert!(of_feature.next().is_none(), "more than one window: {windows:?}");
    found
}

pub(crate) async fn status(admin: &mut Admin) -> v1::GetStatusResponse {
    admin.get_status(v1::GetStatusRequest {}).await.expect("a status").into_inner()
}

/// The stable name of an error, or nothing if it is not one of the sidecar's own.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == "headroom");
    info.map(|info| info.reason.clone()).unwrap_or_default()
}

/// The fields that were refused.
pub(crate) fn violations(status: &Status) -> Vec<(String, String)> {
    let details = status.get_error_details();
    let list = details.bad_request().map(|request| request.field_violations.clone());
    let pair = |v: tonic_types::FieldViolation| (v.field, v.description);
    list.unwrap_or_default().into_iter().map(pair).collect()
}
