//! Effects: what a decision changes, as data.
//!
//! A decision lists its effects into a buffer of the caller; [`crate::account::Account::apply`]
//! carries them out, the journal keeps them, and the projection learns from them. They are absolute
//! ("the ledger is now this"), so replaying one twice does no harm.

use std::sync::Arc;

use crate::announced::Announced;
use crate::closing::WindowTerms;
use crate::credits::CreditsEffect;
use crate::ending::Ending;
use crate::event::{Event, Restated};
use crate::ledger::Ledger;
use crate::measure::{ClosedMeasure, Measured};
use crate::names::NameId;
use crate::owing::Owing;
use crate::policy::Excess;
use crate::prompt::Exposure;
use crate::rate::Bucket;
use crate::reservation::{Reservation, ReservationId};
use crate::seats::Seat;
use crate::signal::Signal;
use crate::stock::Stock;
use crate::subject::SubjectId;
use crate::tally::{Tallied, Tally};
use crate::time::Millis;

/// One change of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A ledger is now this.
    Ledger(Ledger),
    /// A ledger's window is over and nothing can book there any more: this is its last state, and
    /// it leaves the memory for the usage history, with what it was measured by.
    LedgerClosed(Ledger, Option<Box<WindowTerms>>),
    /// A reservation is now this.
    Reservation(Reservation),
    /// A reservation is not remembered any more.
    ReservationForgotten(ReservationId),
    /// What is remembered of an account above the included units of a limit is now this. Boxed
    /// because it is rare and large.
    Excess(Box<Excess>),
    /// The bucket of a rate is now this.
    Bucket(Bucket),
    /// The bucket of this feature and limit is full and not remembered any more.
    BucketForgotten(NameId, NameId),
    /// The stock of an allocation is now this. Boxed because it is rare and large.
    Stock(Box<Stock>),
    /// A billing window of an allocation is over: this is its last state, and it is kept in the usage
    /// history. In memory the next window has taken its place.
    StockClosed(Box<Stock>, Option<Box<WindowTerms>>),
    /// Changes of the plan in force up to this instant have been seen, and what they end has ended.
    PlansSeen(Millis),
    /// A pool of credits has changed. Boxed because it is rare and large.
    Credits(Box<CreditsEffect>),
    /// A member's seat is now this. Boxed because it is rare and large.
    Seat(Box<Seat>),
    /// This member has no seat of this feature any more.
    SeatFreed(NameId, Arc<str>),
    /// A subject got its number.
    Subject(SubjectId, Arc<str>),
    /// A change of a subject's counters. Boxed because it is as large as any effect.
    OfSubject(SubjectId, Box<Effect>),
    /// Nothing counts in a subject any more, and it left the memory.
    SubjectForgotten(SubjectId),
    /// A subject's name, this one, was erased; what counts in it goes on.
    SubjectErased(SubjectId, Arc<str>),
    /// A cell of the tally of now is this. Boxed because it is rare and large.
    Tally(Box<Tallied>),
    /// The bucket of a tally is over: this is all of it, and it is kept in the usage history. In memory
    /// the next one has taken its place.
    TallyClosed(Box<Tally>),
    /// So much more or less was used in a bucket of earlier. Nothing of an account changes: it is kept
    /// in the usage history, beside what is there.
    TallyLate(Box<Tally>),
    /// What an aggregation knows of a window has changed. It leaves the memory with its ledger. Boxed because it
    /// is rare and large.
    Measured(Box<Measured>),
    /// What an aggregation knows of a window that has left the memory is now this. Nothing of an account changes:
    /// it is kept as long as the window can be restated. Boxed because it is rare and large.
    MeasureClosed(Box<ClosedMeasure>),
    /// What became of a prompt is now this. Boxed because it is rare and large.
    Exposure(Box<Exposure>),
    /// A signal was raised that no ledger remembers. Boxed because it is rare.
    Announced(Box<Announced>),
    /// What is remembered of a window that owes or took over. It leaves the memory with its ledger. Boxed because
    /// it is rare.
    Owing(Box<Owing>),
    /// What may be a trial was looked at. Boxed because it is rare.
    Ending(Box<Ending>),
    /// Something the business should hear of. Boxed because it is rare and large.
    Signal(Box<Signal>),
    /// A window that has left the memory holds this now. Nothing of an account changes.
    Restated(Box<Restated>),
    /// An event with a time of its own was recorded, or an event was corrected; its counters are in
    /// other effects. Nothing of an account changes.
    Event(Box<Event>),
}

/// The effects of one decision, in order.
pub type Effects = Vec<Effect>;
