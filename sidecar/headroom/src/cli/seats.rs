//! `headroom seats`: who sits in an account, by hand.

use headroom_sdk::{Client, Error, SeatAnswer};

use super::args::{SeatsAction, SeatsArgs};
use super::connect::{self, Ended, Failure};
use super::show::{self, Report};

/// Asks, and shows the answer.
pub(super) async fn run(args: SeatsArgs) -> Ended {
    let client = match connect::sidecar(&args.to).await {
        Ok(client) => client,
        Err(failure) => return Ended::Failed(failure),
    };
    match answer(&client, args.action).await {
        Ok(report) => {
            show::report(&report, args.to.json);
            if report.is_refusal { Ended::Refused } else { Ended::Done }
        }
        Err(error) => Ended::Failed(Failure::new(error, &args.to.endpoint)),
    }
}

async fn answer(client: &Client, action: SeatsAction) -> Result<Report, Error> {
    let shown = |answer: SeatAnswer| show::seat(&answer);
    match action {
        SeatsAction::Invite { seat, lasts } => {
            client.invite_seat(seat.account, seat.feature, seat.member, lasts).await.map(shown)
        }
        SeatsAction::Claim(seat) => {
            client.claim_seat(seat.account, seat.feature, seat.member).await.map(shown)
        }
        SeatsAction::Release(seat) => {
            client.release_seat(seat.account, seat.feature, seat.member).await.map(shown)
        }
        SeatsAction::Transfer { account, feature, from, to } => {
            client.transfer_seat(account, feature, from, to).await.map(shown)
        }
        SeatsAction::List { account, feature } => {
            let mut seats = Vec::new();
            let mut page_token: Option<String> = None;
            loop {
                let page = client.list_seats(&*account, &*feature, page_token.as_deref()).await?;
                seats.extend(page.seats);
                page_token = page.next_page_token;
                if page_token.is_none() {
                    return Ok(show::seats(&seats));
                }
            }
        }
    }
}
