//! Subjects in the model: each is an account of its own, with the same subscription, that has the limits
//! of its level. A request is asked of all of them, and counted in all of them or in none.

use headroom_core::catalog::{Aggregation, FeatureKindSpec};
use headroom_core::decide::{FeatureOp, HoldOp, Mistyped};
use headroom_core::decision::{Amounts, Denial, OpError, Verdict};
use headroom_core::reservation::ReservationId;
use headroom_core::resolve::Origin;
use headroom_engine::engine::EngineError;

use super::erase::shown;
use super::hold::Case;
use super::measure::Bounds;
use super::migrate::label;
use super::page::{Page, binding, refuses};
use super::paid::Own;
use super::plan::{EACH_SLOTS, Entitled};
use super::{
    Account, Answer, Book, Done, Hold, Limit, LimitAnswer, Line, Model, Remembered, Request, Says,
};

/// What is said to more units of a reservation.
struct More {
    pages: Vec<Page>,
    /// Whose each page is.
    whose: Vec<Option<String>>,
    /// How many are the account's.
    own: usize,
    shadow: Option<Denial>,
}

impl Model {
    /// The account of a subject: what counts there, under the subscription of now.
    pub(crate) fn inner(account: &Account, name: &str) -> Account {
        let mut inner = account.clone();
        inner.whose = Some(name.to_owned());
        inner.subjects.clear();
        inner.pools.clear();
        inner.keys.clear();
        match account.subjects.get(name) {
            Some(known) => {
                inner.books = known.books.clone();
                inner.holds = known.holds.clone();
                inner.above = known.above.clone();
                inner.graces = known.graces.clone();
                inner.tanks = known.tanks.clone();
                inner.settled_at = known.settled_at;
            }
            None => {
                inner.books.clear();
                inner.holds.clear();
                inner.above.clear();
                inner.graces.clear();
                inner.tanks.clear();
            }
        }
        inner
    }

    /// The limits of subjects of a feature, and of which type.
    pub(crate) fn level_limits(
        &self,
        account: &Account,
        (feature, name): (&str, &str),
        now: i64,
    ) -> Vec<(String, Limit)> {
        let given = |plan| self.given_of(feature, &Model::said(plan, feature)?);
        let Some(known) = self.feature(feature) else { return Vec::new() };
        if let FeatureKindSpec::Concurrency { per } = &known.kind {
            let slots = per.as_ref().and_then(|_| self.slots_of(account, (feature, name), now));
            return per.iter().cloned().zip(slots).collect();
        }
        let plan = account.plan_then(now);
        let plan = self.catalog.plans.iter().find(|known| label(known) == plan);
        let mut together = given(plan).unwrap_or_default();
        for (name, quantity) in &account.addons {
            let addon = self.catalog.addons.iter().find(|known| known.plan == *name);
            for more in given(addon).unwrap_or_default() {
                Model::add(&mut together, more, *quantity, known.offering.merge);
            }
        }
        let overrides = account.overrides.iter().filter(|(of, _, (from, until))| {
            of == feature && from.is_none_or(|at| at <= now) && until.is_none_or(|at| now < at)
        });
        let overrides: Vec<&Says> = overrides.map(|(_, says, _)| says).collect();
        // What is said for this one comes after what is said for all.
        let own = overrides.iter().filter_map(|says| match says.plain() {
            (Says::OfSubject(who, limit, included), is_least) if who == name => {
                let own = Says::Limit(limit.clone(), *included);
                Some(if is_least { Says::AtLeast(Box::new(own)) } else { own })
            }
            _ => None,
        });
        let own: Vec<Says> = own.collect();
        let overrides: Vec<&Says> = overrides.into_iter().chain(&own).collect();
        let (limits, _) = self.limits(true, feature, &together, &overrides);
        let shapes = self.shapes(feature);
        let per = |limit: Limit| {
            let shape = shapes.iter().find(|shape| shape.limit == limit.limit);
            (shape.and_then(|shape| shape.per.clone()).expect("it is of subjects"), limit)
        };
        limits.into_iter().map(per).collect()
    }

    /// The types of subjects that have limits of a feature.
    fn types(&self, feature: &str) -> Vec<String> {
        let per = match self.feature(feature).map(|known| &known.kind) {
            Some(FeatureKindSpec::Quota { limits }) => {
                limits.iter().filter_map(|limit| limit.per.clone()).collect()
            }
            Some(FeatureKindSpec::Concurrency { per } | FeatureKindSpec::Rate { per }) => {
                per.iter().cloned().collect()
            }
            _ => Vec::new(),
        };
        let mut once: Vec<String> = Vec::new();
        for per in per {
            if !once.contains(&per) {
                once.push(per);
            }
        }
        once
    }

