//! The courier of every sink that speaks HTTP: what they have in common, which is nearly
//! everything. What is left to a kind is its form.

use std::time::{Duration, SystemTime};

use http::request::Builder;
use http::{Request, StatusCode};

use super::dead::Why;
use super::delivery::{Courier, Outcome};
use super::http::{Answer, Read, Transport};
use super::lanes::{Failure, Shape};
use super::oauth::Tokens;
use super::payload::Message;
use crate::config::sinks::Credential;

/// A request, or why there is none: a text for the operator.
pub(super) type Made = Result<Request<Vec<u8>>, String>;

/// The form of one kind of sink: how messages become a request, and what the answer means.
pub(super) trait Form: Send + Sync + 'static {
    /// How it wants to be sent to.
    fn shape(&self) -> Shape;

    /// See [`Courier::bytes`].
    fn bytes(&self, _: &Message) -> Option<(usize, usize)> {
        None
    }

    /// The request that delivers all of these; `now` is the real time of the attempt.
    fn request(&self, messages: &[Message], now: SystemTime) -> Made;

    /// Whether the answer's body matters.
    fn read(&self) -> Read {
        Read::Nothing
    }

    /// What an answer means.
    fn judge(&self, answer: &Answer) -> Outcome {
        by_status(answer)
    }
}

/// Sends what a form makes.
pub(super) struct HttpCourier<T> {
    pub(super) transport: T,
    pub(super) form: Box<dyn Form>,
    /// Where tokens come from. `None`: requests say themselves who is sending.
    pub(super) tokens: Option<Tokens<T>>,
}

impl<T: Transport> HttpCourier<T> {
    /// Sends a request, with a token if one is needed. A token that is refused may have been
    /// withdrawn, so that another is tried, once.
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Answer, String> {
        let Some(tokens) = &self.tokens else {
            return self.transport.send(request, self.form.read()).await;
        };
        let first = tokens.authorize(request.clone()).await?;
        let answer = self.transport.send(first, self.form.read()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        tokens.forget();
        self.transport.send(tokens.authorize(request).await?, self.form.read()).await
    }
}

impl<T: Transport> Courier for HttpCourier<T> {
    fn shape(&self) -> Shape {
        self.form.shape()
    }

    fn bytes(&self, message: &Message) -> Option<(usize, usize)> {
        self.form.bytes(message)
    }

    async fn deliver(&self, messages: Vec<Message>) -> Outcome {
        let request = match self.form.request(&messages, SystemTime::now()) {
            Ok(request) => request,
            Err(what) => return unsendable(what),
        };
        match self.send(request).await {
            Ok(answer) => self.form.judge(&answer),
            Err(what) => Outcome::silence(what),
        }
    }
}

impl Shape {
    /// One signal per request, and so many requests at once.
    pub(super) fn singly(in_flight_max: usize) -> Shape {
        Shape { batch_max: 1, in_flight_max, pace: Duration::ZERO }
    }
}

/// The request with what says who is sending.
pub(super) fn authorized(builder: Builder, credential: Option<&Credential>) -> Builder {
    match credential {
        Some(Credential { name, value }) => builder.header(name, value),
        None => builder,
    }
}

/// Nothing could be sent because of the signal itself.
fn unsendable(what: String) -> Outcome {
    let failure = Failure { of_endpoint: false, retry_after: None };
    Outcome::Refused { what, why: Why::NoAnswer, failure }
}

/// What a status means where nothing else is said.
pub(super) fn by_status(answer: &Answer) -> Outcome {
    match answer.status {
        status if status.is_success() => Outcome::Accepted,
        StatusCode::GONE => Outcome::Gone,
        status => refused(answer, format!("status {}", status.as_u16())),
    }
}

/// An answer that is a refusal.
pub(super) fn refused(answer: &Answer, what: String) -> Outcome {
    let of_endpoint = is_of_endpoint(answer.status);
    let failure = Failure { of_endpoint, retry_after: answer.retry_after };
    Outcome::Refused { what, why: Why::Status(answer.status.as_u16()), failure }
}

/// Whether a refusal is about the endpoint, so that another signal would fare the same. What may
/// depend on the message itself is left to the signal.
fn is_of_endpoint(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::INTERNAL_SERVER_ERROR
    )
}
