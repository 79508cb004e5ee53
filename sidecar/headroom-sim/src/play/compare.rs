//! What is compared: answers, signals, listings, and the archive that the journal amounts to.

use std::collections::BTreeMap;
use std::fmt::Debug;

use headroom_core::catalog::FeatureIx;
use headroom_core::credits::CreditsEffect;
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Denial, Verdict, WindowPhase};
use headroom_core::effect::Effect;
use headroom_core::names::NameId;
use headroom_core::signal::SignalName;
use headroom_core::tally::Label;
use headroom_core::time::Millis;
use headroom_core::window::CalendarUnit;
use headroom_engine::digest::{RecordDigest, SignalId, signal_row, usage_row};
use headroom_engine::engine::{EngineError, FeatureRequest, Wants};
use headroom_engine::events::{Adjustment, adjustment_row};
use headroom_engine::ports::{Digest, ProjectionOp, Seq, Table};
use headroom_engine::record::{self, Record};
use headroom_engine::subjects;
use headroom_engine::tallies::TallyQuery;

use super::terms::{ERASED, Names, plain_name};
use super::{Met, Player, request_word};
use crate::catalogs::DIMENSION;
use crate::coverage::Coverage;
use crate::model::{Answer, Bill, ByTime, Line, Request, Told};
use crate::observe;

pub(super) fn same<T: PartialEq + Debug>(what: &str, engine: &T, model: &T) -> Met {
    if engine == model {
        return Ok(());
    }
    // Lines that both have say nothing.
    let (engine, model) = (format!("{engine:#?}"), format!("{model:#?}"));
    let only = |these: &str, those: &str| {
        let ours = |line: &&str| !those.lines().any(|other| other == *line);
        these.lines().filter(ours).collect::<Vec<_>>().join("\n    ")
    };
    let (ours, theirs) = (only(&engine, &model), only(&model, &engine));
    Err(format!("{what} differ\n  engine:\n    {ours}\n  model:\n    {theirs}"))
}

/// The same of lists of rows: those that only one has are told.
pub(super) fn same_rows<T: PartialEq + Debug>(what: &str, engine: &[T], model: &[T]) -> Met {
    if engine == model {
        return Ok(());
    }
    let only = |these: &[T], those: &[T]| {
        let ours = these.iter().filter(|row| !those.contains(row));
        ours.map(|row| format!("{row:?}")).collect::<Vec<_>>().join("\n    ")
    };
    let (ours, theirs) = (only(engine, model), only(model, engine));
    Err(format!("{what} differ\n  engine:\n    {ours}\n  model:\n    {theirs}"))
}

/// Notes what came to a window, whose key is that of the line without the record. Whether it changed anything.
fn note_line(
    trail: &mut BTreeMap<Vec<u8>, Vec<Adjustment>>,
    key: &[u8],
    value: &[u8],
) -> Result<bool, String> {
    let line = adjustment_row(value).map_err(|error| error.to_string())?;
    let changes = line.units != line.units_before;
    let window = key.get(..key.len() - 8).ok_or("a short key")?;
    trail.entry(window.to_vec()).or_default().push(line);
    Ok(changes)
}

/// A line of usage by time: its start, its dimension and its units.
type TallyTold = (i64, Option<String>, i128);

