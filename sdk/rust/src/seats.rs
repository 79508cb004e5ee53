//! Seats: who sits in an account. Each call is idempotent by its member, so it needs no key, and a
//! retry after an error is safe.

use crate::answer::{Decision, Seat, SeatAnswer, SeatsPage, decision_of};
use crate::call::wire_duration;
use crate::client::Client;
use crate::error::Error;
use headroom_proto::v1;
use headroom_proto::v1::seat_service_client::SeatServiceClient;
use std::time::Duration;
use tonic::transport::Channel;

impl Client {
    /// Holds a seat for somebody; for as long as the catalog says, unless told otherwise.
    pub async fn invite_seat(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        member: impl Into<String>,
        invite_for: Option<Duration>,
    ) -> Result<SeatAnswer, Error> {
        let request = v1::InviteSeatRequest {
            account: account.into(),
            feature: feature.into(),
            member: member.into(),
            invite_for: invite_for.map(wire_duration),
            include: None,
        };
        let answer = self.within_deadline(self.seats().invite_seat(request)).await?;
        answered(answer.decision, answer.seat, answer.changed)
    }

    /// Sits down, on the seat that was held or on a free one.
    pub async fn claim_seat(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        member: impl Into<String>,
    ) -> Result<SeatAnswer, Error> {
        let request = v1::ClaimSeatRequest {
            account: account.into(),
            feature: feature.into(),
            member: member.into(),
            include: None,
        };
        let answer = self.within_deadline(self.seats().claim_seat(request)).await?;
        answered(answer.decision, answer.seat, answer.changed)
    }

    /// Frees a seat, claimed or invited to, and forgets the member.
    pub async fn release_seat(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        member: impl Into<String>,
    ) -> Result<SeatAnswer, Error> {
        let request = v1::ReleaseSeatRequest {
            account: account.into(),
            feature: feature.into(),
            member: member.into(),
            include: None,
        };
        let answer = self.within_deadline(self.seats().release_seat(request)).await?;
        answered(answer.decision, None, answer.changed)
    }

    /// Gives one member's seat to another in one step.
    pub async fn transfer_seat(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        from_member: impl Into<String>,
        to_member: impl Into<String>,
    ) -> Result<SeatAnswer, Error> {
        let request = v1::TransferSeatRequest {
            account: account.into(),
            feature: feature.into(),
            from_member: from_member.into(),
            to_member: to_member.into(),
            include: None,
        };
        let answer = self.within_deadline(self.seats().transfer_seat(request)).await?;
        answered(answer.decision, answer.seat, answer.changed)
    }

    /// Lists who sits and who is invited, by member. The page after `page_token`, or the first.
    pub async fn list_seats(
        &self,
        account: impl Into<String>,
        feature: impl Into<String>,
        page_token: Option<&str>,
    ) -> Result<SeatsPage, Error> {
        let request = v1::ListSeatsRequest {
            account: account.into(),
            feature: feature.into(),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let page = self.within_deadline(self.seats().list_seats(request)).await?;
        Ok(SeatsPage {
            seats: page.seats.into_iter().map(Seat::from).collect(),
            next_page_token: Some(page.next_page_token).filter(|token| !token.is_empty()),
        })
    }

    fn seats(&self) -> SeatServiceClient<Channel> {
        SeatServiceClient::new(self.channel())
    }
}

fn answered(
    decision: Option<v1::Decision>,
    seat: Option<v1::Seat>,
    changed: bool,
) -> Result<SeatAnswer, Error> {
    let decision: Decision = decision_of(decision)?;
    Ok(SeatAnswer { decision, seat: seat.map(Seat::from), changed })
}
