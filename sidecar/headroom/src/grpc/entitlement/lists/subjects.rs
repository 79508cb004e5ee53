//! What the subjects of an account used.

use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::subject::{SubjectId, erased_name};
use headroom_core::time::Millis;
use headroom_engine::digest::{after_prefix, usage_row};
use headroom_engine::ports::{Row, Table, rows};
use headroom_engine::subjects::{
    adjustment_prefix, id_key, name_prefix, name_row, window_prefix, window_subject,
};
use headroom_proto::v1;

use super::{counts_until, past_window, usage_window};
use crate::grpc::entitlement::Entitlements;
use crate::grpc::status::WireError;
use crate::grpc::{page, parse, present};

/// Closed windows that one page looks at: some milliseconds of work.
const ROWS_SEEN_MAX: usize = 10_000;

/// Windows of one subject, or of all: current ones first, then closed ones, by the order in which their
/// subjects came.
///
/// A page has at most the windows asked for, or one subject's, and looks at no more than
/// [`ROWS_SEEN_MAX`] closed ones: it may be empty and have a next one.
pub(super) fn usage(
    service: &Entitlements,
    rq: &v1::GetUsageRequest,
    (account, only, page_size, closed_since): (&str, Option<NameId>, usize, Option<Millis>),
) -> Result<v1::GetUsageResponse, WireError> {
    let path = match rq.subject.as_str() {
        "" => None,
        _ if rq.all_subjects => {
            return Err(WireError::field("all_subjects", "is for all of them, not for one"));
        }
        text => Some(parse::subject(text)?.as_str()),
    };
    let now = service.shared.clock.now();
    let catalog = service.shared.engine.catalog();
    let view = service.shared.engine.subjects(account, now);
    let view = view.ok_or_else(|| WireError::unknown_account(account))?;
    let is_wanted = |ledger: &Ledger| {
        only.is_none_or(|feature| ledger.feature == feature)
            && (now < counts_until(&catalog, ledger)
                || closed_since.is_some_and(|since| since <= ledger.window.end()))
    };
    let window = |ledger: &Ledger, subject: String| v1::UsageWindow {
        subject,
        ..usage_window(&catalog, ledger, None, now)
    };
    let mut response = v1::GetUsageResponse {
        windows: Vec::new(),
        next_page_token: String::new(),
        as_of: Some(present::timestamp(now)),
        test_clock: service.shared.clock.is_test(),
    };
    // The last closed window given, or the last subject given in memory.
    let token = page::key(&rq.page_token, |key| {
        key.starts_with(&window_prefix(view.serial, None)) || named_by(key, view.serial).is_some()
    })?;
    let after_subject = match &token {
        None => Some(0),
        Some(key) => named_by(key, view.serial).map(|id| id.0.saturating_add(1)),
    };
    if let Some(from) = after_subject {
        let named = view.subjects.iter().filter(|s| path.is_none_or(|path| s.name == path));
        let mut earlier = None;
        for subject in named.skip_while(|subject| subject.id.0 < from) {
            let ledgers = subject.ledgers.iter().filter(|ledger| is_wanted(ledger));
            let windows: Vec<_> = ledgers.map(|l| window(l, subject.name.clone())).collect();
            // A subject is not cut in two: what is in memory has no order of its own.
            if let Some(last) = earlier
                && page_size < response.windows.len() + windows.len()
            {
                response.next_page_token = page::token(&id_key(view.serial, last));
                return Ok(response);
            }
            if !windows.is_empty() {
                earlier = Some(subject.id);
            }
            response.windows.extend(windows);
        }
        if let Some(last) = earlier
            && closed_since.is_some()
            && page_size <= response.windows.len()
        {
            response.next_page_token = page::token(&id_key(view.serial, last));
        }
    }
    if closed_since.is_none() || !response.next_page_token.is_empty() {
        return Ok(response);
    }
    let prefixes = match path {
        None => vec![window_prefix(view.serial, None)],
        Some(path) => {
            let ids = ids_of(service, view.serial, path)?;
            ids.into_iter().map(|id| window_prefix(view.serial, Some(id))).collect()
        }
    };
    let after = match token.filter(|_| after_subject.is_none()) {
        None => Vec::new(),
        Some(key) => page::after(&key),
    };
    let mut name = (SubjectId::default(), String::new());
    let mut rows_seen = 0;
    for prefix in prefixes {
        let to = after_prefix(&prefix);
        let from = prefix.max(after.clone());
        for row in rows(&*service.archive, Table::Subjects, from, to, page::SIZE_MAX) {
            let (key, value) = row.map_err(|error| WireError::archive(&error))?;
            let row = usage_row(&value).map_err(|error| WireError::archive(&error))?;
            rows_seen += 1;
            if is_wanted(&row.window.closed) {
                let id = window_subject(&key).unwrap_or_default();
                if name.1.is_empty() || name.0 != id {
                    name = (id, name_of(service, view.serial, id)?);
                }
                // What a subject uses is billed to the account.
                let past = v1::UsageWindow { terms: None, ..past_window(&catalog, &row, now) };
                response.windows.push(v1::UsageWindow { subject: name.1.clone(), ..past });
            }
            if response.windows.len() >= page_size || rows_seen == ROWS_SEEN_MAX {
                response.next_page_token = page::token(&key);
                return Ok(response);
            }
        }
    }
    Ok(response)
}

