//! Errors on the wire: a stable reason for programs, a short message for people, and the gRPC code.

use std::time::Duration;

use headroom_core::decide::{GrantError, ItemError};
use headroom_core::decision::OpError;
use headroom_engine::admin::AdminError;
use headroom_engine::engine::EngineError;
use headroom_engine::ports::StoreRefusal;
use headroom_proto::borrowed::Malformed;
use headroom_proto::v1::{ErrorReason, OperationError};
use prost::DecodeError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::clock::ClockError;
use crate::serve::OutcomeUnknown;

/// The domain of every `google.rpc.ErrorInfo` this sidecar sends.
pub const ERROR_DOMAIN: &str = "headroom";

/// When a client may try again after the store refused: it looks for room once a second.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// When a client may ask again about an unknown outcome: the next segment is tried at once.
const OUTCOME_RETRY: Duration = Duration::from_millis(100);

/// An error before it is written on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// The stable name.
    pub reason: ErrorReason,
    /// Lower case, with the values.
    pub message: String,
    /// Fields that are wrong, each with what is wrong with it.
    pub fields: Vec<(String, String)>,
}

impl WireError {
    /// An error with a message.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> WireError {
        WireError { reason, message: message.into(), fields: Vec::new() }
    }

    /// A field that is missing or out of its range.
    pub fn field(field: &str, problem: impl Into<String>) -> WireError {
        let problem = problem.into();
        WireError {
            reason: ErrorReason::InvalidField,
            message: format!("{field}: {problem}"),
            fields: vec![(field.to_owned(), problem)],
        }
    }

    /// All of these as one: under the reason of the first.
    ///
    /// # Panics
    /// Without any.
    pub fn several(errors: Vec<WireError>) -> WireError {
        let reason = errors.first().expect("there is an error").reason;
        let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        let message = messages.join("; ");
        let fields = errors.into_iter().flat_map(|error| error.fields).collect();
        WireError { reason, message, fields }
    }

    /// An account that was never seen.
    pub fn unknown_account(account: &str) -> WireError {
        let message = format!("there is no account {account:?}");
        WireError::new(ErrorReason::UnknownAccount, message)
    }

    /// A feature that the catalog does not have.
    pub fn unknown_feature(feature: &str) -> WireError {
        let message = format!("the catalog has no feature {feature:?}");
        WireError::new(ErrorReason::UnknownName, message)
    }

    /// The projection failed, or a row of it cannot be read, which goes to the log as well.
    pub fn archive(error: &(dyn std::error::Error + 'static)) -> WireError {
        tracing::error!(error, "the usage history cannot be read");
        WireError::new(ErrorReason::Internal, error.to_string())
    }

    /// The gRPC code. No `_` arm: a new reason must choose.
    pub fn code(&self) -> Code {
        match self.reason {
            ErrorReason::InvalidField | ErrorReason::WrongFeatureKind => Code::InvalidArgument,
            ErrorReason::IdempotencyKeyReused | ErrorReason::GrantDiffers => Code::AlreadyExists,
            ErrorReason::UnknownReservation
            | ErrorReason::UnknownAccount
            | ErrorReason::UnknownEvent
            | ErrorReason::UnknownName
            | ErrorReason::UnknownMember
            | ErrorReason::UnknownPrompt
            | ErrorReason::UnknownDecision => Code::NotFound,
            ErrorReason::ReservationClosed
            | ErrorReason::MemberHasSeat
            | ErrorReason::AlreadyUsed
            | ErrorReason::CatalogRefused
            | ErrorReason::NotATestClock => Code::FailedPrecondition,
            ErrorReason::CounterFull | ErrorReason::ClockWentBack | ErrorReason::EventTooOld => {
                Code::OutOfRange
            }
            ErrorReason::TooManyReservations
            | ErrorReason::TooManyWatches
            | ErrorReason::TooManyGrants
            | ErrorReason::TooManySubjects
            | ErrorReason::TooManySeats => Code::ResourceExhausted,
            ErrorReason::NoRoom
            | ErrorReason::StoreBroken
            | ErrorReason::OutcomeUnknown
            | ErrorReason::CatchingUp
            | ErrorReason::ShuttingDown => Code::Unavailable,
            ErrorReason::LedgerHalted | ErrorReason::Internal | ErrorReason::Unspecified => {
                Code::Internal
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self.reason {
            ErrorReason::NoRoom | ErrorReason::StoreBroken | ErrorReason::ShuttingDown => {
                Some(STORE_RETRY)
            }
            ErrorReason::OutcomeUnknown | ErrorReason::CatchingUp => Some(OUTCOME_RETRY),
            _ => None,
        }
    }

    /// As one operation's result in a stream.
    pub fn into_operation(self) -> OperationError {
        let code = self.code() as i32;
        OperationError { reason: self.reason.into(), code, message: self.message }
    }
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Status {
        let mut details = ErrorDetails::new();
        let reason = error.reason.as_str_name().trim_start_matches("ERROR_REASON_");
        details.set_error_info(reason, ERROR_DOMAIN, std::collections::HashMap::new());
        for (field, problem) in &error.fields {
            details.add_bad_request_violation(field, problem);
        }
        if error.reason == ErrorReason::TooManyReservations {
            details.add_quota_failure_violation("open reservations of the account", &error.message);
        }
        if let Some(retry_after) = error.retry_after() {
            details.set_retry_info(Some(retry_after));
        }
        Status::with_error_details(error.code(), error.message, details)
    }
}

impl From<Malformed> for WireError {
    fn from(malformed: Malformed) -> WireError {
        let message = format!("the request cannot be read: {malformed}");
        WireError::new(ErrorReason::InvalidField, message)
    }
}

impl From<DecodeError> for WireError {
    fn from(error: DecodeError) -> WireError {
        let message = format!("the request cannot be read: {error}");
        WireError::new(ErrorReason::InvalidField, message)
    }
}

impl From<EngineError> for WireError {
    fn from(error: EngineError) -> WireError {
        let reason = match &error {
            EngineError::Op(OpError::WindowNotThen) => {
                return WireError::field("began_at", error.to_string());
            }
            EngineError::Op(error) | EngineError::Item(ItemError { error, .. }) => op_reason(error),
            EngineError::Store(StoreRefusal::NoRoom) => ErrorReason::NoRoom,
            EngineError::Store(StoreRefusal::Broken { .. }) => ErrorReason::StoreBroken,
            EngineError::Store(StoreRefusal::Closed) => ErrorReason::ShuttingDown,
            EngineError::KeyReused | EngineError::KeyOfEvent => ErrorReason::IdempotencyKeyReused,
            EngineError::Dimensions { problem } => {
                return WireError::field("dimensions", problem.clone());
            }
            EngineError::ItemDimensions { place, problem } => {
                return WireError::field(&format!("items[{place}].dimensions"), problem);
            }
            EngineError::Subject(wrong) => return WireError::field("subject", wrong.to_string()),
            EngineError::Halted => ErrorReason::LedgerHalted,
            EngineError::TooManyAccounts { .. } => ErrorReason::Internal,
        };
        WireError::new(reason, error.to_string())
    }
}

/// The stable name of what the rules refuse.
fn op_reason(error: &OpError) -> ErrorReason {
    match error {
        OpError::WrongFeatureKind
        | OpError::SlotsAreHeld
        | OpError::RateIsConsumed
        | OpError::LevelIsNow
        | OpError::SeatsAreTaken
        | OpError::NoSeats { .. }
        | OpError::NoOpening { .. }
        | OpError::WindowSlides
        | OpError::NothingToHold { .. }
        | OpError::NotCorrectable { .. }
        | OpError::NothingToOpen { .. }
        | OpError::NoLevel { .. } => ErrorReason::WrongFeatureKind,
        OpError::LimitNotGiven => ErrorReason::UnknownName,
        OpError::AlreadyUsed { .. } => ErrorReason::AlreadyUsed,
        OpError::WindowNotThen | OpError::NoValue => ErrorReason::InvalidField,
        OpError::WindowIsOver { .. } => ErrorReason::EventTooOld,
        OpError::TooManyGrants { .. } | OpError::TooManyParts { .. } => ErrorReason::TooManyGrants,
        OpError::CounterFull => ErrorReason::CounterFull,
        OpError::UnknownMember => ErrorReason::UnknownMember,
        OpError::MemberHasSeat => ErrorReason::MemberHasSeat,
        OpError::TooManySeats { .. } => ErrorReason::TooManySeats,
        OpError::UnknownReservation => ErrorReason::UnknownReservation,
        OpError::ReservationClosed { .. } => ErrorReason::ReservationClosed,
        OpError::TooManyReservations { .. } | OpError::TooManyExpired { .. } => {
            ErrorReason::TooManyReservations
        }
        OpError::TooManySubjects { .. } => ErrorReason::TooManySubjects,
    }
}

impl From<AdminError> for WireError {
    fn from(error: AdminError) -> WireError {
        let reason = match &error {
            AdminError::Engine(engine) => return engine.clone().into(),
            AdminError::UnknownAccount { .. } => ErrorReason::UnknownAccount,
            AdminError::UnknownName { .. } => ErrorReason::UnknownName,
            AdminError::Behind { .. } => ErrorReason::CatchingUp,
            AdminError::WrongKind { .. } => ErrorReason::WrongFeatureKind,
            AdminError::NoLeast { .. } => {
                return WireError::field("override.at_least", error.to_string());
            }
            AdminError::WrongSubject { what } => {
                return WireError::field("override.limit.subject", what.clone());
            }
            AdminError::UnlimitedCredits { .. } => {
                return WireError::field("override.limit.included_units", error.to_string());
            }
            AdminError::Grant(GrantError::Differs) => ErrorReason::GrantDiffers,
            AdminError::Grant(GrantError::TooMany { .. }) => ErrorReason::TooManyGrants,
            AdminError::Grant(GrantError::CounterFull) => ErrorReason::CounterFull,
            AdminError::Grant(GrantError::Unknown) => ErrorReason::UnknownName,
            AdminError::Grant(GrantError::KeptId | GrantError::Planned) => {
                return WireError::field("grant", error.to_string());
            }
            AdminError::Grant(GrantError::Over { .. }) => {
                return WireError::field("expires_at", error.to_string());
            }
            AdminError::UnknownZone { .. } => {
                return WireError::field("time_zone", error.to_string());
            }
            AdminError::TooMany { .. } => ErrorReason::InvalidField,
        };
        let mut message = error.to_string();
        if let AdminError::UnknownName { name, known, .. } = &error {
            let close = known
                .iter()
                .map(|word| (strsim::jaro_winkler(word, name), word))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, word)) = close.filter(|(likeness, _)| *likeness > 0.7) {
                message.push_str(&format!(", did you mean {word:?}?"));
            }
        }
        WireError::new(reason, message)
    }
}

impl From<OutcomeUnknown> for WireError {
    fn from(_: OutcomeUnknown) -> WireError {
        WireError::new(
            ErrorReason::OutcomeUnknown,
            "the journal failed after the decision was counted; retry with the same idempotency key",
        )
    }
}

impl From<ClockError> for WireError {
    fn from(error: ClockError) -> WireError {
        let reason = match error {
            ClockError::NotATestClock => ErrorReason::NotATestClock,
            ClockError::WentBack { .. } => ErrorReason::ClockWentBack,
        };
        WireError::new(reason, error.to_string())
    }
}
