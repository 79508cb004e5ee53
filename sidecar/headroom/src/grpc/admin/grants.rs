//! Grants and the history of pools of credits.

use headroom_core::catalog::Catalog;
use headroom_core::credits::{Grant, GrantEnding, GrantSource, PRIORITY_USUAL, Segment};
use headroom_core::decide::{GrantError, NewGrant};
use headroom_core::limits::{GRANT_ID_BYTES_MAX, GRANT_REASON_BYTES_MAX};
use headroom_core::time::Millis;
use headroom_engine::admin::AdminError;
use headroom_engine::digest::{after_prefix, credits_key, credits_row, usage_prefix};
use headroom_engine::grants::GrantChanged;
use headroom_engine::ports::{Archive, Table};
use headroom_proto::v1;

use super::Administration;
use crate::grpc::present::{self, int, timestamp};
use crate::grpc::status::WireError;
use crate::grpc::{page, parse};

const _: () = assert!(GRANT_ID_BYTES_MAX == parse::ID_BYTES_MAX);

impl Administration {
    pub(super) async fn give(
        &self,
        rq: &v1::PutGrantRequest,
    ) -> Result<v1::PutGrantResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        let pool = parse::id("pool", &rq.pool)?;
        let instant = |field, at: &Option<prost_types::Timestamp>| {
            at.as_ref().map(|at| parse::timestamp(field, at)).transpose()
        };
        let new = NewGrant {
            id: parse::id("grant", &rq.grant)?,
            units: parse::units("units", rq.units, 1)?,
            priority: match rq.priority {
                None => PRIORITY_USUAL,
                Some(priority) => u8::try_from(priority)
                    .map_err(|_| WireError::field("priority", "must be 0 to 255"))?,
            },
            starts_at: instant("starts_at", &rq.starts_at)?,
            expires_at: instant("expires_at", &rq.expires_at)?,
        };
        let engine = &self.core.shared.engine;
        let changed = engine.put_grant(account, pool, &new, self.now()).map_err(|error| {
            let is_other = error == AdminError::Grant(GrantError::Differs);
            let view = is_other.then(|| engine.pool(account, pool, self.now()).ok()).flatten();
            let other =
                view.and_then(|view| view.grants.into_iter().find(|one| &*one.id == new.id));
            let mut wire = WireError::from(error);
            if let Some(other) = other {
                wire.message += &format!(": {}", described(&other));
            }
            wire
        })?;
        let (grant, state) = self.grant_written(changed).await?;
        Ok(v1::PutGrantResponse { grant: Some(grant), state: Some(state) })
    }

    pub(super) async fn take_back(
        &self,
        rq: &v1::VoidGrantRequest,
    ) -> Result<v1::VoidGrantResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        let pool = parse::id("pool", &rq.pool)?;
        let grant = parse::id("grant", &rq.grant)?;
        if rq.reason.len() > GRANT_REASON_BYTES_MAX {
            let problem =
                format!("is {} bytes long, the most is {GRANT_REASON_BYTES_MAX}", rq.reason.len());
            return Err(WireError::field("reason", problem));
        }
        let engine = &self.core.shared.engine;
        let changed = engine.void_grant(account, pool, (grant, &rq.reason), self.now())?;
        let (grant, state) = self.grant_written(changed).await?;
        Ok(v1::VoidGrantResponse { grant: Some(grant), state: Some(state) })
    }

    async fn grant_written(
        &self,
        changed: GrantChanged,
    ) -> Result<(v1::Grant, v1::LimitState), WireError> {
        self.written(changed.wait_for).await?;
        let catalog = self.core.shared.engine.catalog();
        Ok((show(&changed.grant), present::limit_state(&catalog, &changed.state)))
    }

    pub(super) fn grants(
        &self,
        rq: &v1::ListGrantsRequest,
    ) -> Result<v1::ListGrantsResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        let pool = parse::id("pool", &rq.pool)?;
        let engine = &self.core.shared.engine;
        let view = engine.pool(account, pool, self.now())?;
        let catalog: &Catalog = &engine.catalog();
        Ok(v1::ListGrantsResponse {
            grants: view.grants.iter().map(show).collect(),
            state: Some(present::limit_state(catalog, &view.state)),
        })
    }

    /// The token is the start of the segment that the next page begins with.
    pub(super) fn credit_history(
        &self,
        rq: &v1::ListCreditHistoryRequest,
    ) -> Result<v1::ListCreditHistoryResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        let pool = parse::id("pool", &rq.pool)?;
        let size = page::size(rq.page_size)?;
        let since = rq.since.as_ref().map(|at| parse::timestamp("since", at)).transpose()?;
        let from = page::number(&rq.page_token)?.map(Millis);
        let from = from.or(since).unwrap_or(Millis(i64::MIN));
        let view = self.core.shared.engine.pool(account, pool, self.now())?;
        let key = credits_key(view.serial, view.feature, from);
        let end = after_prefix(&usage_prefix(view.serial, Some(view.feature)));
        let rows = self.core.store.range(Table::Credits, &key, &end, size + 1);
        let rows = rows.map_err(|error| WireError::archive(&error))?;
        let mut segments = Vec::with_capacity(rows.len());
        for (_, value) in &rows {
            segments.push(credits_row(value).map_err(|error| WireError::archive(&error))?);
        }
        // The rows trail the memory by milliseconds: what does not follow them is left for later.
        let follows = |open: &Segment| {
            from <= open.from && segments.last().is_none_or(|last| last.to == open.from)
        };
        segments.extend(view.open_segment.filter(follows));
        let next = segments.get(size).map(|segment| segment.from.0.to_string());
        segments.truncate(size);
        Ok(v1::ListCreditHistoryResponse {
            segments: segments.iter().map(show_segment).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }
}