    /// Whoever is named at a feature that has limits of others is a mistake, unless the catalog knows of
    /// somebody who is named. No two types of these histories look alike.
    pub(crate) fn check_types(
        &self,
        feature: &str,
        subject: Option<&str>,
    ) -> Result<(), EngineError> {
        let limited = self.types(feature);
        let Some(subject) = subject else { return Ok(()) };
        let named: Vec<&str> =
            subject.split('/').filter_map(|level| level.split(':').next()).collect();
        let all = self.catalog.features.iter().flat_map(|known| self.types(&known.feature));
        let is_known = all.into_iter().any(|known| named.contains(&known.as_str()));
        if limited.is_empty() || is_known {
            return Ok(());
        }
        Err(EngineError::Subject(Box::new(Mistyped {
            kind: named[named.len() - 1].to_owned(),
            feature: feature.to_owned(),
            limited,
            meant: None,
        })))
    }

    /// The subjects that a request is charged to, each with its limits.
    pub(crate) fn levels(
        &self,
        account: &Account,
        feature: &str,
        subject: Option<&str>,
        now: i64,
    ) -> Vec<(String, Vec<Limit>)> {
        let mut levels = Vec::new();
        let mut name = String::new();
        for level in subject.unwrap_or_default().split('/').filter(|level| !level.is_empty()) {
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(level);
            let kind = level.split(':').next().unwrap_or_default();
            let mut limits = self.level_limits(account, (feature, &name), now);
            limits.retain(|(per, _)| per == kind);
            if !limits.is_empty() {
                levels.push((name.clone(), limits.into_iter().map(|(_, limit)| limit).collect()));
            }
        }
        levels
    }

    fn level_answers(&self, request: &Request, account: &Account, now: i64) -> Vec<LimitAnswer> {
        let super::Asked::Feature(feature, _) = &request.asked else { return Vec::new() };
        let mut answers = Vec::new();
        if let Some((name, each)) = self.each_of(request, account, feature, now) {
            let inner = Model::inner(account, &name);
            answers.push(self.each_answer(&inner, (feature, &name), each, now));
        }
        for (name, limits) in self.levels(account, feature, request.subject.as_deref(), now) {
            let inner = Model::inner(account, &name);
            for page in self.pages(&inner, feature, &limits, now) {
                answers.push(LimitAnswer { subject: Some(name.clone()), ..page.answer() });
            }
        }
        answers
    }

    pub(crate) fn dress_for(
        &self,
        request: &Request,
        account: &Account,
        done: Done,
        replayed: bool,
        now: i64,
    ) -> Answer {
        let mut answer = self.dress(account, done, request.wants, replayed, now);
        let is_plain = matches!(answer.verdict, Verdict::Allowed);
        let unless_plain = request.wants.all_limits_unless_plain && !is_plain;
        let wanted = request.wants.all_limits || unless_plain;
        if let (true, Some(binding)) = (wanted, &answer.binding) {
            let others = self.level_answers(request, account, now).into_iter();
            answer.others.extend(others.filter(|other| other.limit != binding.limit));
        }
        answer
    }

    pub(crate) fn again_for(
        &self,
        request: &Request,
        account: &Account,
        known: &Remembered,
        now: i64,
    ) -> Done {
        let mut done = self.again(account, known, now);
        if done.binding.is_none() {
            let levels = self.level_answers(request, account, now);
            done.binding =
                levels.into_iter().find(|answer| Some(&answer.limit) == known.limit.as_ref());
        }
        done
    }