impl Player {
    /// The signals of this step's records are those of the model, in order.
    pub(super) fn compare_told(&mut self, before: Seq) -> Met {
        let catalog = self.engine.catalog();
        let mut told: Vec<Told> = Vec::new();
        for (seq, stored) in self.store.since(before) {
            let taken = record::take(&stored.bytes).map_err(|error| format!("{seq}: {error}"))?;
            let (Record::Decided { serial, effects, .. } | Record::Noted { serial, effects, .. }) =
                taken
            else {
                same("whether the projection must see it", &stored.matter, &false)?;
                continue;
            };
            let account = self.engine.account_id(serial).ok_or("a record of no account")?;
            let mut matter = false;
            for effect in &effects {
                matter |= match effect {
                    Effect::OfSubject(_, of) => {
                        use Effect::{LedgerClosed, MeasureClosed, Restated};
                        matches!(**of, LedgerClosed(..) | Restated(_) | MeasureClosed(_))
                    }
                    Effect::Signal(_)
                    | Effect::LedgerClosed(..)
                    | Effect::StockClosed(..)
                    | Effect::Restated(_)
                    | Effect::MeasureClosed(_)
                    | Effect::Event(_)
                    | Effect::TallyClosed(_)
                    | Effect::TallyLate(_)
                    | Effect::Subject(..) => true,
                    Effect::Credits(change) => matches!(**change, CreditsEffect::Segment(..)),
                    _ => false,
                };
                if let Effect::Signal(signal) = effect {
                    told.push(observe::told(&catalog, &account, signal));
                }
            }
            same("whether the projection must see it", &stored.matter, &matter)?;
        }
        drop(catalog);
        for signal in &told {
            self.coverage.note(&format!("signal {}", signal.name.as_str()));
            if signal.name == SignalName::TrialEnding && signal.feature != "?" {
                self.coverage.note("a trial of one feature that ends soon");
            }
            if signal.crossed_bp.len() > 1 {
                self.coverage.note("signal with several thresholds");
            }
            if signal.name == SignalName::FeatureLimitHit && signal.refused > 0 {
                self.coverage.note("signal of a refusal");
            }
        }
        let mut expected = self.model.told().to_vec();
        // Accounts are told of in any order, each in its own.
        told.sort_by(|a, b| a.account.cmp(&b.account));
        expected.sort_by(|a, b| a.account.cmp(&b.account));
        same("the signals", &told, &expected)
    }

    /// Everything that can be asked is the same.
    pub(super) fn inspect(&mut self) -> Met {
        self.coverage.note("inspection");
        let catalog = self.engine.catalog();
        let now = Millis(self.now);
        let ids = self.engine.account_ids(0, usize::MAX);
        let mut known: Vec<String> = ids.iter().map(|(_, id)| id.to_string()).collect();
        known.sort();
        same("the accounts", &known, &self.model.account_names().into_iter().collect())?;
        self.inspect_names(&catalog)?;
        for (serial, id) in &ids {
            let profile = self.engine.profile(id).ok_or("an account without a profile")?;
            let profile = observe::profile(&catalog, *serial, &profile);
            same(&format!("the profile of {id}"), &Some(profile), &self.model.profile(id))?;
            let usage = self.engine.usage(id, now).ok_or("an account without usage")?;
            same("the serial", &usage.serial, serial)?;
            let mut lines: Vec<Line> =
                usage.ledgers.iter().map(|ledger| observe::line(&catalog, ledger)).collect();
            lines.sort();
            same(&format!("the ledgers of {id}"), &Some(lines), &self.model.usage(id, self.now))?;
            let mut bills: Vec<Bill> =
                usage.stocks.iter().map(|stock| observe::bill(&catalog, stock)).collect();
            bills.sort();
            for feature in (0..catalog.features().len()).map(FeatureIx) {
                let page = (None, usize::MAX);
                let seats = self.engine.seats(&catalog, id, feature, page, now);
                let seats = seats.map(|all| all.iter().map(observe::seat).collect::<Vec<_>>());
                let name = catalog.text(catalog.feature(feature).id);
                let expected = self.model.sitting(id, name, self.now);
                same(&format!("the seats of {id}"), &seats, &expected)?;
            }
            let expected = self.model.open_bills(id, self.now);
            same(&format!("the stocks of {id}"), &Some(bills), &expected)?;
            let view = self.engine.subjects(id, now).ok_or("an account without subjects")?;
            let of = |usage: &subjects::SubjectUsage| {
                let line = |ledger| observe::line(&catalog, ledger);
                let mut lines: Vec<Line> = usage.ledgers.iter().map(line).collect();
                lines.sort();
                (usage.name.clone(), lines)
            };
            let mut lines: Vec<(String, Vec<Line>)> = view.subjects.iter().map(of).collect();
            lines.sort();
            let expected = self.model.subject_lines(id, false, self.now);
            same(&format!("the subjects of {id}"), &lines, &expected)?;
            self.inspect_pools(id)?;
        }
        if self.history.rng.percent(30) {
            self.inspect_tallies(&known)?;
        }
        for id in known.iter().map(String::as_str).chain(["stranger"]) {
            let listing = self.engine.entitlements(&catalog, id, now);
            let created_at = listing.as_ref().map_or(now, |listing| listing.profile.created_at);
            let listing = listing.map(|listing| {
                let one = |view: &headroom_engine::read::EntitlementView| {
                    let limits = view.limits.iter().map(|state| observe::limit(&catalog, state));
                    let decision = observe::decision(&catalog, &view.decision, created_at.0);
                    (decision, limits.collect::<Vec<_>>())
                };
                listing.entitlements.iter().map(one).collect::<Vec<_>>()
            });
            let expected = self.model.entitlements(id, self.now);
            same(&format!("the entitlements of {id}"), &listing, &expected)?;
        }
        same("halted accounts", &self.engine.counts().halted, &0)
    }

