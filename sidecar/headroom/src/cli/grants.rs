//! `headroom grants`: units of pools of credits, given, taken back and looked at.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use headroom_sdk::{AdminClient, Error, v1};

use super::admin::with_client;
use super::args::{ToAdmin, time, units};
use super::connect::Ended;
use super::show::{self, Report};

/// Give credits to an account, take them back, and see where they went
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  headroom grants put acme ai_credits pay_31 500 --expires 2027-01-01    500 bought
  headroom grants list acme ai_credits                                   in the order they burn
  headroom grants void acme ai_credits pay_31 --reason refund            what is left is taken back
  headroom grants history acme ai_credits --since 2026-05-01             where they went")]
pub(super) struct GrantsArgs {
    #[command(subcommand)]
    pub(super) action: GrantsAction,
    #[command(flatten)]
    pub(super) to: ToAdmin,
}

/// A pool of an account.
#[derive(Debug, Args)]
pub(super) struct PoolArgs {
    /// The account's id
    pub(super) account: String,
    /// The credits feature's name in the catalog
    pub(super) pool: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum GrantsAction {
    /// Give units; the same id again changes nothing
    Put {
        #[command(flatten)]
        pool: PoolArgs,
        /// The grant's id, as in the payment's
        grant: String,
        /// How many units
        #[arg(value_parser = units)]
        units: u64,
        /// 0 to 255; lower ones burn first [default: 100, as for included units]
        #[arg(long)]
        priority: Option<u8>,
        /// From when on they can be drawn [default: at once]
        #[arg(long, value_name = "TIME", value_parser = time)]
        starts: Option<SystemTime>,
        /// Until when [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires: Option<SystemTime>,
    },
    /// Take back what is left of a grant; what was burnt stays burnt
    Void {
        #[command(flatten)]
        pool: PoolArgs,
        /// The grant's id
        grant: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// List grants in the order they burn, then those that have ended
    List(PoolArgs),
    /// List the history of the balance, oldest first
    History {
        #[command(flatten)]
        pool: PoolArgs,
        /// Only what begins then or later
        #[arg(long, value_name = "TIME", value_parser = time)]
        since: Option<SystemTime>,
        /// At most so many segments
        #[arg(long, default_value_t = 100)]
        max: usize,
    },
}

/// `headroom grants …`
pub(super) async fn run(args: GrantsArgs) -> Ended {
    let GrantsArgs { action, to } = args;
    with_client(&to, async |client| act(client, action).await).await
}

async fn act(client: &AdminClient, action: GrantsAction) -> Result<Report, Error> {
    match action {
        GrantsAction::Put { pool, grant, units, priority, starts, expires } => {
            let request = v1::PutGrantRequest {
                account: pool.account,
                pool: pool.pool,
                grant,
                units: i64::try_from(units).unwrap_or(i64::MAX),
                priority: priority.map(i32::from),
                starts_at: starts.map(Into::into),
                expires_at: expires.map(Into::into),
            };
            let done = client.put_grant(request).await?;
            Ok(show::grants(done.grant.as_slice(), done.state.as_ref()))
        }
        GrantsAction::Void { pool, grant, reason } => {
            let PoolArgs { account, pool } = pool;
            let request = v1::VoidGrantRequest { account, pool, grant, reason };
            let done = client.void_grant(request).await?;
            Ok(show::grants(done.grant.as_slice(), done.state.as_ref()))
        }
        GrantsAction::List(pool) => {
            let list = client.list_grants(pool.account, pool.pool).await?;
            Ok(show::grants(&list.grants, list.state.as_ref()))
        }
        GrantsAction::History { pool, since, max } => history(client, pool, since, max).await,
    }
}

async fn history(
    client: &AdminClient,
    pool: PoolArgs,
    since: Option<SystemTime>,
    max: usize,
) -> Result<Report, Error> {
    const PAGE: usize = 1000;
    let mut segments = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = (max - segments.len()).min(PAGE);
        if left == 0 {
            return Ok(show::credit_history(&segments));
        }
        let request = v1::ListCreditHistoryRequest {
            account: pool.account.clone(),
            pool: pool.pool.clone(),
            since: since.map(Into::into),
            page_size: i32::try_from(left).unwrap_or(i32::MAX),
            page_token,
        };
        let page = client.list_credit_history(request).await?;
        segments.extend(page.segments);
        if page.next_page_token.is_empty() {
            return Ok(show::credit_history(&segments));
        }
        page_token = page.next_page_token;
    }
}
