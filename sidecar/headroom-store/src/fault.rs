//! A disk in memory that fails on request. For tests and simulations alone.
//!
//! It knows two kinds of end: when a process is killed, everything written stays; when the power is
//! cut, each sector and each name that was not synced may be kept or lost. The same calls with the
//! same seed always do the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, Kind, Lock, OpenMode};
use crate::wake::locked;

const SECTOR: usize = 512;

/// What may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Opening or creating a file for writing.
    Create,
    /// Reserving room.
    Allocate,
    /// Writing; half of it is done before it fails.
    Write,
    /// Syncing a file; what it had to sync is then lost at the next power cut, whatever follows.
    Sync,
    /// Giving a file another name.
    Rename,
    /// Removing a file.
    Remove,
    /// Syncing a directory.
    SyncDir,
    /// Changing a file's size.
    SetSize,
}

/// How the world ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process is killed; the machine goes on.
    Kill,
    /// The power is cut; the seed decides what of the unsynced is kept.
    PowerCut {
        /// Decides what is kept.
        seed: u64,
    },
}

/// A disk in memory that fails on request. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct FaultDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, Entry>,
    names_synced: BTreeMap<PathBuf, Entry>,
    /// Changes of names since they were synced, in order.
    names_dirty: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    room: Option<u64>,
    ops: u64,
    stop_at: Option<(u64, bool)>,
    stopped: bool,
    randoms: u64,
    machine: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Directory,
    File(usize),
}

#[derive(Debug, Clone)]
struct NameChange {
    path: PathBuf,
    /// What the path is from then on.
    entry: Option<Entry>,
    /// Also this path is free from then on.
    from: Option<PathBuf>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    data: Vec<u8>,
    synced_len: usize,
    /// What unsynced sectors held when they were last synced.
    dirty: BTreeMap<usize, Vec<u8>>,
    /// The same for sectors whose sync failed.
    lost: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Fault {
    op: Op,
    path_part: String,
    count: u32,
    kind: ErrorKind,
}

impl Default for FaultDisk {
    fn default() -> Self {
        FaultDisk::new()
    }
}

impl FaultDisk {
    /// An empty disk.
    pub fn new() -> FaultDisk {
        FaultDisk(Arc::new(Mutex::new(State::default())))
    }

    /// Makes the next `count` operations fail on files with `path_part` in their path.
    pub fn fail(&self, op: Op, path_part: &str, count: u32, kind: ErrorKind) {
        locked(&self.0).faults.push(Fault { op, path_part: path_part.to_owned(), count, kind });
    }

    /// Nothing fails any more, and there is room again.
    pub fn heal(&self) {
        let mut state = locked(&self.0);
        state.faults.clear();
        state.room = None;
    }

    /// From now on only this many more bytes can be allocated.
    pub fn set_room(&self, bytes: u64) {
        locked(&self.0).room = Some(bytes);
    }

    /// Stops the world at the `op`-th operation from the beginning that changes anything. It is not
    /// done, or, if `torn` and it is a write, it is half done. Everything fails from then on.
    pub fn stop_at(&self, op: u64, torn: bool) {
        locked(&self.0).stop_at = Some((op, torn));
    }

    /// Operations so far that changed anything.
    pub fn ops(&self) -> u64 {
        locked(&self.0).ops
    }

    /// Whether the world has stopped.
    pub fn stopped(&self) -> bool {
        locked(&self.0).stopped
    }

    /// The disk as the next process finds it. It has no faults; this one stays as it is.
    pub fn after(&self, end: End) -> FaultDisk {
        let mut state = locked(&self.0).clone();
        state.locks.clear();
        state.faults.clear();
        (state.room, state.stop_at) = (None, None);
        (state.stopped, state.ops) = (false, 0);
        if let End::PowerCut { seed } = end {
            state.cut_power(seed);
        }
        FaultDisk(Arc::new(Mutex::new(state)))
    }

    /// The paths of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = locked(&self.0);
        let files = state.names.iter().filter(|(_, entry)| matches!(entry, Entry::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Changes a file behind everybody's back, as a failing disk would; false if there is no such
    /// file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = locked(&self.0);
        let Some(Entry::File(node)) = state.names.get(path).copied() else { return false };
        change(&mut state.nodes[node].data);
        true
    }

    /// Puts a file there, behind everybody's back.
    pub fn put(&self, path: &Path, data: &[u8]) {
        let mut state = locked(&self.0);
        let node = Node { data: data.to_vec(), synced_len: data.len(), ..Node::default() };
        state.nodes.push(node);
        let entry = Entry::File(state.nodes.len() - 1);
        state.names.insert(path.to_owned(), entry);
        state.names_synced.insert(path.to_owned(), entry);
    }
}

/// A small random number generator (splitmix64): good enough for choosing what is lost.
fn next_random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        if let Some(from) = &self.from {
            names.remove(from);
        }
        match self.entry {
            Some(entry) => names.insert(self.path.clone(), entry),
            None => names.remove(&self.path),
        };
    }
}

