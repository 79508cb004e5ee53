//! Pages of lists: how long they are, and where the next one begins.

use crate::grpc::status::WireError;

/// Entries of a page whose size was not said.
const SIZE_DEFAULT: usize = 100;

/// Most entries of a page. Also the rows that are read from the projection at a time.
pub(crate) const SIZE_MAX: usize = 1000;

/// Longest key of a row that a token names, in bytes.
const KEY_BYTES_MAX: usize = 64;

/// The entries that a request wants on a page; 0 is left to us.
pub(crate) fn size(asked: i32) -> Result<usize, WireError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) if size <= SIZE_MAX => Ok(size),
        _ => Err(WireError::field("page_size", format!("must be 0 to {SIZE_MAX}"))),
    }
}

/// A token that this list did not give.
pub(crate) fn wrong_token() -> WireError {
    WireError::field("page_token", "is not a token of this list")
}

/// The number that a token is. `None`: it is the first page.
pub(crate) fn number<N: std::str::FromStr>(token: &str) -> Result<Option<N>, WireError> {
    match token {
        "" => Ok(None),
        token => token.parse().map(Some).map_err(|_| wrong_token()),
    }
}

/// The token of the page after the row of this key.
pub(crate) fn token(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key of the row that a token names, if it is one of this list. `None`: it is the first page.
pub(crate) fn key(
    token: &str,
    is_of_list: impl FnOnce(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, WireError> {
    if token.is_empty() {
        return Ok(None);
    }
    let key = unhex(token).filter(|key| is_of_list(key));
    key.map(Some).ok_or_else(wrong_token)
}

/// Just after the row of this key.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() > 2 * KEY_BYTES_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
