//! OAuth 2 client credentials: a token for a sink, asked for when there is none or the old one is
//! refused.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use serde::Deserialize;
use tokio::time::Instant;

use super::http::{Read, Transport};
use super::limits::{TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX};
use super::template;
use crate::config::sinks::OAuth2;

/// Asks for tokens and keeps the last one.
pub(super) struct Tokens<T> {
    transport: T,
    spec: OAuth2,
    kept: Mutex<Option<(HeaderValue, Instant)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl<T: Transport> Tokens<T> {
    pub(super) fn new(transport: T, spec: OAuth2) -> Tokens<T> {
        Tokens { transport, spec, kept: Mutex::new(None) }
    }

    /// The request with a token. Requests that find none at the same moment ask for one each.
    pub(super) async fn authorize(
        &self,
        mut request: Request<Vec<u8>>,
    ) -> Result<Request<Vec<u8>>, String> {
        let now = Instant::now();
        let kept = self.kept().clone().filter(|(_, until)| now < *until);
        let token = match kept {
            Some((token, _)) => token,
            None => {
                let (token, life) =
                    self.ask().await.map_err(|what| format!("the token: {what}"))?;
                *self.kept() = Some((token.clone(), now + life));
                token
            }
        };
        request.headers_mut().insert(AUTHORIZATION, token);
        Ok(request)
    }

    /// The endpoint did not accept the token: another is asked for next time.
    pub(super) fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<(HeaderValue, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<(HeaderValue, Duration), String> {
        let spec = &self.spec;
        let mut fields = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", spec.client_id.clone()),
            ("client_secret", spec.client_secret.0.clone()),
        ];
        fields.extend(spec.scope.clone().map(|scope| ("scope", scope)));
        let request = Request::post(&spec.token_url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(template::form(fields))
            .map_err(|error| error.to_string())?;
        let answer = self.transport.send(request, Read::Body).await?;
        if !answer.status.is_success() {
            // The body may repeat what was sent.
            return Err(format!("status {}", answer.status.as_u16()));
        }
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| "the answer has no `access_token`".to_owned())?;
        let mut token = HeaderValue::from_str(&format!("Bearer {}", granted.access_token))
            .map_err(|_| "it has characters that no header can have".to_owned())?;
        token.set_sensitive(true);
        let life = granted.expires_in.map_or(TOKEN_LIFE_DEFAULT, Duration::from_secs);
        // A tenth early, so that none ends on its way.
        Ok((token, life.min(TOKEN_LIFE_MAX) * 9 / 10))
    }
}
