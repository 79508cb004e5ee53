//! Seats in the model: a list of who sits and who is invited, counted when it is asked for.

use headroom_core::catalog::FeatureKindSpec;
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalName;
use headroom_engine::engine::{EngineError, Wants};

use super::page::{Page, state};
use super::plan::Entitled;
use super::{Account, Answer, Done, Model, Said, Told};

/// A request about a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatAsked {
    /// Whom, and how long.
    Invite(String, Option<i64>),
    /// Who.
    Claim(String),
    /// Who.
    Release(String),
    /// Whose, and to whom.
    Transfer(String, String),
}

/// A seat: whose, and until when they are invited; since when it is so.
pub type Sitting = (String, Option<i64>, i64);

/// The answer to a request about a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatAnswer {
    /// The decision.
    pub answer: Answer,
    /// The seat after it.
    pub seat: Option<Sitting>,
    /// Whether anything is different.
    pub changed: bool,
}

/// Whoever sits: the feature, the member, until when invited, since when.
pub(crate) type Sits = Vec<(String, String, Option<i64>, i64)>;

/// Signals of claimed seats: which, from how many of so many on, and the mark.
fn due(included: Option<u128>) -> Vec<(SignalName, u128, Said)> {
    let Some(included) = included else { return Vec::new() };
    let mut due = Vec::new();
    if included > 0 {
        // Nine of ten, or the next whole one.
        let nine = (included * 9).div_ceil(10);
        due.push((SignalName::SeatThreshold90pct, nine, Said::Soft(12)));
    }
    if included > 1 {
        due.push((SignalName::SeatsNearlyFull, included - 1, Said::Soft(13)));
    }
    due
}

impl Account {
    /// Who holds a seat without having claimed it.
    pub(crate) fn invited(&self, feature: &str) -> u128 {
        let invited = self.sits.iter().filter(|(of, _, until, _)| of == feature && until.is_some());
        invited.count() as u128
    }

    fn sitting(&self, feature: &str, member: &str) -> Option<Sitting> {
        let known = self.sits.iter().find(|(of, who, ..)| of == feature && who == member)?;
        Some((known.1.clone(), known.2, known.3))
    }

    fn stand_up(&mut self, feature: &str, member: &str) {
        self.sits.retain(|(of, who, ..)| of != feature || who != member);
    }
}

impl Model {
    /// Whether an invitation has ended.
    pub(crate) fn waits_for_seats(account: &Account, now: i64) -> bool {
        account.sits.iter().any(|(_, _, until, _)| until.is_some_and(|until| until <= now))
    }

    /// Gives back the seats of invitations that have ended.
    pub(crate) fn expire_seats(&mut self, account: &mut Account, now: i64) {
        let mut features: Vec<String> = account
            .sits
            .iter()
            .filter(|(_, _, until, _)| until.is_some_and(|until| until <= now))
            .map(|(feature, ..)| feature.clone())
            .collect();
        features.sort();
        features.dedup();
        for feature in features {
            self.met.insert("an invitation that ended");
            let mut page = self.seat_page(account, &feature, now);
            let before = (page.watched(), page.used());
            account.sits.retain(|(of, _, until, _)| {
                *of != feature || until.is_none_or(|until| now < until)
            });
            page.reserved = account.invited(&feature);
            self.seats_left(&mut page, before);
            self.keep(account, &mut page);
        }
    }

    /// The page of the seats, under the limit in force or under none.
    fn seat_page(&self, account: &Account, feature: &str, now: i64) -> Page {
        let is_seats = self.is_of_seats(feature);
        let limit = match self.entitled(account, feature, now).0 {
            Entitled::Limits(limits) if is_seats => limits[0].clone(),
            _ if is_seats => self.bare(feature)[0].clone(),
            // They left the catalog: nothing is changed but the count.
            _ => super::Limit { gone: true, ..super::plan::seats(Some(0), Vec::new()) },
        };
        self.page(account, feature, &limit, now)
    }

    fn is_of_seats(&self, feature: &str) -> bool {
        let kind = self.feature(feature).map(|known| &known.kind);
        matches!(kind, Some(FeatureKindSpec::Seats { .. }))
    }

    fn seats_left(&mut self, page: &mut Page, (held, used): (u128, u128)) {
        if page.limit.gone {
            return;
        }
        self.arm_again(page, held);
        let now_used = page.used();
        let due = due(page.limit.terms.included());
        let count = page.book.said.len();
        page.book.said.retain(|said| {
            let of = due.iter().find(|(_, _, mark)| mark == said);
            of.is_none_or(|(_, from, _)| {
                let below = |claimed: u128| claimed * 4 < from * 3;
                !below(now_used) || below(used)
            })
        });
        if page.book.said.len() < count {
            page.book.revision = page.book.revision.saturating_add(1);
            self.met.insert("seats armed again");
        }
    }