    /// Usage by time is the same, page by page, and adds up to what each window holds.
    fn inspect_tallies(&mut self, ids: &[String]) -> Met {
        self.store.project(self.store.last());
        let catalog = self.engine.catalog();
        for id in ids {
            for shape in catalog.features() {
                let Some(rule) = shape.tally() else { continue };
                let name = catalog.text(shape.id);
                let (always, by) = ((i64::MIN, i64::MAX), rule.buckets.unit());
                let lines = self.tally(id, (shape.id, by), always)?;
                if let Some(expected) = self.model.by_time(id, name, self.now) {
                    let known: Vec<Option<&str>> = vec![None, Some("small"), Some("large")];
                    let mut seen = ByTime::new();
                    for (start, told, units) in lines {
                        let told = known.iter().find(|known| **known == told.as_deref());
                        let place = (start, *told.ok_or("a dimension that nobody told")?);
                        same("a line that is told once", &seen.contains_key(&place), &false)?;
                        seen.insert(place, units);
                    }
                    let what = if seen.len() > 1 { "buckets" } else { "a bucket" };
                    self.coverage.note(&format!("usage by time: {what}"));
                    same(&format!("the {name} by time of {id}"), &seen, &expected)?;
                }
                for (window, units) in self.model.by_window(id, name, self.now) {
                    let lines = self.tally(id, (shape.id, by), window)?;
                    let sum: i128 = lines.iter().map(|(.., units)| units).sum();
                    self.coverage.note("usage by time within a window");
                    same(&format!("the {name} of {id} from {}", Millis(window.0)), &sum, &units)?;
                }
            }
        }
        Ok(())
    }

    /// All pages of usage by time.
    fn tally(
        &mut self,
        account: &str,
        (feature, by): (NameId, CalendarUnit),
        (from, to): (i64, i64),
    ) -> Result<Vec<TallyTold>, String> {
        let catalog = self.engine.catalog();
        let mut all = Vec::new();
        let group_by: Vec<NameId> = catalog.names().get(DIMENSION).into_iter().collect();
        let mut query = TallyQuery {
            account,
            feature,
            by,
            group_by: &group_by,
            from: Millis(from),
            to: Millis(to),
            lines_max: usize::try_from(1 + self.history.rng.below(5)).expect("small"),
            now: Millis(self.now),
        };
        loop {
            let page = self.engine.tally(&catalog, &*self.store, &query);
            let page = page.map_err(|error| error.to_string())?;
            for line in page.lines {
                let told = match line.labels.into_iter().next().flatten() {
                    Some(Label::Text(text)) => Some(text.to_string()),
                    Some(Label::Other) => return Err("there is room for two".to_owned()),
                    None => None,
                };
                all.push((line.span.start().0, told, line.units.into()));
            }
            let Some(next) = page.next_from else { return Ok(all) };
            same("whether pages go on", &(query.from < next), &true)?;
            self.coverage.note("usage by time: pages");
            query.from = next;
        }
    }

