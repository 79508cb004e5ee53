//! One call: an operation, its key and its deadline, ready to be awaited.

use crate::answer::{
    Allocated, Committed, Corrected, Decision, Extended, FromProto, Recorded, Released, Reserved,
    Several,
};
use crate::client::Client;
use crate::error::Error;
use crate::limits::ATTEMPTS_MAX;
use crate::retry;
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_proto::v1::operation_result::Result as WireResult;
use headroom_proto::v1::{
    AllocateRequest, Audience, CheckAllRequest, CheckRequest, CommitRequest, ConsumeAllRequest,
    ConsumeRequest, CorrectRequest, ExtendRequest, Include, Intent, OnExpiry, RecordRequest,
    ReleaseRequest, ReserveAllRequest, ReserveRequest, allocate_request,
};
use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::pin::Pin;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// One of the operations that decide or count. Implemented by the request messages of the contract
/// and by nothing else.
pub trait Operation: sealed::Wire + Clone + Send + 'static {
    /// What comes back.
    type Answer: FromWire<Self> + Send + 'static;
}

/// An operation with an idempotency key: all but Check.
pub trait Write: Operation + sealed::Keyed {}

use sealed::FromWire;

mod sealed {
    use super::{Error, Include, WireOperation, WireResult};

    /// How an operation travels.
    pub trait Wire {
        fn into_wire(self) -> WireOperation;
        fn include_mut(&mut self) -> &mut Include;
    }

    /// How the answer to the operation `O` is read.
    pub trait FromWire<O>: Sized {
        fn from_wire(result: WireResult) -> Result<Self, Error>;
    }

    /// Where an operation keeps its key.
    pub trait Keyed {
        fn key(&self) -> &str;
        fn set_key(&mut self, key: String);
    }
}

type SeveralDecisions = Several<Decision>;
type SeveralReserved = Several<Reserved>;

macro_rules! operation {
    ($request:ident, $variant:ident, $answer:ident) => {
        impl Operation for $request {
            type Answer = $answer;
        }

        impl sealed::Wire for $request {
            fn into_wire(self) -> WireOperation {
                WireOperation::$variant(self)
            }

            fn include_mut(&mut self) -> &mut Include {
                self.include.get_or_insert_default()
            }
        }

        impl FromWire<$request> for $answer {
            fn from_wire(result: WireResult) -> Result<$answer, Error> {
                match result {
                    WireResult::$variant(response) => $answer::from_proto(response),
                    WireResult::Error(error) => Err(Error::from_operation(error)),
                    _other => Err(Error::UnexpectedAnswer { problem: "of another operation" }),
                }
            }
        }
    };
}

macro_rules! write_operation {
    ($request:ident, $variant:ident, $answer:ident) => {
        operation!($request, $variant, $answer);

        impl Write for $request {}

        impl sealed::Keyed for $request {
            fn key(&self) -> &str {
                &self.idempotency_key
            }

            fn set_key(&mut self, key: String) {
                self.idempotency_key = key;
            }
        }
    };
}

operation!(CheckRequest, Check, Decision);
operation!(CheckAllRequest, CheckAll, SeveralDecisions);
write_operation!(ConsumeAllRequest, ConsumeAll, SeveralDecisions);
write_operation!(ReserveAllRequest, ReserveAll, SeveralReserved);
write_operation!(ConsumeRequest, Consume, Decision);
write_operation!(ReserveRequest, Reserve, Reserved);
write_operation!(ExtendRequest, Extend, Extended);
write_operation!(CommitRequest, Commit, Committed);
write_operation!(ReleaseRequest, Release, Released);
write_operation!(RecordRequest, Record, Recorded);
write_operation!(AllocateRequest, Allocate, Allocated);

/// One of several features asked for at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The feature's name.
    pub feature: String,
    /// How many units. Absent: 1, for a switch, a config, a concurrency and what counts uses or different
    /// values, and in a check for every feature.
    pub units: Option<u64>,
    /// What its usage is told apart by, or which of different values it is: names that the catalog gives the
    /// feature, each with a value of 1 to 64 bytes. What is reserved has none: its commit says it.
    pub dimensions: BTreeMap<String, String>,
}

impl<S: Into<String>> From<(S, u64)> for Item {
    fn from((feature, units): (S, u64)) -> Item {
        Item { feature: feature.into(), units: Some(units), dimensions: BTreeMap::new() }
    }
}

impl From<&str> for Item {
    fn from(feature: &str) -> Item {
        Item { feature: feature.to_owned(), units: None, dimensions: BTreeMap::new() }
    }
}

