//! One account, one catalog, and a clock that the test moves.

use headroom_core::account::{Account, Override, OverrideValue, Profile};
use headroom_core::catalog::{
    Catalog, CatalogSpec, EntitlementSpec, FeatureIx, FeatureKindSpec, FeatureSpec, LimitSpec,
    PlanLimitSpec, PlanSpec, Policy,
};
use headroom_core::closing::WindowTerms;
use headroom_core::decide::{self, Context, FeatureOp, HoldOp};
use headroom_core::decision::{LimitState, OpError, Outcome};
use headroom_core::effect::{Effect, Effects};
use headroom_core::ledger::Ledger;
use headroom_core::names::{NameId, Names};
use headroom_core::policy::LimitTerms;
use headroom_core::reservation::ReservationId;
use headroom_core::signal::{Signal, SignalName, SignalSwitches};
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};

/// 10 March 2026, noon, UTC.
pub(crate) const T0: i64 = 1_773_144_000_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// A limit of the plan.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) limit: &'static str,
    pub(crate) window: WindowRule,
    pub(crate) included: Option<u64>,
    pub(crate) soft_bp: Vec<u32>,
    pub(crate) policy: Policy,
    pub(crate) terms: LimitTerms,
}

/// A daily limit in UTC.
pub(crate) fn daily(included: u64, policy: Policy) -> Limit {
    let window = WindowRule::Calendar(CalendarUnit::Day);
    Limit {
        limit: "daily",
        window,
        included: Some(included),
        soft_bp: vec![],
        policy,
        terms: LimitTerms::default(),
    }
}

/// A limit that counts for ever.
pub(crate) fn total(included: u64, policy: Policy) -> Limit {
    Limit { limit: "total", window: WindowRule::Lifetime, ..daily(included, policy) }
}

pub(crate) fn unlimited() -> Limit {
    Limit { included: None, ..daily(0, Policy::Unlimited) }
}

impl Limit {
    pub(crate) fn soft(mut self, soft_bp: &[u32]) -> Limit {
        self.soft_bp = soft_bp.to_vec();
        self
    }
}

/// The catalog of these tests: `tokens` has the given limits in plan `pro` and none in plan `bare`;
/// `sso` is a switch and `retention` a config, both of plan `pro`.
pub(crate) fn spec(limits: &[Limit], signals: SignalSwitches) -> CatalogSpec {
    let feature = |name: &str, kind| FeatureSpec {
        feature: name.to_owned(),
        name: name.to_owned(),
        unit: String::new(),
        scale: 0,
        offering: headroom_core::catalog::Offering::default(),
        kind,
        shadow: false,
        counting: Default::default(),
    };
    let shapes = limits
        .iter()
        .map(|l| LimitSpec { limit: l.limit.to_owned(), window: l.window, per: None })
        .collect();
    let planned = limits.iter().map(|l| PlanLimitSpec {
        limit: l.limit.to_owned(),
        included_units: l.included,
        soft_limits_bp: l.soft_bp.clone(),
        policy: l.policy,
        terms: l.terms.clone(),
    });
    let plan = |name: &str, entitlements| PlanSpec {
        plan: name.to_owned(),
        version: 1,
        name: name.to_owned(),
        price: None,
        entitlements,
    };
    let pro = vec![
        ("tokens".to_owned(), EntitlementSpec::Quota { limits: planned.collect() }),
        ("sso".to_owned(), EntitlementSpec::Switch { on: true }),
        ("retention".to_owned(), EntitlementSpec::Config { value_json: "30".to_owned() }),
    ];
    CatalogSpec {
        migrations: Vec::new(),
        addons: vec![],
        features: vec![
            feature("tokens", FeatureKindSpec::Quota { limits: shapes }),
            feature("sso", FeatureKindSpec::Switch),
            feature("retention", FeatureKindSpec::Config),
        ],
        plans: vec![plan("pro", pro), plan("bare", vec![])],
        default_plan: None,
        prompts: vec![],
        prompting: Default::default(),
        signals,
    }
}

/// One account under one catalog.
pub(crate) struct World {
    pub(crate) names: Names,
    pub(crate) catalog: Catalog,
    pub(crate) account: Account,
    pub(crate) now: i64,
    /// Every effect so far.
    pub(crate) effects: Effects,
    /// What time had brought before it.
    pub(crate) settled: Effects,
    /// The effects of the last request.
    pub(crate) last: Effects,
}

impl World {
    /// An account on plan `pro`, subscribed since two days.
    pub(crate) fn new(limits: &[Limit]) -> World {
        World::of(spec(limits, SignalSwitches::default()))
    }

    pub(crate) fn of(spec: CatalogSpec) -> World {
        let mut names = Names::new();
        let catalog = Catalog::build(spec, 1, &mut names).unwrap();
        let plan = names.get("pro").unwrap();
        let profile = Profile::new(plan, false, Millis(T0 - 2 * DAY_MS));
        let account = Account::new(7, profile);
        World { names, catalog, account, now: T0, effects: vec![], settled: vec![], last: vec![] }
    }

    /// Puts another catalog into force.
    pub(crate) fn install(&mut self, spec: CatalogSpec) {
        self.catalog = Catalog::build(spec, self.catalog.revision + 1, &mut self.names).unwrap();
    }

    /// Changes the limits of plan `pro`.
    pub(crate) fn change_limits(&mut self, limits: &[Limit]) {
        self.install(spec(limits, self.catalog.signals));
    }

    pub(crate) fn id(&self, name: &str) -> NameId {
        self.names.get(name).unwrap()
    }

    pub(crate) fn feature(&self, name: &str) -> Option<FeatureIx> {
        self.catalog.feature_named(name)
    }