fn show(grant: &Grant) -> v1::Grant {
    let state = match grant.end.as_ref().map(|end| end.how) {
        None if grant.has_begun => v1::GrantState::Active,
        None => v1::GrantState::Waiting,
        Some(GrantEnding::UsedUp) => v1::GrantState::UsedUp,
        Some(GrantEnding::Expired) => v1::GrantState::Expired,
        Some(GrantEnding::Void) => v1::GrantState::Void,
    };
    let source = match grant.source {
        GrantSource::Given => v1::GrantSource::Given,
        GrantSource::Included => v1::GrantSource::Included,
        GrantSource::RolledOver => v1::GrantSource::RolledOver,
    };
    let end = grant.end.as_deref();
    v1::Grant {
        grant: grant.id.to_string(),
        source: source.into(),
        state: state.into(),
        units: int(grant.units),
        burnt_units: int(grant.burnt_units),
        units_remaining: int(grant.left_units()),
        priority: i32::from(grant.priority),
        starts_at: Some(timestamp(grant.starts_at)),
        expires_at: (grant.expires_at != Millis::FOREVER).then(|| timestamp(grant.expires_at)),
        granted_at: Some(timestamp(grant.granted_at)),
        ended_at: end.map(|end| timestamp(end.at)),
        lost_units: end.map_or(0, |end| int(end.lost_units)),
        void_reason: end.map_or_else(String::new, |end| end.reason.to_string()),
    }
}

fn show_segment(segment: &Segment) -> v1::CreditSegment {
    v1::CreditSegment {
        from: Some(timestamp(segment.from)),
        to: (segment.to != Millis::FOREVER).then(|| timestamp(segment.to)),
        opening_units: segment.opening,
        closing_units: segment.closing(),
        granted_units: int(segment.granted_units),
        rolled_over_units: int(segment.rolled_over_units),
        burnt_units: int(segment.burnt_units),
        expired_units: int(segment.expired_units),
        voided_units: int(segment.voided_units),
        paid_back_units: int(segment.paid_back_units),
        forgiven_units: int(segment.forgiven_units),
        returned_units: int(segment.returned_units),
    }
}

/// What a grant was made with, in words: so that whoever sends another one under its id sees the difference.
fn described(grant: &Grant) -> String {
    let at = |at: Millis| jiff::Timestamp::from_millisecond(at.0).map(|at| at.to_string());
    let until = match grant.expires_at {
        Millis::FOREVER => "for ever".to_owned(),
        end => format!("until {}", at(end).unwrap_or_default()),
    };
    let (units, priority) = (grant.units, grant.priority);
    let from = at(grant.starts_at).unwrap_or_default();
    format!("{units} units of priority {priority}, from {from}, {until}")
}