    /// Answers a request that is charged to subjects; `None` if it is not.
    pub(crate) fn use_for(
        &mut self,
        request: &Request,
        account: &mut Account,
        feature: &str,
        op: FeatureOp,
        now: i64,
    ) -> Option<Result<Done, OpError>> {
        if let Some(done) = self.rate_for(request, account, (feature, op), now) {
            return Some(done);
        }
        let subject = request.subject.as_deref();
        let levels = self.levels(account, feature, subject, now);
        if levels.is_empty() {
            return None;
        }
        let is_for = |who: &String| levels.iter().any(|(name, _)| name == who);
        let mut says = account.overrides.iter().map(|(_, says, _)| says);
        if says.any(|says| matches!(says, Says::OfSubject(who, ..) if is_for(who))) {
            self.met.insert("an override for a subject");
        }
        let op = match self.as_taken(feature, op) {
            Ok(FeatureOp::Check { attempt, .. })
                if self.aggregation(feature) == Aggregation::Count =>
            {
                FeatureOp::Check { units: 1, attempt }
            }
            Ok(op) => op,
            Err(error) => return Some(Err(error)),
        };
        let records = matches!(op, FeatureOp::Record { .. });
        let is_of_slots =
            matches!(self.feature(feature)?.kind, FeatureKindSpec::Concurrency { .. });
        if records && is_of_slots {
            return Some(Err(OpError::SlotsAreHeld));
        }
        let (limits, origin) = if records {
            match self.entitled(account, feature, now) {
                (Entitled::Limits(limits), origin) => (limits, origin),
                _ => (self.bare(feature), Origin::None),
            }
        } else {
            match self.gate(account, feature, now) {
                Ok((Entitled::Limits(limits), origin)) => (limits, origin),
                _ => return None,
            }
        };
        if is_of_slots && !matches!(op, FeatureOp::Check { .. } | FeatureOp::Reserve { .. }) {
            return Some(Err(OpError::SlotsAreHeld));
        }
        if let FeatureOp::Check { units, .. }
        | FeatureOp::Consume { units }
        | FeatureOp::Record { units } = op
            && let Some(value) = self.value(feature, units, now)
        {
            let (of, given) = ((&*request.account, feature), Bounds { limits, origin, levels });
            return Some(match op {
                FeatureOp::Record { .. } => self.record_value(of, account, &given, value, now),
                FeatureOp::Check { attempt, .. } => {
                    self.ask_value(of, account, &given, value, (attempt, false), now)
                }
                _ => self.ask_value(of, account, &given, value, (true, true), now),
            });
        }
        let id = &request.account;
        if let Some(payer) = self.payer(account, feature, now) {
            let own = Own { feature: feature.to_owned(), origin, limits, levels };
            return Some(self.use_paid(id, account, (&own, &payer), op, now));
        }
        Some(self.count_for(id, account, (feature, op, origin), (limits, levels), now))
    }

    pub(crate) fn count_for(
        &mut self,
        id: &str,
        account: &mut Account,
        (feature, op, origin): (&str, FeatureOp, Origin),
        (limits, levels): (Vec<Limit>, Vec<(String, Vec<Limit>)>),
        now: i64,
    ) -> Result<Done, OpError> {
        let (FeatureOp::Check { units, .. }
        | FeatureOp::Consume { units }
        | FeatureOp::Record { units }
        | FeatureOp::Reserve { units, .. }
        | FeatureOp::ReserveCharging { units, .. }) = op
        else {
            unreachable!("an allocation has no limits of subjects")
        };
        let (hold_ms, charging) = match op {
            FeatureOp::Reserve { hold_ms, .. } => (Some(hold_ms), false),
            FeatureOp::ReserveCharging { hold_ms, .. } => (Some(hold_ms), true),
            _ => (None, false),
        };
        let mut pages = self.pages(account, feature, &limits, now);
        let own = pages.len();
        let mut whose = vec![None; own];
        for (name, limits) in &levels {
            let inner = Model::inner(account, name);
            pages.extend(self.pages(&inner, feature, limits, now));
            whose.resize(pages.len(), Some(name.clone()));
        }
        let mut shadow = None;
        if !matches!(op, FeatureOp::Record { .. }) {
            for page in &mut pages {
                page.verdict = page.admits(units, hold_ms.is_none());
                page.asked = units;
            }
            if self.is_watched(feature) {
                shadow = Model::look_away(&mut pages, origin, units, hold_ms.is_none());
            }
            if refuses(&pages) {
                self.find_waits_for(account, &mut pages, &whose);
                if !matches!(op, FeatureOp::Check { attempt: false, .. }) {
                    self.announce_refusal(id, account, &pages[..own], units, now);
                }
                self.met.insert("a subject refused");
                if pages.iter().any(|page| page.limit.limit == EACH_SLOTS) {
                    self.met.insert("slots of a subject refused");
                }
                let done = self.done_for(account, feature, origin, (&pages, &whose), now);
                return Ok(Model::with_longest_wait(account, units, done, (&pages, &whose), now));
            }
        }
        if matches!(op, FeatureOp::Check { .. }) {
            let done = self.done_for(account, feature, origin, (&pages, &whose), now);
            return Ok(Done { shadow, ..done });
        }
        if !pages.iter().all(|page| page.fits_counter(units)) {
            return Err(OpError::CounterFull);
        }
        self.met.insert("a subject counted");
        let mut amounts = Amounts { units, ..Amounts::default() };
        if pages.iter().any(|page| page.limit.limit == EACH_SLOTS) {
            self.met.insert("slots of a subject");
        }
        if let Some(hold_ms) = hold_ms {
            let hold = (id, units, hold_ms, charging);
            let done = self.reserve(account, hold, origin, pages[..own].to_vec(), now);
            amounts = done.amounts;
        }
        let count = u32::try_from(account.holds.len()).expect("few reservations");
        let mut debt = 0;
        for (page, name) in pages.iter_mut().zip(&whose) {
            let told = self.told.clone();
            let mut inner = name.as_ref().map(|name| Model::inner(account, name));
            let of = inner.as_mut().unwrap_or(account);
            if hold_ms.is_some() {
                page.reserved += u128::from(units);
                page.fresh = false;
                if name.is_some() {
                    self.keep(of, page);
                } else {
                    // What was said of slots is news of their book.
                    let same = |b: &&Book| {
                        (&b.feature, &b.limit, b.start)
                            == (&page.book.feature, &page.book.limit, page.book.start)
                    };
                    page.book = of.books.iter().find(same).expect("just kept").clone();
                }
            } else {
                let previous = page.used();
                if matches!(op, FeatureOp::Record { .. }) {
                    debt = page.book_units(units, units).max(debt);
                } else {
                    page.book.uses.push((units, 0));
                }
                if origin != Origin::None {
                    self.announce_use(id, of, page, previous, now);
                }
                if matches!(op, FeatureOp::Record { .. }) {
                    page.verdict = page.stands();
                }
                self.keep(of, page);
            }
            if let (Some(name), Some(mut inner)) = (name, inner) {
                // Subjects are told of nothing.
                self.told = told;
                if hold_ms.is_some() {
                    let held = account.holds.get_mut(&count).expect("just made");
                    if !held.levels.contains(name) {
                        held.levels.push(name.clone());
                    }
                    let (books, levels) = (Vec::new(), Vec::new());
                    let empty = Hold { books, levels, credits: None, ..held.clone() };
                    let held = inner.holds.entry(count).or_insert(empty);
                    held.books.push((page.book.limit.clone(), page.book.start));
                }
                account.subjects.insert(name.clone(), inner);
            }
        }
        if hold_ms.is_none() {
            self.spread(account, (feature, self.telling), now, units.into());
        }
        amounts.debt_units = u64::try_from(debt).expect("a part of the units");
        let done = self.done_for(account, feature, origin, (&pages, &whose), now);
        Ok(Done { amounts, shadow, ..done })
    }

