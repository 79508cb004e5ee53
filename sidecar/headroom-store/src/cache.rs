//! A file of rows that may be lost: what is made again by watching, and so is in no journal.
//!
//! Histories of usage are kept here. Losing the file loses no count: projections learn anew. So a file
//! that cannot be read is put aside by making a new one, it is not part of a backup, and it is synced
//! once per batch.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadableDatabase, TableDefinition};

use crate::limits::CACHE_BYTES;
use crate::projection::{Fault, Outcome, guarded};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// A file of rows that may be lost. Every call may wait for the disk.
#[derive(Debug)]
pub struct CacheFile {
    path: PathBuf,
    // None after a failure: nothing is kept until the next start.
    database: RwLock<Option<Database>>,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct CacheError {
    /// Which file.
    pub path: PathBuf,
    /// What was said of it.
    pub reason: String,
}

/// A row's key and its new value; `None` removes it.
pub type CacheChange = (Vec<u8>, Option<Vec<u8>>);

impl CacheFile {
    /// Opens the file, or makes one. One that is damaged is replaced by an empty one.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn open(path: &Path) -> Result<CacheFile, CacheError> {
        let error = |fault: Fault| CacheError { path: path.to_owned(), reason: fault.to_string() };
        let database = match open_database(path) {
            Ok(database) => database,
            Err(Fault::Io(source)) => return Err(error(Fault::Io(source))),
            Err(Fault::Content(_)) => {
                std::fs::remove_file(path).map_err(|source| error(Fault::Io(source)))?;
                open_database(path).map_err(error)?
            }
        };
        Ok(CacheFile { path: path.to_owned(), database: RwLock::new(Some(database)) })
    }

    /// The row of a key.
    ///
    /// # Errors
    /// When the file cannot be read. It is not used any more then.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CacheError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let rows = match transaction.open_table(ROWS) {
                Ok(rows) => rows,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            Ok(rows.get(key)?.map(|row| row.value().to_vec()))
        })
    }

    /// Carries out all of the changes, or none.
    ///
    /// # Errors
    /// When the file cannot be written. It is not used any more then.
    pub fn apply(&self, changes: &[CacheChange]) -> Result<(), CacheError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            {
                let mut rows = transaction.open_table(ROWS)?;
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(rows.insert(key.as_slice(), value.as_slice())?),
                        None => drop(rows.remove(key.as_slice())?),
                    }
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Removes every row.
    ///
    /// # Errors
    /// When the file cannot be written. It is not used any more then.
    pub fn clear(&self) -> Result<(), CacheError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            transaction.delete_table(ROWS)?;
            transaction.commit()?;
            Ok(())
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, CacheError> {
        let error = |reason| CacheError { path: self.path.clone(), reason };
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = held.as_ref() else {
            return Err(error("not used since it failed; the next start tries again".to_owned()));
        };
        let done = guarded(|| work(database));
        drop(held);
        done.map_err(|fault| {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            error(fault.to_string())
        })
    }
}

fn open_database(path: &Path) -> Outcome<Database> {
    guarded(|| {
        let file = own_file(path).map_err(redb::StorageError::Io)?;
        Ok(redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(redb::backends::FileBackend::new(file)?)?)
    })
}

/// The file, to be read by its owner alone, as all else in a data directory.
fn own_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("headroom-cache-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn only_its_owner_reads_the_file_also_one_of_an_earlier_version() {
        let path = dir().join("own.redb");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(CacheFile::open(&path).unwrap());
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(CacheFile::open(&path).unwrap());
        assert_eq!(mode(), 0o600);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn rows_are_there_after_a_restart_and_a_damaged_file_is_replaced() {
        let path = dir().join("rows.redb");
        let cache = CacheFile::open(&path).unwrap();
        assert_eq!(cache.get(b"a").unwrap(), None);
        let put = |key: &[u8], value: &[u8]| (key.to_vec(), Some(value.to_vec()));
        cache.apply(&[put(b"a", b"1"), put(b"b", b"2")]).unwrap();
        cache.apply(&[put(b"a", b"3"), (b"b".to_vec(), None)]).unwrap();
        drop(cache);
        let cache = CacheFile::open(&path).unwrap();
        assert_eq!(cache.get(b"a").unwrap().unwrap(), b"3");
        assert_eq!(cache.get(b"b").unwrap(), None);
        cache.clear().unwrap();
        assert_eq!(cache.get(b"a").unwrap(), None);
        drop(cache);
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let cache = CacheFile::open(&path).unwrap();
        cache.apply(&[put(b"c", b"4")]).unwrap();
        assert_eq!(cache.get(b"c").unwrap().unwrap(), b"4");
        std::fs::remove_dir_all(dir()).unwrap();
    }
}
