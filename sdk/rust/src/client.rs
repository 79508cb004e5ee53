//! The client: the handle everything in a process shares.

use crate::answer::{
    AdjustmentPage, Entitlements, EntitlementsChange, Explanation, FromProto, UsageByTimePage,
    UsageByTimeQuery, UsagePage,
};
use crate::call::{Call, Item, LevelChange, wire_units};
use crate::endpoint;
use crate::error::Error;
use crate::key::KeyMaker;
use crate::limits::{DEADLINE_DEFAULT, OPERATIONS_QUEUED_MAX};
use crate::stream::{self, Queued, Waiting};
use headroom_proto::v1;
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_proto::v1::operation_result::Result as WireResult;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Channel;

/// A connection to a sidecar. Clones share it; calls that overlap share messages.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    deadline: Duration,
    operations_queued_max: usize,
    keys: KeyMaker,
    queue: mpsc::Sender<Queued>,
    channel: Channel,
    stream: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Every call holds a client, so nobody waits for the stream any more.
        self.stream.abort();
    }
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until connect"]
pub struct ClientBuilder {
    endpoint: String,
    deadline: Duration,
    operations_queued_max: usize,
}

impl ClientBuilder {
    /// Replaces the deadline of calls, [`DEADLINE_DEFAULT`]. Connecting has the same.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Replaces how many operations may wait for a place in the stream,
    /// [`OPERATIONS_QUEUED_MAX`]. At least 1.
    pub fn operations_queued_max(mut self, operations: usize) -> Self {
        self.operations_queued_max = operations.max(1);
        self
    }

    /// Connects. Fails when the sidecar cannot be reached now; once connected, the client
    /// reconnects by itself.
    pub async fn connect(self) -> Result<Client, Error> {
        let channel = self.parse()?.connect().await.map_err(Error::unreachable)?;
        Ok(self.build(channel))
    }

    /// Connects with the first call, for a product that starts before its sidecar. Must be called
    /// within a tokio runtime, which then runs the stream.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        let channel = self.parse()?.connect_lazy();
        Ok(self.build(channel))
    }

    fn parse(&self) -> Result<tonic::transport::Endpoint, Error> {
        endpoint::parse(&self.endpoint, self.deadline)
    }

    fn build(self, channel: Channel) -> Client {
        let (queue, queued) = mpsc::channel(self.operations_queued_max);
        let stream = tokio::spawn(stream::serve(channel.clone(), queued));
        Client {
            shared: Arc::new(Shared {
                deadline: self.deadline,
                operations_queued_max: self.operations_queued_max,
                keys: KeyMaker::new(),
                queue,
                channel,
                stream,
            }),
        }
    }
}

impl Client {
    /// Connects to `http://host:port` or `unix:/path` with the default settings.
    pub async fn connect(endpoint: impl Into<String>) -> Result<Client, Error> {
        Client::builder(endpoint).connect().await
    }