    /// The closed windows and signals that the projection would hold, read out of the journal.
    pub(super) fn inspect_archive(&mut self) -> Met {
        self.store.set_refusal(None);
        self.model.set_refusal(None);
        let catalog = self.engine.catalog();
        let names: Vec<String> = self.model.account_names().into_iter().collect();
        for id in &names {
            // Any request makes an account notice what time has ended.
            let op = FeatureOp::Check { units: 1, attempt: false };
            let (now, wants) = (Millis(self.now), Wants::default());
            let rq = FeatureRequest {
                dimensions: Default::default(),
                account: id,
                feature: "tokens",
                op,
                synthetic: false,
                key: "",
                now,
                wants,
                subject: None,
            };
            self.engine.feature(&catalog, &rq).map_err(|error| error.to_string())?;
        }
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut of_subjects: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut signals: BTreeMap<SignalId, Vec<u8>> = BTreeMap::new();
        let mut trail: BTreeMap<Vec<u8>, Vec<Adjustment>> = BTreeMap::new();
        for (seq, stored) in self.store.since(Seq(0)) {
            let mut ops = Vec::new();
            RecordDigest.digest(seq, &stored.bytes, &mut ops);
            same("whether the digest has a use for it", &!ops.is_empty(), &stored.matter)?;
            for op in ops {
                let (table, key, value) = match op {
                    ProjectionOp::Put { table, key, value } => (table, key, value),
                    ProjectionOp::Delete { table, key } => {
                        if table == Table::Subjects {
                            let known = of_subjects.remove(&key).is_some();
                            same("a name that is forgotten once", &known, &true)?;
                        }
                        continue;
                    }
                };
                let is_new = match table {
                    Table::Adjustments => note_line(&mut trail, &key, &value)?,
                    Table::Subjects if subjects::is_adjustment(&key) => {
                        note_line(&mut trail, &subjects::adjusted_window(&key), &value)?
                    }
                    Table::Subjects if !subjects::is_window(&key) => {
                        of_subjects.insert(key, value).is_none()
                    }
                    Table::Usage | Table::Subjects => {
                        let seen = usage_row(&value).map_err(|error| error.to_string())?;
                        let is_own = table == Table::Usage;
                        let rows = if is_own { &mut rows } else { &mut of_subjects };
                        match rows.insert(key, value) {
                            None => true,
                            // What it held at its close is never changed.
                            Some(old) => {
                                let closed = seen.window.closed;
                                usage_row(&old).is_ok_and(|old| old.window.closed == closed)
                            }
                        }
                    }
                    Table::Signals => {
                        let id = SignalId::of_row_key(&key).ok_or("a signal without an id")?;
                        same("the signal's position", &id.seq, &seq)?;
                        signals.insert(id, value).is_none()
                    }
                    Table::Pending
                    | Table::Events
                    | Table::Credits
                    | Table::Tallies
                    | Table::Prompts
                    | Table::Growth => true,
                };
                same("a row written once", &is_new, &true)?;
            }
        }
        let of_subject = |(key, _): &(&Vec<u8>, &Vec<u8>)| subjects::is_window(key);
        let windows = rows.iter().chain(of_subjects.iter().filter(of_subject));
        self.compare_trail(windows, trail)?;
        for value in signals.values() {
            signal_row(value).map_err(|error| error.to_string())?;
        }
        let mut closed: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        let mut billed: BTreeMap<String, Vec<Bill>> = BTreeMap::new();
        for (key, value) in &rows {
            let serial = u32::from_be_bytes(key[..4].try_into().map_err(|_| "a short key")?);
            let id = self.engine.account_id(serial).ok_or("a row of no account")?;
            let row = usage_row(value).map_err(|error| error.to_string())?;
            if let Some(stock) = row.stock {
                let bill = observe::bill(&catalog, &stock);
                same("what is billed", &u128::from(row.window.used), &bill.billed)?;
                self.coverage.note(&format!("billed by {}", bill.by.as_str()));
                billed.entry(id.to_string()).or_default().push(bill);
                continue;
            }
            closed.entry(id.to_string()).or_default().push(observe::past(&catalog, &row.window));
        }
        self.compare_closed_of_subjects(&of_subjects)?;
        self.compare_terms(&rows, &of_subjects)?;
        self.inspect_pool_histories()?;
        for id in &names {
            let mut lines = closed.remove(id).unwrap_or_default();
            lines.sort();
            if !lines.is_empty() {
                self.coverage.note("closed window");
            }
            same(&format!("the closed windows of {id}"), &lines, &self.model.closed(id, self.now))?;
            let mut bills = billed.remove(id).unwrap_or_default();
            bills.sort();
            same(&format!("the bills of {id}"), &bills, &self.model.closed_bills(id, self.now))?;
        }
        Ok(())
    }

