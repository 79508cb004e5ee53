//! Webhooks by the rules of Standard Webhooks: one signed message per request.

use std::time::SystemTime;

use http::header::CONTENT_TYPE;
use http::{Request, Uri};

use super::courier::{Form, Made};
use super::lanes::Shape;
use super::limits::IN_FLIGHT_MAX;
use super::payload::Message;
use super::signature::Signer;

/// One endpoint and what is signed with.
pub(super) struct Webhook {
    url: Uri,
    signer: Signer,
}

impl Webhook {
    pub(super) fn new(url: Uri, signer: Signer) -> Webhook {
        Webhook { url, signer }
    }
}

impl Form for Webhook {
    fn shape(&self) -> Shape {
        Shape::singly(IN_FLIGHT_MAX)
    }

    fn request(&self, messages: &[Message], now: SystemTime) -> Made {
        let [message] = messages else { unreachable!("the shape says one at a time") };
        let body = message.json();
        let request = Request::post(&self.url).header(CONTENT_TYPE, "application/json");
        let request = self.signer.signed(request, &message.data.id, now, &body);
        request.body(body).map_err(|error| error.to_string())
    }
}