    /// Settings first.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            endpoint: endpoint.into(),
            deadline: DEADLINE_DEFAULT,
            operations_queued_max: OPERATIONS_QUEUED_MAX,
        }
    }

    /// Decides without counting: whether one unit (or so many) could be used now.
    pub fn check(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
    ) -> Call<v1::CheckRequest> {
        self.call(v1::CheckRequest {
            account: account.into(),
            feature: feature.into(),
            ..v1::CheckRequest::default()
        })
    }

    /// Decides and counts in one step.
    pub fn consume(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        units: u64,
    ) -> Call<v1::ConsumeRequest> {
        self.call(v1::ConsumeRequest {
            account: account.into(),
            feature: feature.into(),
            units: wire_units(units),
            idempotency_key: self.shared.keys.next(),
            ..v1::ConsumeRequest::default()
        })
    }

    /// Sets units aside for work whose cost is not known yet; for 60 s unless told otherwise.
    pub fn reserve(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        units: u64,
    ) -> Call<v1::ReserveRequest> {
        self.call(v1::ReserveRequest {
            account: account.into(),
            feature: feature.into(),
            units: wire_units(units),
            idempotency_key: self.shared.keys.next(),
            ..v1::ReserveRequest::default()
        })
    }

    /// Decides about several features without counting: whether [`consume_all`](Client::consume_all)
    /// would allow them.
    pub fn check_all(
        &self,
        account: impl Into<String>,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Call<v1::CheckAllRequest> {
        self.call(v1::CheckAllRequest {
            account: account.into(),
            items: wire_items(items),
            ..v1::CheckAllRequest::default()
        })
    }

    /// Uses several features in one step: all of them are counted or, when one is refused, none.
    ///
    /// An item is a name and units, `("tokens", 400)`, or for a switch a name.
    pub fn consume_all(
        &self,
        account: impl Into<String>,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Call<v1::ConsumeAllRequest> {
        self.call(v1::ConsumeAllRequest {
            account: account.into(),
            items: wire_items(items),
            idempotency_key: self.shared.keys.next(),
            ..v1::ConsumeAllRequest::default()
        })
    }

    /// Sets units of several features aside in one step: all of them or, when one is refused, none.
    /// Each has a reservation of its own from then on; the units of a rate are consumed.
    pub fn reserve_all(
        &self,
        account: impl Into<String>,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Call<v1::ReserveAllRequest> {
        self.call(v1::ReserveAllRequest {
            account: account.into(),
            items: wire_items(items),
            idempotency_key: self.shared.keys.next(),
            ..v1::ReserveAllRequest::default()
        })
    }

    /// Holds longer, or more: say which with [`hold_for`](Call::<v1::ExtendRequest>::hold_for) and
    /// [`additional_units`](Call::additional_units).
    pub fn extend(
        &self,
        account: impl Into<String>,
        reservation_id: impl Into<String>,
    ) -> Call<v1::ExtendRequest> {
        self.call(v1::ExtendRequest {
            account: account.into(),
            reservation_id: reservation_id.into(),
            idempotency_key: self.shared.keys.next(),
            ..v1::ExtendRequest::default()
        })
    }

    /// Turns a reservation into usage: what the work did cost, which may be more or less than was
    /// held. While the work goes on, parts of it with [`keep_open`](Call::keep_open).
    pub fn commit(
        &self,
        account: impl Into<String>,
        reservation_id: impl Into<String>,
        units: u64,
    ) -> Call<v1::CommitRequest> {
        self.call(v1::CommitRequest {
            account: account.into(),
            reservation_id: reservation_id.into(),
            units: wire_units(units),
            idempotency_key: self.shared.keys.next(),
            ..v1::CommitRequest::default()
        })
    }

    /// Gives a reservation back unused.
    pub fn release(
        &self,
        account: impl Into<String>,
        reservation_id: impl Into<String>,
    ) -> Call<v1::ReleaseRequest> {
        self.call(v1::ReleaseRequest {
            account: account.into(),
            reservation_id: reservation_id.into(),
            idempotency_key: self.shared.keys.next(),
            include: None,
        })
    }

    /// Counts usage that happened already; it is never refused for a limit.
    pub fn record(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        units: u64,
    ) -> Call<v1::RecordRequest> {
        self.call(v1::RecordRequest {
            account: account.into(),
            feature: feature.into(),
            units: wire_units(units),
            idempotency_key: self.shared.keys.next(),
            ..v1::RecordRequest::default()
        })
    }

    /// Changes the level of an allocation: things that exist and can go away again.
    pub fn allocate(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        change: LevelChange,
    ) -> Call<v1::AllocateRequest> {
        self.call(v1::AllocateRequest {
            account: account.into(),
            feature: feature.into(),
            change: Some(change.into_proto()),
            idempotency_key: self.shared.keys.next(),
            include: None,
        })
    }

    /// Corrects an event that was counted under `event_key`: withdraws it, unless told with
    /// [`units`](Call::<v1::CorrectRequest>::units) what it should have counted. Of a Consume, or a
    /// Record without a time of its own, say with [`original_units`](Call::original_units) what it
    /// counts. Of what was counted for a subject, say with
    /// [`subject`](Call::<v1::CorrectRequest>::subject) for which.
    pub fn correct(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        event_key: impl Into<String>,
    ) -> Call<v1::CorrectRequest> {
        self.call(v1::CorrectRequest {
            account: account.into(),
            feature: feature.into(),
            event_key: event_key.into(),
            idempotency_key: self.shared.keys.next(),
            ..v1::CorrectRequest::default()
        })
    }

    /// Lists what came to windows by late events and corrections. The page after `page_token`, or the
    /// first.
    pub async fn list_adjustments(
        &self,
        account: impl Into<String>,
        feature: Option<&str>,
        page_token: Option<&str>,
    ) -> Result<AdjustmentPage, Error> {
        self.list_subject_adjustments(account, "", feature, page_token).await
    }

    /// As [`list_adjustments`](Client::list_adjustments), of the windows of a user, team or agent inside
    /// the account.
    pub async fn list_subject_adjustments(
        &self,
        account: impl Into<String>,
        subject: impl Into<String>,
        feature: Option<&str>,
        page_token: Option<&str>,
    ) -> Result<AdjustmentPage, Error> {
        let request = v1::ListAdjustmentsRequest {
            account: account.into(),
            subject: subject.into(),
            feature: feature.unwrap_or_default().to_owned(),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let mut client = EntitlementServiceClient::new(self.shared.channel.clone());
        Ok(self.within_deadline(client.list_adjustments(request)).await?.into())
    }

    /// Lists what an account may use now.
    pub async fn list_entitlements(
        &self,
        account: impl Into<String>,
    ) -> Result<Entitlements, Error> {
        let request = v1::ListEntitlementsRequest { account: account.into() };
        let mut client = EntitlementServiceClient::new(self.shared.channel.clone());
        let response = self.within_deadline(client.list_entitlements(request)).await?;
        Ok(response.into())
    }

    /// Lists what an account used in its current windows, and in those that closed at or after
    /// `closed_since`. The page after `page_token`, or the first.
    pub async fn get_usage(
        &self,
        account: impl Into<String>,
        feature: Option<&str>,
        closed_since: Option<SystemTime>,
        page_token: Option<&str>,
    ) -> Result<UsagePage, Error> {
        let request = v1::GetUsageRequest {
            account: account.into(),
            feature: feature.unwrap_or_default().to_owned(),
            closed_since: closed_since.map(Into::into),
            page_token: page_token.unwrap_or_default().to_owned(),
            ..v1::GetUsageRequest::default()
        };
        self.usage_page(request).await
    }

    /// As [`get_usage`](Self::get_usage), of one subject inside the account, or of all of them.
    pub async fn get_subject_usage(
        &self,
        account: impl Into<String>,
        subject: Option<&str>,
        feature: Option<&str>,
        closed_since: Option<SystemTime>,
        page_token: Option<&str>,
    ) -> Result<UsagePage, Error> {
        let request = v1::GetUsageRequest {
            account: account.into(),
            feature: feature.unwrap_or_default().to_owned(),
            closed_since: closed_since.map(Into::into),
            page_token: page_token.unwrap_or_default().to_owned(),
            all_subjects: subject.is_none(),
            subject: subject.unwrap_or_default().to_owned(),
            ..v1::GetUsageRequest::default()
        };
        self.usage_page(request).await
    }

    async fn usage_page(&self, request: v1::GetUsageRequest) -> Result<UsagePage, Error> {
        let mut client = EntitlementServiceClient::new(self.shared.channel.clone());
        Ok(self.within_deadline(client.get_usage(request)).await?.into())
    }

    /// Lists what an account used of a feature in each hour, day or month, the oldest first: see
    /// [`UsageByTimeQuery`]. The page after `page_token`, or the first.
    pub async fn get_usage_by_time(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        query: &UsageByTimeQuery,
        page_token: Option<&str>,
    ) -> Result<UsageByTimePage, Error> {
        let request = v1::GetUsageByTimeRequest {
            account: account.into(),
            feature: feature.into(),
            by: query.by.into(),
            group_by: query.group_by.clone(),
            from: query.from.map(Into::into),
            to: query.to.map(Into::into),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let mut client = EntitlementServiceClient::new(self.shared.channel.clone());
        Ok(self.within_deadline(client.get_usage_by_time(request)).await?.into())
    }

    /// Watches what an account may use: all of it first, then every change, until the sidecar stops or
    /// the connection breaks, which is the last item. Then watch again. With `counters` also changes of
    /// counters alone.
    pub async fn watch_entitlements(
        &self,
        account: impl Into<String>,
        counters: bool,
    ) -> Result<impl Stream<Item = Result<EntitlementsChange, Error>> + Send + Unpin, Error> {
        let request = v1::WatchEntitlementsRequest {
            account: account.into(),
            features: Vec::new(),
            counters,
        };
        let mut client = EntitlementServiceClient::new(self.shared.channel.clone());
        let changes = self.within_deadline(client.watch_entitlements(request)).await?;
        Ok(changes.map(|change| match change {
            Ok(change) => Ok(change.into()),
            Err(status) => Err(Error::from_status(status, None)),
        }))
    }

    /// Says why a recent decision was what it was, rule by rule. Only the sidecar that decided knows,
    /// for as long as its memory for that lasts.
    pub async fn explain_decision(
        &self,
        decision_id: impl Into<String>,
    ) -> Result<Explanation, Error> {
        let request = v1::ExplainDecisionRequest { decision_id: decision_id.into() };
        let mut client = EntitlementServiceClient::new(self.shared.channel.clone());
        Explanation::from_proto(self.within_deadline(client.explain_decision(request)).await?)
    }

    pub(crate) async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let deadline = self.shared.deadline;
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(status, Some(deadline))),
            Err(_elapsed) => Err(Error::DeadlineExceeded { deadline }),
        }
    }

    fn call<O: crate::Operation>(&self, operation: O) -> Call<O> {
        Call::new(self.clone(), operation)
    }

    pub(crate) fn channel(&self) -> Channel {
        self.shared.channel.clone()
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.shared.deadline
    }

    /// One attempt at an operation.
    pub(crate) async fn send(
        &self,
        operation: WireOperation,
        ends_at: Instant,
    ) -> Result<WireResult, Error> {
        let (answer, answered) = oneshot::channel();
        let queued = Queued { operation, waiting: Waiting { ends_at, answer } };
        self.shared.queue.try_send(queued).map_err(|error| match error {
            TrySendError::Full(_) => {
                Error::QueueFull { operations_max: self.shared.operations_queued_max }
            }
            TrySendError::Closed(_) => Error::stream_ended(),
        })?;
        // The sender is dropped unanswered only when the runtime that runs the stream is gone.
        answered.await.unwrap_or_else(|_| Err(Error::stream_ended()))
    }
}

fn wire_items(items: impl IntoIterator<Item = impl Into<Item>>) -> Vec<v1::Item> {
    items.into_iter().map(|item| item.into().into_proto()).collect()
}