impl State {
    fn cut_power(&mut self, mut seed: u64) {
        // A file system keeps its changes of names in order, so any number of the first is kept.
        let changes = std::mem::take(&mut self.names_dirty);
        let kept = next_random(&mut seed) % (changes.len() as u64 + 1);
        for change in changes.iter().take(usize::try_from(kept).unwrap_or(0)) {
            change.apply(&mut self.names_synced);
        }
        self.names = self.names_synced.clone();
        for node in &mut self.nodes {
            node.cut_power(&mut seed);
        }
        self.machine += 1;
    }

    /// Counts an operation and decides its fate: `Ok(true)` if it is done, `Ok(false)` if it is
    /// half done and fails.
    fn fate(&mut self, op: Op, path: &Path) -> io::Result<bool> {
        self.alive()?;
        self.ops += 1;
        if let Some((at, torn)) = self.stop_at
            && self.ops >= at
        {
            self.stopped = true;
            return if torn && op == Op::Write { Ok(false) } else { self.alive().map(|()| true) };
        }
        let path = path.to_string_lossy();
        let hit = |fault: &&mut Fault| {
            fault.count > 0 && fault.op == op && path.contains(&fault.path_part)
        };
        match self.faults.iter_mut().find(hit) {
            Some(fault) => {
                fault.count -= 1;
                Err(io::Error::new(fault.kind, "a fault was asked for"))
            }
            None => Ok(true),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the world has stopped")) } else { Ok(()) }
    }

    fn rename(&mut self, path: &Path, entry: Option<Entry>, from: Option<&Path>) {
        let change = NameChange { path: path.to_owned(), entry, from: from.map(Path::to_owned) };
        change.apply(&mut self.names);
        self.names_dirty.push(change);
    }

    fn take_room(&mut self, bytes: usize) -> io::Result<()> {
        let Some(room) = &mut self.room else { return Ok(()) };
        match room.checked_sub(bytes as u64) {
            Some(left) => *room = left,
            None => return Err(io::Error::new(ErrorKind::StorageFull, "the disk is full")),
        }
        Ok(())
    }
}

impl Node {
    fn cut_power(&mut self, seed: &mut u64) {
        let dirty = std::mem::take(&mut self.dirty);
        let unlucky = dirty.into_iter().filter(|_| next_random(seed) & 1 == 0);
        let unlucky: Vec<_> = unlucky.collect();
        for (sector, old) in unlucky.into_iter().chain(std::mem::take(&mut self.lost)) {
            let start = (sector * SECTOR).min(self.data.len());
            let end = (start + SECTOR).min(self.data.len());
            self.data[start..end].copy_from_slice(&old[..end - start]);
        }
        if self.data.len() > self.synced_len && next_random(seed) & 1 == 0 {
            self.data.truncate(self.synced_len);
        }
        self.synced_len = self.data.len();
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            // Writing it again gives a lost sector another chance; syncing it again does not.
            let old = self.lost.remove(&sector).unwrap_or_else(|| {
                let start = sector * SECTOR;
                let mut old = self.data[start..(start + SECTOR).min(self.data.len())].to_vec();
                old.resize(SECTOR, 0);
                old
            });
            self.dirty.entry(sector).or_insert(old);
        }
        self.data[offset..end].copy_from_slice(bytes);
    }
}

fn no_such_file() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "no such file")
}

