//! What the subjects of an account used.

use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::subject::{SubjectId, erased_name};
use headroom_core::time::Millis;
use headroom_engine::digest::{after_prefix, usage_row};
use headroom_engine::ports::Table;
use headroom_engine::subjects::{id_key, name_prefix, name_row, window_prefix, window_subject};
use headroom_proto::v1;

use super::{PAGE_MAX, counts_until, hex, internal, unhex, unknown_account, usage_window};
use crate::grpc::entitlement::Entitlements;
use crate::grpc::status::WireError;
use crate::grpc::{parse, present};

/// Windows of one subject, or of all: current ones first, then closed ones, by the order in which their
/// subjects came.
///
/// The token is the row key of the last closed window given, in hex.
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
    let view = view.ok_or_else(|| unknown_account(account))?;
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
    if rq.page_token.is_empty() {
        let named = view.subjects.iter().filter(|s| path.is_none_or(|path| s.name == path));
        for subject in named {
            let ledgers = subject.ledgers.iter().filter(|ledger| is_wanted(ledger));
            let windows = ledgers.map(|ledger| window(ledger, subject.name.clone()));
            response.windows.extend(windows);
        }
    }
    if closed_since.is_none() {
        return Ok(response);
    }
    let prefixes = match path {
        None => vec![window_prefix(view.serial, None)],
        Some(path) => {
            let ids = ids_of(service, view.serial, path)?;
            ids.into_iter().map(|id| window_prefix(view.serial, Some(id))).collect()
        }
    };
    let after = match rq.page_token.as_str() {
        "" => Vec::new(),
        token => {
            let key = unhex(token).filter(|key| key.starts_with(&window_prefix(view.serial, None)));
            let key =
                key.ok_or_else(|| WireError::field("page_token", "is not a token of this list"))?;
            [key.as_slice(), &[0]].concat()
        }
    };
    for prefix in prefixes {
        let to = after_prefix(&prefix);
        let mut from = prefix.max(after.clone());
        while from < to {
            let rows = service.archive.range(Table::Subjects, &from, &to, PAGE_MAX);
            let rows = rows.map_err(|error| internal(&error))?;
            let Some((last, _)) = rows.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in rows {
                let ledger = usage_row(&value)
                    .map_err(|e| WireError::new(v1::ErrorReason::Internal, e.to_string()))?
                    .window
                    .closed;
                if is_wanted(&ledger) {
                    let id = window_subject(&key).unwrap_or_default();
                    response.windows.push(window(&ledger, name_of(service, view.serial, id)?));
                }
                if response.windows.len() >= page_size {
                    response.next_page_token = hex(&key);
                    return Ok(response);
                }
            }
        }
    }
    Ok(response)
}

/// The numbers that a name has and had, in the order in which it got them.
fn ids_of(service: &Entitlements, serial: u32, name: &str) -> Result<Vec<SubjectId>, WireError> {
    let prefix = [name_prefix(serial, name).as_slice(), &[0]].concat();
    let to = after_prefix(&prefix);
    let (mut from, mut ids) = (prefix, Vec::new());
    loop {
        let rows = service.archive.range(Table::Subjects, &from, &to, PAGE_MAX);
        let rows = rows.map_err(|error| internal(&error))?;
        let Some((last, _)) = rows.last() else { return Ok(ids) };
        from = [last.as_slice(), &[0]].concat();
        ids.extend(rows.iter().filter_map(|(key, _)| name_row(key)).map(|(id, _)| id));
    }
}

/// The name that a number has; of one that was erased there is only the number.
fn name_of(service: &Entitlements, serial: u32, id: SubjectId) -> Result<String, WireError> {
    let key = id_key(serial, id);
    let to = [key.as_slice(), &[0]].concat();
    let rows = service.archive.range(Table::Subjects, &key, &to, 1);
    let rows = rows.map_err(|error| internal(&error))?;
    let name = rows.into_iter().next().and_then(|(_, name)| String::from_utf8(name).ok());
    Ok(name.unwrap_or_else(|| erased_name(id)))
}
