//! What the clients asked for, and what is known of it. The book is the truth that the sidecar's
//! counters are compared with.

use headroom_proto::v1;
use headroom_proto::v1::operation::Operation as Op;
use headroom_proto::v1::operation_result::Result as OpResult;

use crate::support::ask;

/// A write that a client made up.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) account: String,
    pub(super) feature: &'static str,
    pub(super) units: i64,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Consume,
    Record,
    Reserve,
    /// The outcome of a reservation that held so many units.
    Commit {
        reservation_id: String,
        held_units: i64,
    },
}

/// What its client knows of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was acknowledged.
    Acked(Receipt),
    /// It was refused by the rules: nothing was counted.
    Denied,
    /// The sidecar says that it counted nothing.
    NotCounted,
    /// It was sent, and no answer came.
    Unknown,
}

/// What identifies an acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) decision_id: String,
    pub(super) reservation_id: String,
    pub(super) replayed: bool,
}

/// A number that is known to lie between two others, both included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) least: i64,
    pub(super) most: i64,
}

impl Range {
    fn add(&mut self, units: i64, is_certain: bool) {
        self.least += if is_certain || units < 0 { units } else { 0 };
        self.most += if is_certain || units > 0 { units } else { 0 };
    }

    pub(super) fn contains(&self, units: i64) -> bool {
        self.least <= units && units <= self.most
    }
}

/// What the ledger of one account and feature may say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) used: Range,
    pub(super) reserved: Range,
}

impl Expected {
    /// Books a write as far as it is known.
    pub(super) fn book(&mut self, write: &Write, fate: &Fate) {
        let is_certain = match fate {
            Fate::Acked(_) => true,
            Fate::Unknown => false,
            Fate::Denied | Fate::NotCounted => return,
        };
        match &write.kind {
            Kind::Consume | Kind::Record => self.used.add(write.units, is_certain),
            Kind::Reserve => self.reserved.add(write.units, is_certain),
            Kind::Commit { held_units, .. } => {
                self.used.add(write.units, is_certain);
                self.reserved.add(-held_units, is_certain);
            }
        }
    }
}

impl Write {
    /// As it goes over the wire; a retry is the same message.
    pub(super) fn operation(&self) -> v1::Operation {
        let Write { key, account, feature, units, kind } = self;
        let operation = match kind {
            Kind::Consume => Op::Consume(ask::consume(account, feature, *units, key)),
            Kind::Record => Op::Record(ask::record(account, feature, *units, key)),
            Kind::Reserve => Op::Reserve(ask::reserve(account, feature, *units, key)),
            Kind::Commit { reservation_id, .. } => {
                Op::Commit(ask::commit(account, reservation_id, *units, key))
            }
        };
        v1::Operation { operation: Some(operation) }
    }

    /// What an answer says of the write. Fails the test if the answer itself is wrong.
    pub(super) fn fate(&self, result: OpResult) -> Fate {
        let (decision, reservation_id) = match result {
            OpResult::Consume(answer) => (answer.decision, String::new()),
            OpResult::Record(answer) => (answer.decision, String::new()),
            OpResult::Commit(answer) => (answer.decision, String::new()),
            OpResult::Reserve(answer) => (answer.decision, answer.reservation_id),
            OpResult::Error(error) => {
                return match error.reason() {
                    v1::ErrorReason::ShuttingDown => Fate::NotCounted,
                    v1::ErrorReason::OutcomeUnknown => Fate::Unknown,
                    _ => panic!("{self:?} was answered with {error:?}"),
                };
            }
            other => panic!("{self:?} was answered with {other:?}"),
        };
        let decision = decision.expect("a decision");
        self.check_limit(&decision);
        if !decision.allowed {
            assert_eq!(self.feature, "slots", "only these are refused: {decision:?}");
            return Fate::Denied;
        }
        let is_durable =
            matches!(decision.durability(), v1::Durability::Written | v1::Durability::Fsynced);
        assert!(is_durable, "{decision:?}");
        let v1::Decision { decision_id, replayed, .. } = decision;
        Fate::Acked(Receipt { decision_id, reservation_id, replayed })
    }

    /// No answer ever shows a hard limit passed.
    fn check_limit(&self, decision: &v1::Decision) {
        let Some(state) = &decision.binding else { return };
        if state.policy() == v1::Policy::Block {
            let held = state.used_units + state.reserved_units;
            assert!(held <= state.included_units(), "{self:?} {decision:?}");
            assert_eq!(state.debt_units, 0, "{self:?} {decision:?}");
        }
    }
}