impl Disk for FaultDisk {
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        let state = locked(&self.0);
        state.alive()?;
        Ok(state.names.get(path).map(|entry| match entry {
            Entry::Directory => Kind::Directory,
            Entry::File(_) => Kind::File,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.0);
        if state.names.contains_key(path) {
            return state.alive();
        }
        state.fate(Op::Create, path)?;
        state.rename(path, Some(Entry::Directory), None);
        Ok(())
    }

    fn restrict_dir(&self, _path: &Path) -> io::Result<()> {
        locked(&self.0).alive()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = locked(&self.0);
        state.alive()?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into())).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = locked(&self.0);
        state.alive()?;
        let node = match (state.names.get(path).copied(), mode) {
            (Some(Entry::Directory), _) => return Err(ErrorKind::IsADirectory.into()),
            (Some(Entry::File(node)), OpenMode::Read | OpenMode::Write) => node,
            (None, OpenMode::Read | OpenMode::Write) => return Err(no_such_file()),
            (_, OpenMode::Create) => {
                // An emptied file is as good as a new one here.
                state.fate(Op::Create, path)?;
                state.nodes.push(Node::default());
                let node = state.nodes.len() - 1;
                state.rename(path, Some(Entry::File(node)), None);
                node
            }
        };
        Ok(Arc::new(FaultFile { disk: self.clone(), node, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = locked(&self.0);
        state.fate(Op::Rename, from)?;
        let entry = state.names.get(from).copied().ok_or_else(no_such_file)?;
        state.rename(to, Some(entry), Some(from));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.0);
        state.fate(Op::Remove, path)?;
        if !state.names.contains_key(path) {
            return Err(no_such_file());
        }
        state.rename(path, None, None);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = locked(&self.0);
        state.fate(Op::SyncDir, dir)?;
        let changes = std::mem::take(&mut state.names_dirty);
        for change in changes {
            if change.path.parent() == Some(dir) {
                change.apply(&mut state.names_synced);
            } else {
                state.names_dirty.push(change);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        if self.kind(path)?.is_none() {
            self.open(path, OpenMode::Create)?;
        }
        if !locked(&self.0).locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(FaultLock { disk: self.clone(), path: path.to_owned() })))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let state = locked(&self.0);
        state.alive()?;
        Ok(state.locks.contains(path))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut state = locked(&self.0);
        state.alive()?;
        state.randoms += 1;
        let mut seed = state.randoms;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&next_random(&mut seed).to_le_bytes());
        bytes[8..].copy_from_slice(&next_random(&mut seed).to_le_bytes());
        Ok(bytes)
    }

    fn machine_boot(&self) -> String {
        format!("machine-{}", locked(&self.0).machine)
    }
}

struct FaultLock {
    disk: FaultDisk,
    path: PathBuf,
}

impl Drop for FaultLock {
    fn drop(&mut self) {
        locked(&self.disk.0).locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct FaultFile {
    disk: FaultDisk,
    node: usize,
    path: PathBuf,
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a file in memory is smaller than the memory")
}

impl DiskFile for FaultFile {
    fn size(&self) -> io::Result<u64> {
        let state = locked(&self.disk.0);
        state.alive()?;
        Ok(state.nodes[self.node].data.len() as u64)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut state = locked(&self.disk.0);
        state.fate(Op::SetSize, &self.path)?;
        let growth = index(bytes).saturating_sub(state.nodes[self.node].data.len());
        state.take_room(growth)?;
        let node = &mut state.nodes[self.node];
        node.data.resize(index(bytes), 0);
        node.synced_len = node.synced_len.min(index(bytes));
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = locked(&self.disk.0);
        state.fate(Op::Allocate, &self.path)?;
        let growth = index(bytes).saturating_sub(state.nodes[self.node].data.len());
        state.take_room(growth)?;
        let node = &mut state.nodes[self.node];
        let len = node.data.len().max(index(bytes));
        node.data.resize(len, 0);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = locked(&self.disk.0);
        let end = index(offset) + bytes.len();
        let growth = end.saturating_sub(state.nodes[self.node].data.len());
        let fate = state.fate(Op::Write, &self.path);
        let fate = fate.and_then(|whole| state.take_room(growth).map(|()| whole));
        let stopped_before = state.stopped && !matches!(fate, Ok(false));
        let whole = matches!(fate, Ok(true));
        let count = if whole { bytes.len() } else { bytes.len() / 2 };
        if !stopped_before && count > 0 {
            state.nodes[self.node].write(&bytes[..count], index(offset));
        }
        match fate {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other("the world has stopped")),
            Err(error) => Err(error),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = locked(&self.disk.0);
        state.alive()?;
        let data = &state.nodes[self.node].data;
        let data = data.get(index(offset)..).unwrap_or_default();
        let count = buf.len().min(data.len());
        buf[..count].copy_from_slice(&data[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = locked(&self.disk.0);
        let fate = state.fate(Op::Sync, &self.path);
        let stopped = state.stopped;
        let node = &mut state.nodes[self.node];
        let dirty = if stopped { BTreeMap::new() } else { std::mem::take(&mut node.dirty) };
        match fate {
            Ok(_) => {
                node.synced_len = node.data.len();
                Ok(())
            }
            Err(error) => {
                for (sector, old) in dirty {
                    node.lost.entry(sector).or_insert(old);
                }
                Err(error)
            }
        }
    }
}
