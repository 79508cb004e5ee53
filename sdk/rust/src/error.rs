//! Errors: why a call got no answer. A refusal is not among them.

use headroom_proto::v1::{ErrorReason, OperationError};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of the sidecar's google.rpc.ErrorInfo.
const ERROR_DOMAIN: &str = "headroom";

/// A field of a request that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field, as the proto file names it.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a call got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The endpoint cannot be understood.
    #[error("endpoint {endpoint:?} is neither http://host:port nor unix:/path")]
    BadEndpoint {
        /// What was given.
        endpoint: String,
    },
    /// The sidecar cannot be reached, or the connection broke before the answer came.
    #[error("sidecar not reached")]
    Unreachable {
        /// What the transport said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time. A write may have been counted.
    #[error("no answer within {deadline:?}")]
    DeadlineExceeded {
        /// The deadline of the call.
        deadline: Duration,
    },
    /// More calls are waiting than the client lets wait. Nothing was sent.
    #[error("{operations_max} operations are waiting already")]
    QueueFull {
        /// How many may wait.
        operations_max: usize,
    },
    /// The sidecar answered with an error.
    #[error("{}: {message}", reason_for_people(*.reason, *.code))]
    Rejected {
        /// The stable name of the error. `Unspecified`: the error is not one of the sidecar's own,
        /// or newer than this SDK; then look at `code`.
        reason: ErrorReason,
        /// The gRPC status code.
        code: Code,
        /// A short text for people.
        message: String,
        /// The fields that were refused, when the sidecar named them.
        violations: Vec<FieldViolation>,
    },
    /// The answer does not fit the question: the other side is not a Headroom sidecar of this
    /// version.
    #[error("unexpected answer: {problem}")]
    UnexpectedAnswer {
        /// What does not fit.
        problem: &'static str,
    },
}

/// `invalid_field` for a reason, `not_found` for a bare code.
fn reason_for_people(reason: ErrorReason, code: Code) -> String {
    match reason {
        ErrorReason::Unspecified => format!("{code:?}").to_lowercase(),
        known => known.as_str_name().trim_start_matches("ERROR_REASON_").to_lowercase(),
    }
}