    /// What came to a window after it had closed is the difference between what it held then and what it holds.
    fn compare_trail<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
        mut trail: BTreeMap<Vec<u8>, Vec<Adjustment>>,
    ) -> Met {
        for (key, value) in rows {
            let row = usage_row(value).map_err(|error| error.to_string())?;
            let lines = trail.remove(key).unwrap_or_default();
            let change = |line: &Adjustment| i128::from(line.units) - i128::from(line.units_before);
            let came: i128 = lines.iter().filter(|line| line.restated).map(change).sum();
            let more = i128::from(row.window.used) - i128::from(row.window.closed.used);
            same("the trail of a window", &came, &more)?;
            if came < 0 {
                self.coverage.note("a window that is less than at its close");
            }
        }
        let of_none = trail.into_values().flatten().any(|line| line.restated);
        same("a trail of no window", &of_none, &false)
    }

    fn compare_closed_of_subjects(&mut self, rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Met {
        let catalog = self.engine.catalog();
        let serial = |key: &[u8]| key.first_chunk().map(|serial| u32::from_be_bytes(*serial));
        let names = Names::of(rows)?;
        let mut closed: BTreeMap<(u32, String), Vec<Line>> = BTreeMap::new();
        for (key, value) in rows.iter().filter(|(key, _)| subjects::is_window(key)) {
            let serial = serial(key).ok_or("a short key")?;
            let id = subjects::window_subject(key).ok_or("a window's row")?;
            let name = names.of_number(serial, id);
            let window = usage_row(value).map_err(|error| error.to_string())?.window;
            let lines = closed.entry((serial, name)).or_default();
            lines.push(observe::past(&catalog, &window));
        }
        drop(catalog);
        for (serial, id) in self.engine.account_ids(0, usize::MAX) {
            let mut all: BTreeMap<String, Vec<Line>> = BTreeMap::new();
            for (name, lines) in self.model.subject_lines(&id, true, self.now) {
                all.entry(plain_name(&name)).or_default().extend(lines);
            }
            for (name, mut expected) in all {
                expected.sort();
                self.coverage.note("closed window of a subject");
                if name == ERASED {
                    self.coverage.note("a closed window of whom is erased");
                }
                let mut lines = closed.remove(&(serial, name.clone())).unwrap_or_default();
                lines.sort();
                same(&format!("the closed windows of {name} of {id}"), &lines, &expected)?;
            }
        }
        same("no more windows of subjects", &closed.is_empty(), &true)
    }

    /// Notes what a request met.
    pub(super) fn note_request(
        &mut self,
        request: &Request,
        expected: &Result<Answer, EngineError>,
    ) {
        let word = request_word(&request.asked);
        let coverage = &mut self.coverage;
        self.model.met().iter().for_each(|met| coverage.note(met));
        match expected {
            Err(EngineError::Op(error)) => {
                coverage.note(&format!("error {error:?}").replace(|c: char| c.is_ascii_digit(), ""))
            }
            Err(EngineError::Store(_)) => coverage.note("error Store"),
            Err(error) => coverage.note(&format!("error {error:?}")),
            Ok(answer) => {
                coverage.note(&format!("{word}: {:?}", answer.verdict));
                coverage.note(&format!("verdict {:?}", answer.verdict));
                coverage.note(&format!("origin {:?}", answer.origin));
                let amounts = &answer.amounts;
                if let Some(denial) = answer.shadow {
                    coverage.note(&format!("{word} in shadow: {denial:?}"));
                }
                let binding = answer.binding.as_ref();
                note_meters(coverage, word, answer);
                let met = [
                    ("grace with an end in time", binding.is_some_and(|b| b.grace_until.is_some())),
                    (
                        "grace that is over",
                        binding.is_some_and(|b| b.grace_until.is_some() && b.grace_left == Some(0)),
                    ),
                    (
                        "overage that costs something",
                        binding.is_some_and(|b| b.cost.is_some_and(|(minor, _)| minor > 0)),
                    ),
                    ("replayed", answer.replayed),
                    (
                        "a charge replayed",
                        answer.replayed && binding.is_some_and(|b| b.charge.is_some()),
                    ),
                    ("debt", amounts.debt_units > 0),
                    ("surplus", amounts.surplus_units > 0),
                    ("late", amounts.late),
                    (
                        "a spend cap of an override",
                        // A catalog has caps of 3 to 14.
                        binding.and_then(|b| b.cost?.1).is_some_and(|cap| !(3..15).contains(&cap)),
                    ),
                    ("other limits", !answer.others.is_empty()),
                    ("about", answer.about.is_some()),
                    (
                        "a lock",
                        answer.verdict == Verdict::Denied(Denial::NotInPlan) && binding.is_some(),
                    ),
                    ("config value", answer.value_json.is_some()),
                    ("no binding limit", answer.verdict.is_allowed() && answer.binding.is_none()),
                    (
                        "a changed limit",
                        answer.binding.as_ref().is_some_and(|binding| binding.revision > 1),
                    ),
                ];
                for (what, _) in met.iter().filter(|(_, met)| *met) {
                    coverage.note(what);
                }
                for limit in answer.binding.iter().chain(&answer.others) {
                    coverage.note(&format!("window {:?}", limit.phase));
                }
                if let Some(binding) = &answer.binding
                    && binding.phase == WindowPhase::Sliding
                {
                    let waits = answer.retry_after_ms.is_some();
                    let what = if waits { "a time to retry" } else { "none" };
                    coverage.note(&format!("sliding {word}: {:?}, {what}", answer.verdict));
                }
            }
        }
    }
}