impl Item {
    /// Says what its usage is told apart by, or which of different values it is. The same name again replaces
    /// its value.
    #[must_use]
    pub fn dimension(mut self, name: impl Into<String>, value: impl Into<String>) -> Item {
        self.dimensions.insert(name.into(), value.into());
        self
    }

    pub(crate) fn into_proto(self) -> headroom_proto::v1::Item {
        let Item { feature, units, dimensions } = self;
        headroom_proto::v1::Item { feature, units: units.map(wire_units), dimensions }
    }
}

/// How the level of an allocation changes, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelChange {
    /// So many more, if they are allowed.
    Add(u64),
    /// So many less. When there are not so many, all of them.
    Remove(u64),
    /// So many in all, if what comes in addition is allowed.
    Set(u64),
    /// So many in all, because there are: never refused for a limit.
    Report(u64),
}

impl LevelChange {
    pub(crate) fn into_proto(self) -> allocate_request::Change {
        use allocate_request::Change;
        match self {
            LevelChange::Add(units) => Change::AddUnits(wire_units(units)),
            LevelChange::Remove(units) => Change::RemoveUnits(wire_units(units)),
            LevelChange::Set(units) => Change::SetUnits(wire_units(units)),
            LevelChange::Report(units) => Change::ReportUnits(wire_units(units)),
        }
    }
}
write_operation!(CorrectRequest, Correct, Corrected);

/// A call that was described and not yet made: await it to make it.
///
/// A clone is the same call with the same idempotency key: await a clone, keep the original, and
/// await another clone when the first ended in a transient error. It is counted once.
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<O> {
    client: Client,
    operation: O,
    deadline: Duration,
}

impl<O: Operation> Call<O> {
    pub(crate) fn new(client: Client, operation: O) -> Call<O> {
        let deadline = client.deadline();
        Call { client, operation, deadline }
    }

    /// Replaces the client's deadline for this call. It covers everything: waiting, connecting,
    /// retries.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Asks for the prompt to show, if there is one.
    pub fn with_prompt(mut self) -> Self {
        self.operation.include_mut().prompt = true;
        self
    }

    /// Asks why there is no prompt, where one was held back.
    pub fn with_prompt_suppression(mut self) -> Self {
        self.operation.include_mut().prompt_suppression = true;
        self
    }

    /// Whom the prompt is for: the language of the person (`de-AT`), if it is known.
    pub fn locale(mut self, locale: impl Into<String>) -> Self {
        self.operation.include_mut().locale = locale.into();
        self
    }

    /// Whom the prompt is for: what the person may do about it.
    pub fn audience(mut self, audience: Audience) -> Self {
        self.operation.include_mut().set_audience(audience);
        self
    }

    /// Whom the prompt is for: who it is, for caps and wordings per person. It is kept as a hash alone.
    pub fn person(mut self, person: impl Into<String>) -> Self {
        self.operation.include_mut().person = person.into();
        self
    }

    /// Asks when the binding limit is reached at the account's pace.
    pub fn with_projection(mut self) -> Self {
        self.operation.include_mut().projection = true;
        self
    }

    /// Asks for every limit of the feature, not only the binding one.
    pub fn with_all_limits(mut self) -> Self {
        self.operation.include_mut().all_limits = true;
        self
    }

    /// Makes the call: a few attempts with the same key, within the deadline.
    async fn make(self) -> Result<O::Answer, Error> {
        let ends_at = Instant::now() + self.deadline;
        let late = Error::DeadlineExceeded { deadline: self.deadline };
        let mut attempt = 1;
        loop {
            let tried = self.client.send(self.operation.clone().into_wire(), ends_at);
            let answer = match tokio::time::timeout_at(ends_at, tried).await {
                Ok(answer) => answer.and_then(O::Answer::from_wire),
                Err(_elapsed) => return Err(late),
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let resumes_at = Instant::now() + retry::pause_after(attempt, retry::random_u64());
            if !error.is_retried() || attempt == ATTEMPTS_MAX || ends_at <= resumes_at {
                return Err(error);
            }
            tokio::time::sleep_until(resumes_at).await;
            attempt += 1;
        }
    }
}

impl<O: Write> Call<O> {
    /// Replaces the generated key: 1 to 128 bytes, unique per account and write. A key that names
    /// the cause (an order, a request of the product) makes the product's own retries safe too.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.operation.set_key(key.into());
        self
    }

    /// The key this call has.
    pub fn key(&self) -> &str {
        self.operation.key()
    }
}

impl Call<CheckRequest> {
    /// Asks for so many units instead of 1.
    pub fn units(mut self, units: u64) -> Self {
        self.operation.units = Some(wire_units(units));
        self
    }

    /// Says that a screen is drawn: a refusal is then never a signal.
    pub fn rendering(mut self) -> Self {
        self.operation.set_intent(Intent::Render);
        self
    }
}

