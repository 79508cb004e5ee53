//! The bounds of this crate, each with what happens at it.

/// Segments of one catalog. More are refused by the check.
pub const SEGMENTS_MAX: usize = 16;

/// Conditions of one segment's gate, and parts of one score. More are refused by the check.
pub const CONDITIONS_MAX: usize = 32;

/// Risk flags of one catalog. More are refused by the check.
pub const RISKS_MAX: usize = 32;

/// Plays of one catalog. More are refused by the check.
pub const PLAYS_MAX: usize = 256;

/// Signals from outside that one catalog may name itself. More are refused by the check.
pub const OUTSIDE_SIGNALS_MAX: usize = 128;

/// People of one account that are remembered one by one: 16 bytes each. Above it every second one is
/// forgotten, by a hash, and so on; counts are then estimates and say so.
pub const PEOPLE_MAX: usize = 1_024;

/// Features of one account whose use is remembered by day. Use of one more is refused.
pub const FEATURES_MAX: usize = 256;

/// Days that activity is looked at over, today included.
pub const ACTIVITY_DAYS: u32 = 30;

/// Opportunities of one account that are remembered. When there are more, the one that ended first is
/// forgotten; a new one is refused when none has ended.
pub const OPPORTUNITIES_MAX: usize = 256;

/// Rules of one catalog. More are refused by the check: each is looked at for every account once a day.
pub const WATCHES_MAX: usize = 64;

/// Bytes of one rule. A longer one is refused.
pub const RULE_BYTES_MAX: usize = 1_024;
/// Parts of one rule: names, values and operators. More are refused.
pub const RULE_NODES_MAX: usize = 128;
/// How deep a rule may nest. Deeper ones are refused.
pub const RULE_DEPTH_MAX: u16 = 32;