/// Notes what is of slots and rates alone.
fn note_meters(coverage: &mut Coverage, word: &str, answer: &Answer) {
    let Some(limit) = &answer.binding else { return };
    let is_allowed = answer.verdict.is_allowed();
    let is_refused =
        matches!(answer.verdict, Verdict::Denied(Denial::ConcurrencyFull | Denial::RateLimited));
    let (slots, rate) = (limit.limit == "concurrent", limit.limit == "rate");
    let gives_back = matches!(word, "release" | "commit 0") && answer.amounts.units > 0;
    let waits = answer.retry_after_ms.is_some();
    let over = limit.included.is_some_and(|most| most < limit.reserved);
    let met = [
        ("slots admitted", slots && is_allowed && word == "reserve"),
        ("slots given back", slots && gives_back),
        ("slots over the most", slots && is_allowed && over),
        ("a wait for slots", slots && is_refused && waits),
        ("no wait for slots", slots && is_refused && !waits),
        ("a rate admitted", rate && is_allowed && word == "consume"),
        ("a rate replayed", rate && answer.replayed),
        ("an unlimited rate", rate && limit.included.is_none()),
        ("a wait for a rate", rate && is_refused && waits),
        ("no wait for a rate", rate && is_refused && !waits),
    ];
    for (what, _) in met.iter().filter(|(_, met)| *met) {
        coverage.note(what);
    }
}
