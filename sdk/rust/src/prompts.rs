//! What became of prompts. The same outcome of the same prompt changes nothing when it is told
//! again, so a retry after an error is safe.

use crate::call::wire_duration;
use crate::client::Client;
use crate::error::Error;
use headroom_proto::v1;
use headroom_proto::v1::prompt_service_client::PromptServiceClient;
use std::time::Duration;

/// What became of a prompt. Whatever a person does with one, it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptOutcome {
    /// It was seen.
    Shown,
    /// It was closed.
    Dismissed,
    /// Its action was taken.
    Clicked,
    /// What it is for came about. A change of plan is noticed by itself.
    Converted,
    /// It was put off for so long, 1 ms to 90 days.
    Snoozed(Duration),
}

impl Client {
    /// Tells what became of a prompt, by the [`prompt_id`](crate::Prompt::prompt_id) that it came
    /// with. Says whether that was new. Only what was shown counts towards caps.
    ///
    /// # Errors
    /// When the id is none of the account's, or the prompt is older than 90 days.
    pub async fn record_outcome(
        &self,
        account: impl Into<String>,
        prompt_id: impl Into<String>,
        outcome: PromptOutcome,
    ) -> Result<bool, Error> {
        let (kind, snooze_for) = match outcome {
            PromptOutcome::Shown => (v1::PromptOutcome::Shown, None),
            PromptOutcome::Dismissed => (v1::PromptOutcome::Dismissed, None),
            PromptOutcome::Clicked => (v1::PromptOutcome::Clicked, None),
            PromptOutcome::Converted => (v1::PromptOutcome::Converted, None),
            PromptOutcome::Snoozed(span) => (v1::PromptOutcome::Snoozed, Some(wire_duration(span))),
        };
        let request = v1::RecordOutcomeRequest {
            account: account.into(),
            prompt_id: prompt_id.into(),
            outcome: kind.into(),
            snooze_for,
        };
        let mut client = PromptServiceClient::new(self.channel());
        Ok(self.within_deadline(client.record_outcome(request)).await?.changed)
    }
}