/// The subject whose row of its number has this key.
fn named_by(key: &[u8], serial: u32) -> Option<SubjectId> {
    let id = window_subject(key)?;
    (id_key(serial, id) == key).then_some(id)
}

/// What came to the windows of a subject: the rows of one page and the next one's first.
pub(super) fn adjustment_rows(
    service: &Entitlements,
    (serial, name, only): (u32, &str, Option<NameId>),
    page_token: &str,
    rows_max: usize,
) -> Result<Vec<Row>, WireError> {
    let path = parse::subject(name)?.as_str();
    let prefixes: Vec<Vec<u8>> = ids_of(service, serial, path)?
        .into_iter()
        .map(|id| adjustment_prefix(serial, id, only))
        .collect();
    let is_one = |key: &[u8]| prefixes.iter().any(|prefix| key.starts_with(prefix));
    let last = page::key(page_token, is_one)?;
    let after = last.as_deref().map(page::after).unwrap_or_default();
    let mut found = Vec::new();
    for prefix in &prefixes {
        let (from, to) = (prefix.clone().max(after.clone()), after_prefix(prefix));
        if from < to && found.len() < rows_max {
            let left = rows_max - found.len();
            let rows = service.archive.range(Table::Subjects, &from, &to, left);
            found.extend(rows.map_err(|error| WireError::archive(&error))?);
        }
    }
    Ok(found)
}

/// The numbers that a name has and had, in the order in which it got them.
fn ids_of(service: &Entitlements, serial: u32, name: &str) -> Result<Vec<SubjectId>, WireError> {
    let prefix = [name_prefix(serial, name).as_slice(), &[0]].concat();
    let to = after_prefix(&prefix);
    let all = rows(&*service.archive, Table::Subjects, prefix, to, page::SIZE_MAX);
    let ids = all.filter_map(|row| match row {
        Ok((key, _)) => name_row(&key).map(|(id, _)| Ok(id)),
        Err(error) => Some(Err(WireError::archive(&error))),
    });
    ids.collect()
}

/// The name that a number has; of one that was erased there is only the number.
fn name_of(service: &Entitlements, serial: u32, id: SubjectId) -> Result<String, WireError> {
    let key = id_key(serial, id);
    let to = [key.as_slice(), &[0]].concat();
    let rows = service.archive.range(Table::Subjects, &key, &to, 1);
    let rows = rows.map_err(|error| WireError::archive(&error))?;
    let name = rows.into_iter().next().and_then(|(_, name)| String::from_utf8(name).ok());
    Ok(name.unwrap_or_else(|| erased_name(id)))
}
