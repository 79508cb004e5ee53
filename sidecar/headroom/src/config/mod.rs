//! Configuration: the catalog and the server's own settings, each parsed once, complaining once.
//!
//! Nothing outside of here sees YAML: a value that left this module is valid.

pub mod catalog;
mod listeners;
pub mod problems;
pub mod reader;
pub mod server;
pub mod sinks;
pub mod values;
pub mod yaml;

use std::io::Read as _;
use std::path::Path;

pub use listeners::is_local;

use problems::Problem;

/// The bytes of a file; of one that is too large only as many as tell that it is.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        let bytes_max = u64::try_from(yaml::FILE_BYTES_MAX).unwrap_or(u64::MAX);
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Problem::of_file(format!("the file cannot be read: {error}"))),
    }
}