    /// Replaces what the plan says.
    pub(crate) fn put_override(&mut self, feature: &str, value: OverrideValue) {
        let one = Override::new(self.id(feature), value);
        let extra = self.account.profile.extra.get_or_insert_default();
        extra.overrides.retain(|known| !one.replaces(known));
        extra.overrides.push(one);
    }

    /// What the engine does: time first, then the request, then its effects.
    pub(crate) fn run(
        &mut self,
        decide: impl FnOnce(Context<'_>, &Account, &mut Effects) -> Result<Outcome, OpError>,
    ) -> Result<Outcome, OpError> {
        let now = Millis(self.now);
        let mut effects = Effects::new();
        if self.account.is_due(now) {
            let cx = Context { catalog: &self.catalog, now };
            decide::settle_all(cx, &self.account, &mut effects);
            self.apply(&effects);
        }
        self.settled = effects.clone();
        effects.clear();
        let before = self.account.clone();
        let cx = Context { catalog: &self.catalog, now };
        let outcome = decide(cx, &self.account, &mut effects);
        assert_eq!(self.account, before, "deciding changes nothing");
        if let Err(error) = outcome {
            assert_eq!(effects, [], "an error changes nothing: {error}");
        }
        self.apply(&effects);
        self.last = effects;
        outcome
    }

    pub(crate) fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.account.apply(effect);
        }
        self.effects.extend_from_slice(effects);
    }

    pub(crate) fn try_ask(&mut self, feature: &str, op: FeatureOp) -> Result<Outcome, OpError> {
        let feature = self.feature(feature);
        self.run(|cx, account, effects| decide::decide_feature(cx, account, feature, op, effects))
    }

    pub(crate) fn try_hold(&mut self, id: ReservationId, op: HoldOp) -> Result<Outcome, OpError> {
        self.run(|cx, account, effects| decide::decide_hold(cx, account, id, op, effects))
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, op: FeatureOp) -> Outcome {
        self.try_ask("tokens", op).unwrap()
    }

    #[track_caller]
    pub(crate) fn consume(&mut self, units: u64) -> Outcome {
        self.ask(FeatureOp::Consume { units })
    }

    #[track_caller]
    pub(crate) fn record(&mut self, units: u64) -> Outcome {
        self.ask(FeatureOp::Record { units })
    }

    #[track_caller]
    pub(crate) fn check(&mut self, units: u64) -> Outcome {
        self.ask(FeatureOp::Check { units, attempt: false })
    }

    /// Holds units for an hour.
    #[track_caller]
    pub(crate) fn reserve(&mut self, units: u64) -> ReservationId {
        let outcome = self.ask(FeatureOp::Reserve { units, hold_ms: HOUR_MS });
        assert!(outcome.decision.verdict.is_allowed(), "{:?}", outcome.decision);
        outcome.amounts.reservation.unwrap()
    }

    #[track_caller]
    pub(crate) fn commit(&mut self, id: ReservationId, units: u64) -> Outcome {
        self.try_hold(id, HoldOp::Commit { units }).unwrap()
    }

    /// Makes the ledger of the current window be this, whatever the limits say.
    pub(crate) fn set(&mut self, limit: &str, used: u64, reserved: u64) {
        let state = self.state(limit);
        let holds = u32::from(reserved > 0);
        let ledger = Ledger { used, reserved, holds, ..state.ledger };
        self.apply(&[Effect::Ledger(ledger)]);
    }

    /// How a limit of `tokens` stands.
    #[track_caller]
    pub(crate) fn state(&self, limit: &str) -> LimitState {
        let cx = Context { catalog: &self.catalog, now: Millis(self.now) };
        let tokens = self.feature("tokens").unwrap();
        let mut account = self.account.clone();
        if account.is_due(cx.now) {
            let mut effects = Effects::new();
            decide::settle(cx, &account, &mut effects);
            effects.iter().for_each(|effect| account.apply(effect));
        }
        let mut states = decide::limit_states(cx, &account, tokens).into_iter();
        states.find(|state| state.ledger.limit == self.id(limit)).unwrap()
    }

    /// Used, reserved and debt of the daily limit.
    #[track_caller]
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let ledger = self.state("daily").ledger;
        (ledger.used, ledger.reserved, ledger.debt)
    }

    /// The signals of the last request.
    pub(crate) fn signals(&self) -> Vec<&Signal> {
        let mut signals: Vec<&Signal> = Vec::new();
        for effect in &self.last {
            if let Effect::Signal(signal) = effect {
                signals.push(signal);
            }
        }
        signals
    }

    /// Names and thresholds of the signals of the last request.
    pub(crate) fn told(&self) -> Vec<(SignalName, Vec<u32>)> {
        self.signals().iter().map(|signal| (signal.name, signal.crossed_bp.to_vec())).collect()
    }

    /// The closed windows so far: start, used units, debt, units taken over and what they were measured by.
    pub(crate) fn closed_by(&self) -> Vec<(i64, u64, u64, WindowTerms)> {
        let closed = |effect: &Effect| match effect {
            Effect::LedgerClosed(l, terms) => {
                Some((l.window.start().0, l.used, l.debt, **terms.as_ref()?))
            }
            _ => None,
        };
        self.effects.iter().filter_map(closed).collect()
    }

    /// The closed ledgers so far.
    pub(crate) fn closed(&self) -> Vec<Ledger> {
        let closed = |effect: &Effect| match effect {
            Effect::LedgerClosed(ledger, _) => Some(*ledger),
            _ => None,
        };
        self.effects.iter().filter_map(closed).collect()
    }
}

/// A source of numbers with a seed (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
