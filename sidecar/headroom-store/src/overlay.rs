//! A file that can be written without being changed: what is written stays in memory. An inspection
//! opens the projection through it, because redb repairs what it opens.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::{Arc, Mutex};

use crate::disk::DiskFile;
use crate::wake::locked;

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

#[derive(Debug)]
pub(crate) struct Overlay {
    base: Arc<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    size: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(crate) fn new(base: Arc<dyn DiskFile>) -> io::Result<Overlay> {
        let size = base.size()?;
        Ok(Overlay { base, state: Mutex::new(State { size, pages: BTreeMap::new() }) })
    }

    fn base_page(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut page = vec![0; PAGE_BYTES];
        self.base.read_at(&mut page, number * PAGE)?;
        Ok(page)
    }
}

/// The pages that a range touches: page number, first byte in the page, bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (number, start) = (at / PAGE, at % PAGE);
        let count = (PAGE - start).min(end - at);
        at += count;
        // Both are at most a page.
        Some((number, usize::try_from(start).ok()?, usize::try_from(count).ok()?))
    })
}

impl DiskFile for Overlay {
    fn size(&self) -> io::Result<u64> {
        Ok(locked(&self.state).size)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        locked(&self.state).size = bytes;
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.size = state.size.max(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = locked(&self.state);
        let mut done = 0;
        for (number, start, count) in pieces(offset, bytes.len()) {
            let page = match state.pages.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(slot) => slot.insert(self.base_page(number)?),
            };
            page[start..start + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        state.size = state.size.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = locked(&self.state);
        let left = usize::try_from(state.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let mut done = 0;
        for (number, start, count) in pieces(offset, len) {
            let out = &mut buf[done..done + count];
            match state.pages.get(&number) {
                Some(page) => out.copy_from_slice(&page[start..start + count]),
                None => {
                    let read = self.base.read_at(out, offset + done as u64)?;
                    out[read..].fill(0);
                }
            }
            done += count;
        }
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