impl Error {
    /// True when the very same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unreachable { .. }
            | Error::DeadlineExceeded { .. }
            | Error::QueueFull { .. } => true,
            Error::BadEndpoint { .. } | Error::UnexpectedAnswer { .. } => false,
            Error::Rejected { reason, code, .. } => match reason {
                ErrorReason::TooManyReservations
                | ErrorReason::TooManyWatches
                | ErrorReason::TooManySeats
                | ErrorReason::TooManySubjects
                | ErrorReason::NoRoom
                | ErrorReason::StoreBroken
                | ErrorReason::OutcomeUnknown
                | ErrorReason::CatchingUp
                | ErrorReason::ShuttingDown => true,
                ErrorReason::Unspecified => {
                    matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted)
                }
                ErrorReason::InvalidField
                | ErrorReason::IdempotencyKeyReused
                | ErrorReason::GrantDiffers
                | ErrorReason::AlreadyUsed
                | ErrorReason::TooManyGrants
                | ErrorReason::UnknownReservation
                | ErrorReason::ReservationClosed
                | ErrorReason::WrongFeatureKind
                | ErrorReason::CounterFull
                | ErrorReason::UnknownAccount
                | ErrorReason::UnknownName
                | ErrorReason::UnknownPrompt
                | ErrorReason::UnknownDecision
                | ErrorReason::UnknownEvent
                | ErrorReason::EventTooOld
                | ErrorReason::UnknownMember
                | ErrorReason::MemberHasSeat
                | ErrorReason::CatalogRefused
                | ErrorReason::NotATestClock
                | ErrorReason::ClockWentBack
                | ErrorReason::LedgerHalted
                | ErrorReason::Internal => false,
            },
        }
    }

    /// True when a write may have been counted although no answer came. Repeat it with the same
    /// idempotency key to find out.
    pub fn may_have_counted(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::DeadlineExceeded { .. } => true,
            Error::Rejected { reason, code, .. } => match reason {
                ErrorReason::OutcomeUnknown | ErrorReason::Internal => true,
                ErrorReason::Unspecified => *code != Code::InvalidArgument,
                _named => false,
            },
            // An answer of the wrong kind is an answer to something.
            Error::UnexpectedAnswer { .. } => true,
            Error::BadEndpoint { .. } | Error::QueueFull { .. } => false,
        }
    }

    /// The stable name of the error, when the sidecar sent one.
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Error::Rejected { reason: ErrorReason::Unspecified, .. } => None,
            Error::Rejected { reason, .. } => Some(*reason),
            Error::BadEndpoint { .. }
            | Error::Unreachable { .. }
            | Error::DeadlineExceeded { .. }
            | Error::QueueFull { .. }
            | Error::UnexpectedAnswer { .. } => None,
        }
    }

    /// True when the SDK itself tries again, with the same key: the sidecar was not reached, is
    /// going away, or asks for it.
    pub(crate) fn is_retried(&self) -> bool {
        match self {
            Error::Unreachable { .. } => true,
            Error::Rejected { reason, .. } => {
                use ErrorReason::{CatchingUp, OutcomeUnknown, ShuttingDown};
                matches!(reason, OutcomeUnknown | CatchingUp | ShuttingDown)
            }
            Error::BadEndpoint { .. }
            | Error::DeadlineExceeded { .. }
            | Error::QueueFull { .. }
            | Error::UnexpectedAnswer { .. } => false,
        }
    }

    pub(crate) fn unreachable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Unreachable { source: Arc::new(source) }
    }

    /// The stream ended, though the sidecar gave no reason.
    pub(crate) fn stream_ended() -> Error {
        Error::unreachable(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "the sidecar closed the stream",
        ))
    }

    /// What a status of the transport or of the sidecar means. `deadline` is the one of the call;
    /// a stream has none.
    pub(crate) fn from_status(status: Status, deadline: Option<Duration>) -> Error {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let Some(info) = info else {
            return Error::from_foreign_status(status, deadline);
        };
        let violations = details.bad_request().map(|request| &request.field_violations[..]);
        Error::Rejected {
            reason: reason_from_name(&info.reason),
            code: status.code(),
            message: status.message().to_owned(),
            violations: violations
                .unwrap_or_default()
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    problem: violation.description.clone(),
                })
                .collect(),
        }
    }

    /// A status that a sidecar did not make: it comes from the transport or from a proxy.
    fn from_foreign_status(status: Status, deadline: Option<Duration>) -> Error {
        // A status with a cause was made on this side, by a connection that failed.
        let is_local = std::error::Error::source(&status).is_some();
        match (status.code(), deadline) {
            (Code::DeadlineExceeded, Some(deadline)) => Error::DeadlineExceeded { deadline },
            (Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded, _) => {
                Error::unreachable(status)
            }
            _ if is_local => Error::unreachable(status),
            (code, _) => Error::Rejected {
                reason: ErrorReason::Unspecified,
                code,
                message: status.message().to_owned(),
                violations: Vec::new(),
            },
        }
    }

    /// What a failed operation of a stream means.
    pub(crate) fn from_operation(error: OperationError) -> Error {
        Error::Rejected {
            reason: error.reason(),
            code: Code::from_i32(error.code),
            message: error.message,
            violations: Vec::new(),
        }
    }
}

/// Reads the reason with or without its prefix: proto enums carry it, google.rpc.ErrorInfo by
/// custom does not.
fn reason_from_name(name: &str) -> ErrorReason {
    ErrorReason::from_str_name(name)
        .or_else(|| ErrorReason::from_str_name(&format!("ERROR_REASON_{name}")))
        .unwrap_or(ErrorReason::Unspecified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    const DEADLINE: Option<Duration> = Some(Duration::from_millis(250));

    #[test]
    fn reason_is_read_from_error_info_with_or_without_prefix() {
        for name in ["INVALID_FIELD", "ERROR_REASON_INVALID_FIELD"] {
            let mut details = ErrorDetails::with_error_info(name, ERROR_DOMAIN, []);
            details.add_bad_request_violation("units", "must be 1 or more");
            let status = Status::with_error_details(Code::InvalidArgument, "bad units", details);
            let error = Error::from_status(status, DEADLINE);
            assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
            assert_eq!(error.to_string(), "invalid_field: bad units");
            assert!(!error.is_transient() && !error.may_have_counted() && !error.is_retried());
            let Error::Rejected { violations, .. } = error else { panic!("{error:?}") };
            assert_eq!(violations[0].field, "units");
        }
    }

    #[track_caller]
    fn check_foreign(code: Code, text: &str, transient: bool) {
        let error = Error::from_status(Status::new(code, "no such thing"), DEADLINE);
        assert_eq!((error.to_string().as_str(), error.is_transient()), (text, transient));
        assert_eq!(error.reason(), None);
    }

    #[test]
    fn status_of_a_stranger_is_read_by_its_code() {
        check_foreign(Code::Unavailable, "sidecar not reached", true);
        check_foreign(Code::Cancelled, "sidecar not reached", true);
        check_foreign(Code::DeadlineExceeded, "no answer within 250ms", true);
        check_foreign(Code::Unimplemented, "unimplemented: no such thing", false);
        check_foreign(Code::ResourceExhausted, "resourceexhausted: no such thing", true);
    }
}
