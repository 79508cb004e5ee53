//! Where a sidecar is reached: by its clients, by operators, by those who tell events.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::problems::{Place, Problem};
use super::reader::{Entry, Reader};
use crate::serve::ListenAddr;

/// Where requests are answered. Loopback, because there is no authentication yet: whoever reaches
/// the port can count. In a pod all containers share it.
pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:7400";

/// Where accounts are managed, and metrics and health are read: next to [`DEFAULT_LISTEN`].
pub(super) const DEFAULT_ADMIN: &str = "127.0.0.1:7401";

/// Listeners of one sidecar. Each costs a thread and a socket; more are refused.
const LISTENERS_MAX: usize = 16;

/// Where requests are answered.
pub(super) fn listen(
    file: Option<&[(ListenAddr, Place)]>,
    overrides: Vec<ListenAddr>,
    problems: &mut Vec<Problem>,
) -> Vec<ListenAddr> {
    if !overrides.is_empty() {
        return overrides;
    }
    let Some(listen) = file else {
        return vec![DEFAULT_LISTEN.parse().expect("the default is an address")];
    };
    let mut seen = BTreeSet::new();
    for (address, place) in listen {
        // Port 0 asks the system for any port, so two of them are two listeners.
        let is_any_port = matches!(address, ListenAddr::Tcp { port: 0, .. });
        if !seen.insert(address.to_string()) && !is_any_port {
            problems.push(Problem::at(*place, format!("{address} is listed twice")));
        }
    }
    listen.iter().map(|(address, _)| address.clone()).collect()
}

/// Whoever reaches the admin listener can change everything, so it stays on the machine.
pub(super) fn admin(
    file: Option<(ListenAddr, Place)>,
    flag: Option<ListenAddr>,
    problems: &mut Vec<Problem>,
) -> ListenAddr {
    let (address, place) = match (flag, file) {
        (Some(address), _) => (address, None),
        (None, Some((address, place))) => (address, Some(place)),
        (None, None) => (DEFAULT_ADMIN.parse().expect("the default is an address"), None),
    };
    must_be_local("admin", &address, place, problems);
    address
}

/// Whoever reaches the listener for events can tell what they like, so it stays on the machine, too.
pub(super) fn events(
    file: Option<(ListenAddr, Place)>,
    flag: Option<ListenAddr>,
    problems: &mut Vec<Problem>,
) -> Option<ListenAddr> {
    let place = file.as_ref().map(|(_, place)| *place).filter(|_| flag.is_none());
    let address = flag.or(file.map(|(address, _)| address))?;
    must_be_local("events", &address, place, problems);
    Some(address)
}

/// Whether only this machine reaches an address, as far as that is seen without looking a name up.
pub fn is_local(address: &ListenAddr) -> bool {
    match address {
        ListenAddr::Unix(_) => true,
        ListenAddr::Tcp { host, .. } => {
            host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    }
}

/// Notes an address that other machines reach.
fn must_be_local(
    listener: &str,
    address: &ListenAddr,
    place: Option<Place>,
    problems: &mut Vec<Problem>,
) {
    if !is_local(address) {
        let message = format!(
            "the {listener} listener has no authentication, so {address} is refused: use a loopback \
             address or unix:/path"
        );
        problems.push(Problem { place, ..Problem::of_file(message) });
    }
}

/// A list of addresses, or one.
pub(super) fn read_all(reader: &Reader, entry: Entry<'_>) -> Option<Vec<(ListenAddr, Place)>> {
    // One address is the usual case, so it needs no brackets.
    if entry.scalar().is_some() {
        return read(reader, entry).map(|address| vec![address]);
    }
    let items = reader.list(entry, "a list of addresses")?;
    if !(1..=LISTENERS_MAX).contains(&items.len()) {
        let count = items.len();
        reader.note_at(entry, format!("{count} addresses, it must be 1 to {LISTENERS_MAX}"));
        return None;
    }
    let read: Vec<_> = items.map(|item| read(reader, item)).collect();
    read.into_iter().collect()
}

/// An address.
pub(super) fn read(reader: &Reader, entry: Entry<'_>) -> Option<(ListenAddr, Place)> {
    match reader.text(entry)?.parse() {
        Ok(address) => Some((address, entry.place())),
        Err(error) => {
            let error: crate::serve::address::ListenAddrError = error;
            reader.note_at(entry, error.to_string());
            None
        }
    }
}