    fn seats_came(&mut self, id: &str, page: &mut Page, (held, used): (u128, u128), now: i64) {
        if page.watched() > held {
            self.announce(id, page, held, 0, now);
        }
        for (name, from, mark) in due(page.limit.terms.included()) {
            let claimed = page.used();
            if claimed < from || claimed <= used || page.book.said.contains(&mark) {
                continue;
            }
            let previous_state = state(&page.book.said);
            page.book.said.insert(mark);
            if self.catalog.signals.raises(name) {
                self.told.push(Told {
                    account: id.to_owned(),
                    name,
                    feature: page.book.feature.clone(),
                    limit: page.book.limit.clone(),
                    window: (page.book.start, page.book.end),
                    revision: page.book.revision,
                    crossed_bp: Vec::new(),
                    previous: used,
                    current: claimed,
                    included: page.limit.terms.included().unwrap_or_default(),
                    refused: 0,
                    previous_state,
                    state: state(&page.book.said),
                    grace_until: None,
                    days: None,
                    at: now,
                });
            }
        }
    }

    /// Answers a request about a seat.
    pub fn seat(
        &mut self,
        id: &str,
        feature: &str,
        asked: &SeatAsked,
        now: i64,
    ) -> Result<SeatAnswer, EngineError> {
        self.told.clear();
        self.met.clear();
        if !self.accounts.contains_key(id) {
            let Some(stranger) = self.stranger(now) else {
                let answer = self.nobody(now);
                return Ok(SeatAnswer { answer, seat: None, changed: false });
            };
            if let Some(refusal) = &self.refusal {
                return Err(refusal.clone().into());
            }
            self.accounts.insert(id.to_owned(), stranger);
        }
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone().into());
        }
        self.know_settled(id, now);
        self.say_endings(id, now);
        let mut account = self.accounts[id].clone();
        let (done, seat, changed) = self.decide_seat(id, &mut account, feature, asked, now)?;
        let answer = self.dress(&account, done, Wants::default(), false, now);
        self.accounts.insert(id.to_owned(), account);
        Ok(SeatAnswer { answer, seat, changed })
    }

    fn decide_seat(
        &mut self,
        id: &str,
        account: &mut Account,
        feature: &str,
        asked: &SeatAsked,
        now: i64,
    ) -> Result<(Done, Option<Sitting>, bool), OpError> {
        let kind = match self.feature(feature).map(|known| &known.kind) {
            None if account.barred(now) == Some(Denial::AccountSuspended) => {
                let denied = Verdict::Denied(Denial::AccountSuspended);
                return Ok((Done::refused(denied, None), None, false));
            }
            None => {
                let denied = Verdict::Denied(Denial::UnknownFeature);
                return Ok((Done::refused(denied, None), None, false));
            }
            Some(FeatureKindSpec::Seats { invited_ms }) => Ok(*invited_ms),
            Some(FeatureKindSpec::Switch) => Err("switch"),
            Some(FeatureKindSpec::Config) => Err("config"),
            Some(FeatureKindSpec::Quota { .. }) => Err("quota"),
            Some(FeatureKindSpec::Credits { .. }) => Err("credits"),
            Some(FeatureKindSpec::Concurrency { .. }) => Err("concurrency"),
            Some(FeatureKindSpec::Rate { .. }) => Err("rate"),
            Some(FeatureKindSpec::Allocation { .. }) => Err("allocation"),
        };
        let usual_ms = kind.map_err(|kind| OpError::NoSeats { kind })?;
        let mut page = self.seat_page(account, feature, now);
        let before = (page.watched(), page.used());
        let (_, mut origin) = self.entitled(account, feature, now);
        if let SeatAsked::Release(member) = asked {
            let known = account.sitting(feature, member);
            if known.is_some() {
                self.leave_seat(account, feature, member, now);
                page = self.seat_page(account, feature, now);
            }
            page.verdict = page.stands();
            if matches!(self.entitled(account, feature, now).0, Entitled::Nothing) {
                origin = Origin::None;
            }
            let done = self.done(account, feature, origin, &[page], now);
            return Ok((done, None, known.is_some()));
        }
        let gate = self.gate(account, feature, now);
        // Of what no plan has, only watching leaves the gate open.
        let is_bare = gate.as_ref().is_ok_and(|(_, origin)| *origin == Origin::None);
        let mut shadow = is_bare.then_some(Denial::NotInPlan);
        if is_bare {
            origin = Origin::None;
        }
        if let Err(closed) = gate {
            if !matches!(asked, SeatAsked::Transfer(..)) {
                self.tried_premium((id, feature), account, closed, 1, now);
            }
            let seat = match asked {
                SeatAsked::Invite(who, _) | SeatAsked::Claim(who) => account.sitting(feature, who),
                SeatAsked::Release(_) | SeatAsked::Transfer(..) => None,
            };
            return Ok((self.refused(closed.0, closed.1, feature), seat, false));
        }
        if let SeatAsked::Transfer(from, to) = asked {
            let (left, there) = (account.sitting(feature, from), account.sitting(feature, to));
            let changed = left.is_some();
            let seat = match (left, there) {
                (None, None) => return Err(OpError::UnknownMember),
                (Some(_), Some(_)) => return Err(OpError::MemberHasSeat),
                (None, Some(there)) => there,
                (Some((_, until, since)), None) => {
                    account.stand_up(feature, from);
                    account.sits.push((feature.to_owned(), to.clone(), until, since));
                    (to.clone(), until, since)
                }
            };
            page.verdict = page.stands();
            let done = Done { shadow, ..self.done(account, feature, origin, &[page], now) };
            return Ok((done, Some(seat), changed));
        }
        let (member, until) = match asked {
            SeatAsked::Invite(member, lasts_ms) => {
                (member, Some(now + lasts_ms.unwrap_or(usual_ms)))
            }
            SeatAsked::Claim(member) => (member, None),
            SeatAsked::Release(_) | SeatAsked::Transfer(..) => unreachable!("answered above"),
        };
        let known = account.sitting(feature, member);
        let until = match (&known, until) {
            (Some((_, None, _)), _) => None,
            (Some((_, Some(old), _)), Some(new)) => Some(new.max(*old)),
            (_, until) => until,
        };
        if let Some(seat) = &known
            && seat.1 == until
        {
            page.verdict = page.stands();
            let done = Done { shadow, ..self.done(account, feature, origin, &[page], now) };
            return Ok((done, known, false));
        }
        if known.is_none() {
            page.verdict = page.admits(1, false);
            page.asked = 1;
            if self.is_watched(feature) {
                shadow = Model::look_away(std::slice::from_mut(&mut page), origin, 1, false);
                if shadow.is_some() {
                    self.met.insert("a seat that shadow mode gives");
                }
            }
            if !page.verdict.is_allowed() {
                let pages = [page];
                self.announce_refusal(id, account, &pages, 1, now);
                if until.is_some() {
                    self.say_invite((id, feature), account, &pages[0], (before.0, 1), now);
                }
                return Ok((self.done(account, feature, origin, &pages, now), None, false));
            }
        }
        account.stand_up(feature, member);
        account.sits.push((feature.to_owned(), member.clone(), until, now));
        page.reserved = account.invited(feature);
        if until.is_none() {
            page.book.uses.push((1, 0));
        }
        self.seats_came(id, &mut page, before, now);
        if known.is_none() && until.is_some() {
            self.say_invite((id, feature), account, &page, (before.0, 0), now);
        }
        self.keep(account, &mut page);
        page.verdict = page.stands();
        let done = Done { shadow, ..self.done(account, feature, origin, &[page], now) };
        Ok((done, Some((member.clone(), until, now)), true))
    }

    /// Gives back the seat of a member.
    pub(crate) fn leave_seat(
        &mut self,
        account: &mut Account,
        feature: &str,
        member: &str,
        now: i64,
    ) {
        let Some((_, until, _)) = account.sitting(feature, member) else { return };
        let mut page = self.seat_page(account, feature, now);
        let before = (page.watched(), page.used());
        if until.is_none() {
            page.book.undone.push((1, 0));
        }
        account.stand_up(feature, member);
        page.reserved = account.invited(feature);
        self.seats_left(&mut page, before);
        self.keep(account, &mut page);
    }

    /// Says that somebody was invited.
    fn say_invite(
        &mut self,
        of: (&str, &str),
        account: &mut Account,
        page: &Page,
        (held, refused): (u128, u128),
        now: i64,
    ) {
        let included = page.limit.terms.included().unwrap_or(0);
        let said = ("seats", held, page.held(), included, refused);
        self.say_daily(of, account, SignalName::TeamInviteSent, said, now);
    }

    /// Who sits, by name.
    pub fn sitting(&self, id: &str, feature: &str, now: i64) -> Option<Vec<Sitting>> {
        let account = self.with_charges(self.accounts.get(id)?, now);
        let of_feature = account.sits.iter().filter(|(of, ..)| of == feature);
        let mut all: Vec<Sitting> =
            of_feature.map(|(_, who, until, since)| (who.clone(), *until, *since)).collect();
        all.sort();
        Some(all)
    }
}