impl Call<RecordRequest> {
    /// When it happened: it counts in the windows of that time, and restates those that are over.
    pub fn occurred_at(mut self, at: SystemTime) -> Self {
        self.operation.occurred_at = Some(at.into());
        self
    }
}

impl Call<CorrectRequest> {
    /// What the event counts from now on; without it, it is withdrawn.
    pub fn units(mut self, units: u64) -> Self {
        self.operation.units = Some(wire_units(units));
        self
    }

    /// What the event counts now. Another number is an error, and nothing is changed.
    pub fn original_units(mut self, units: u64) -> Self {
        self.operation.original_units = Some(wire_units(units));
        self
    }

    /// Why, for the trail: at most 256 bytes.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.operation.reason = reason.into();
        self
    }
}

macro_rules! synthetic {
    ($($request:ident),*) => {
        $(impl Call<$request> {
            /// Says that it comes from the vendor's own monitors: it is decided like any other, and
            /// counts nowhere and raises no signal.
            pub fn synthetic(mut self) -> Self {
                self.operation.synthetic = true;
                self
            }
        })*
    };
}

synthetic!(CheckRequest, ConsumeRequest, ReserveRequest, RecordRequest);
synthetic!(CheckAllRequest, ConsumeAllRequest, ReserveAllRequest);

macro_rules! for_subjects {
    ($($request:ident),*) => {
        $(impl Call<$request> {
            /// For whom inside the account: a path such as `team:growth/user:u42`. It is charged to the
            /// limits of its levels, too.
            pub fn subject(mut self, path: impl Into<String>) -> Self {
                self.operation.subject = path.into();
                self
            }
        })*
    };
}

for_subjects!(CheckRequest, ConsumeRequest, ReserveRequest, RecordRequest, CorrectRequest);
for_subjects!(CheckAllRequest, ConsumeAllRequest, ReserveAllRequest);

macro_rules! dimensions {
    ($($request:ident),*) => {
        $(impl Call<$request> {
            /// Says what the usage is told apart by, or which of different values it is: a name that the
            /// catalog gives the feature, and a value of 1 to 64 bytes. The same name again replaces its
            /// value.
            pub fn dimension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.operation.dimensions.insert(name.into(), value.into());
                self
            }
        })*
    };
}

dimensions!(CheckRequest, ConsumeRequest, CommitRequest, RecordRequest, CorrectRequest);

impl Call<CheckAllRequest> {
    /// Says that a screen is drawn: a refusal is then never a signal.
    pub fn rendering(mut self) -> Self {
        self.operation.set_intent(Intent::Render);
        self
    }
}

macro_rules! holding {
    ($($request:ident),*) => {
        $(impl Call<$request> {
            /// How long the hold lasts, 1 ms to 7 days, instead of 60 s.
            pub fn hold_for(mut self, hold_for: Duration) -> Self {
                self.operation.hold_for = Some(wire_duration(hold_for));
                self
            }

            /// Takes what is still held when the hold ends for used, instead of giving it back. A
            /// commit that comes later corrects it.
            pub fn charge_on_expiry(mut self) -> Self {
                self.operation.set_on_expiry(OnExpiry::Charge);
                self
            }
        })*
    };
}

holding!(ReserveRequest, ReserveAllRequest);

impl Call<CommitRequest> {
    /// Books a part, and holds the rest on until another commit or a release ends the reservation.
    pub fn keep_open(mut self) -> Self {
        self.operation.keep_open = true;
        self
    }

    /// With [`keep_open`](Self::keep_open): how long the rest is held from now on, 1 ms to 7 days. A
    /// hold is never shortened.
    pub fn hold_for(mut self, hold_for: Duration) -> Self {
        self.operation.hold_for = Some(wire_duration(hold_for));
        self
    }
}

impl Call<ExtendRequest> {
    /// How long the hold lasts from now on, 1 ms to 7 days. A hold is never shortened.
    pub fn hold_for(mut self, hold_for: Duration) -> Self {
        self.operation.hold_for = Some(wire_duration(hold_for));
        self
    }

    /// Units to hold in addition. They can be refused; then the hold stays as it was.
    pub fn additional_units(mut self, units: u64) -> Self {
        self.operation.additional_units = wire_units(units);
        self
    }
}

impl<O: Operation> IntoFuture for Call<O> {
    type Output = Result<O::Answer, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}

/// What does not fit the wire is above every limit of the contract, so the sidecar refuses it.
pub(crate) fn wire_units(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// As above: a duration that does not fit is far above seven days.
pub(crate) fn wire_duration(duration: Duration) -> prost_types::Duration {
    let forever = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    prost_types::Duration::try_from(duration).unwrap_or(forever)
}
