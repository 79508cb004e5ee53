//! Bad input over the wire: each kind gets its own clear error and changes nothing.

mod admin;
mod clock;
mod fields;
mod rules;
mod transport;

use std::fmt::Debug;

use tonic::{Code, Response, Status};

use crate::support::ask;

/// Checks an error: its code, its stable reason, and the field it names, if any.
#[track_caller]
fn refused<T: Debug>(
    result: Result<Response<T>, Status>,
    code: Code,
    reason: &str,
    field: &str,
) -> String {
    let status = result.expect_err("refused");
    assert_eq!((status.code(), ask::reason(&status).as_str()), (code, reason), "{status}");
    let fields: Vec<String> = ask::violations(&status).into_iter().map(|(f, _)| f).collect();
    let expected: Vec<&str> = if field.is_empty() { vec![] } else { vec![field] };
    assert_eq!(fields, expected, "{status}");
    let message = status.message().to_owned();
    assert!(!message.is_empty() && !message.ends_with('.'), "{message:?}");
    message
}

#[track_caller]
fn bad_field<T: Debug>(result: Result<Response<T>, Status>, field: &str) -> String {
    refused(result, Code::InvalidArgument, "INVALID_FIELD", field)
}
