//! How large what there are millions of is. A field more in one of these is memory of every account: what
//! most of them do not have belongs into a box.

use headroom_core::account::Account;
use headroom_core::ledger::Ledger;
use headroom_core::reservation::Reservation;

#[test]
fn what_there_are_millions_of_is_no_larger_than_it_was() {
    // Bytes. A ledger a limit in use, an account each customer, a reservation each hold that is open or
    // was lately. Where one becomes smaller, take the number down.
    let sizes = [size_of::<Ledger>(), size_of::<Account>(), size_of::<Reservation>()];
    assert_eq!(sizes, [64, 80, 104], "a ledger, an account, a reservation");
}