    pub(crate) fn done_for(
        &self,
        account: &Account,
        feature: &str,
        origin: Origin,
        (pages, whose): (&[Page], &[Option<String>]),
        now: i64,
    ) -> Done {
        let mut done = self.done(account, feature, origin, pages, now);
        let binds = binding(pages);
        let place = pages.iter().position(|page| std::ptr::eq(page, binds));
        let name = place.and_then(|place| whose[place].clone());
        if let Some(binding) = &mut done.binding {
            binding.subject = name.as_deref().map(shown);
        }
        done
    }

    /// What the account and its subjects say to more units of a reservation: the pages of all of them, and
    /// what shadow mode lets go on; or why it cannot be counted.
    fn more_for(
        &self,
        account: &Account,
        case: &Case<'_>,
        additional: u64,
    ) -> Result<More, OpError> {
        let feature = &case.held.feature;
        let mut sets = vec![(None, account.clone(), case.clone())];
        for name in &case.held.levels {
            let limits = self.level_limits(account, (feature, name), case.now);
            let limits: Vec<Limit> = limits.into_iter().map(|(_, limit)| limit).collect();
            let inner = Model::inner(account, name);
            let held = inner.holds[&case.count].clone();
            let pages = self.held_pages(&limits, &inner, &held, case.now);
            sets.push((Some(name.clone()), inner, Case { held, pages, ..case.clone() }));
        }
        let mut more = More { pages: Vec::new(), whose: Vec::new(), own: 0, shadow: None };
        let mut fits = true;
        for (name, of, mut case) in sets {
            let shown = self.weigh_more(&of, &mut case, additional);
            fits &= case.pages.iter().all(|page| page.fits_counter(additional));
            if self.is_watched(feature) && !case.pages.is_empty() {
                let let_go = Model::look_away(&mut case.pages, case.origin, additional, false);
                more.shadow = more.shadow.or(let_go);
            }
            let asked = case.pages.iter().zip(shown);
            more.pages.extend(asked.map(|(page, shown)| Page { verdict: page.verdict, ..shown }));
            if name.is_none() {
                more.own = more.pages.len();
            }
            more.whose.resize(more.pages.len(), name);
        }
        if !fits && !refuses(&more.pages) { Err(OpError::CounterFull) } else { Ok(more) }
    }

    /// Settles a reservation that subjects hold, too.
    pub(crate) fn use_levels(
        &mut self,
        account: &mut Account,
        mut case: Case<'_>,
        hold: ReservationId,
        op: HoldOp,
    ) -> Result<Done, OpError> {
        self.met.insert("a reservation of subjects");
        let (before, told) = (account.clone(), self.told.clone());
        let feature = case.held.feature.clone();
        let mut shadow = None;
        if let HoldOp::Extend { additional_units: additional @ 1.., .. } = op
            && account.barred(case.now).is_none()
            && case.held.is_open(case.now)
        {
            self.met.insert("a reservation of subjects asked for more");
            let More { pages, whose, own, shadow: let_go } =
                self.more_for(account, &case, additional)?;
            shadow = let_go;
            if refuses(&pages) {
                self.met.insert("a reservation of subjects denied more");
                self.announce_refusal(case.id, account, &pages[..own], additional, case.now);
                let done = self.settled_for(account, &feature, &case, (&pages, &whose));
                let stays = Model::stays(&case.held);
                let done = Done { amounts: Amounts { reservation: Some(hold), ..stays }, ..done };
                let of = (&pages[..], &whose[..]);
                return Ok(Model::with_longest_wait(account, additional, done, of, case.now));
            }
        }
        let done = self.settle_one(account, &mut case, op);
        let mut done = done.inspect_err(|_| self.told.clone_from(&told))?;
        let mut pages = case.pages.clone();
        let mut whose = vec![None; pages.len()];
        for name in case.held.levels.clone() {
            let quiet = self.told.clone();
            let limits = self.level_limits(&before, (&feature, &name), case.now);
            let limits: Vec<Limit> = limits.into_iter().map(|(_, limit)| limit).collect();
            let mut inner = Model::inner(account, &name);
            let held = inner.holds[&case.count].clone();
            let pages_here = self.held_pages(&limits, &inner, &held, case.now);
            let mut here = Case { held, pages: pages_here, ..case.clone() };
            let there = self.settle_one(&mut inner, &mut here, op);
            self.told = quiet;
            match there {
                Ok(there) => {
                    done.amounts.debt_units = done.amounts.debt_units.max(there.amounts.debt_units);
                }
                Err(error) => {
                    *account = before;
                    self.told = told;
                    return Err(error);
                }
            }
            account.subjects.insert(name.clone(), inner);
            pages.extend(here.pages);
            whose.resize(pages.len(), Some(name));
        }
        if !done.verdict.is_allowed() {
            // Only what stands against the whole account.
            done.amounts.reservation = Some(hold);
            return Ok(done);
        }
        let amounts = Amounts { reservation: Some(hold), ..done.amounts };
        let done = self.settled_for(account, &feature, &case, (&pages, &whose));
        Ok(Done { amounts, shadow, ..done })
    }

    fn settled_for(
        &self,
        account: &Account,
        feature: &str,
        case: &Case<'_>,
        (pages, whose): (&[Page], &[Option<String>]),
    ) -> Done {
        if self.feature(feature).is_some() {
            return self.done_for(account, feature, case.origin, (pages, whose), case.now);
        }
        let verdict = pages.iter().map(|page| page.verdict).max();
        Done::refused(verdict.unwrap_or(Verdict::Allowed), Some(feature.to_owned()))
    }

    fn settle_one(
        &mut self,
        account: &mut Account,
        case: &mut Case<'_>,
        op: HoldOp,
    ) -> Result<Done, OpError> {
        match op {
            HoldOp::Extend { hold_ms, additional_units } => {
                self.extend(account, case, hold_ms, additional_units)
            }
            HoldOp::Commit { units } if units > 0 => self.commit(account, case, units, None),
            HoldOp::CommitPart { units, hold_ms } => {
                self.commit(account, case, units, Some(hold_ms))
            }
            HoldOp::Commit { .. } | HoldOp::Release => Ok(self.release(account, case)),
        }
    }

    /// The ledgers of the subjects of an account, in memory or closed, by path.
    pub fn subject_lines(&self, account: &str, closed: bool, now: i64) -> Vec<(String, Vec<Line>)> {
        let Some(account) = self.accounts.get(account) else { return Vec::new() };
        let mut all = Vec::new();
        let account = self.with_charges(account, now);
        for name in account.subjects.keys() {
            let inner = Model::inner(&account, name);
            let lines = self.lines_of(&inner, closed, now);
            if !lines.is_empty() {
                all.push((shown(name), lines));
            }
        }
        all.sort();
        all
    }
}
