//! A year of one company on the test clock, through the program as it is shipped: every prompt, signal,
//! score and delivery is in `birch.txt`, which people have read and found right.
//!
//! The catalog is `deploy/example/team.yaml`. `HEADROOM_REGENERATE=1` writes anew what came of the script;
//! read the difference before you keep it. Ids are left out (they are compared): they hold positions in a
//! journal, which also has records that come by real time.

mod script;
mod stage;
mod told;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::HeaderMap;
use jiff::civil::{Date, DateTime, Time, time};
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::support::endpoint::{ANSWER_LOST, DEAD, Delivery, Endpoint};
use crate::support::home::Home;
use crate::support::rng::{Rng, seed};
use crate::support::sidecar::Sidecar;
use crate::support::{until, until_within};
use script::{Line, What, Work};
use stage::Stage;

const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/example/team.yaml");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/year/birch.txt");

/// Of the two receivers, as Standard Webhooks has them.
const SECRETS: [(&str, &str, &str); 2] = [
    ("success", "SUCCESS_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("sales", "SALES_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
];

/// On a busy machine the hour may take so long that a receiver is found dead several times, and each
/// time it is left alone for longer.
const PROBED_WITHIN: Duration = Duration::from_secs(180);

/// How the year goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// Nothing breaks.
    Undisturbed,
    /// What the script says of receivers that die and of kill -9 comes about.
    Disturbed,
    /// It is killed again and again, wherever it happens to be.
    Killed,
}

/// A part of what came of the year.
enum Came {
    Line(String),
    /// The signal of this place.
    Signal(usize),
}

/// Work that was not done yet.
struct Days {
    next: VecDeque<DateTime>,
    work: Work,
}

/// When a day's work is done, six tenths and then four.
const MORNING: i8 = 10;
/// See [`MORNING`].
const AFTERNOON: i8 = 15;

/// The moments of work from a day to another, Monday to Friday.
fn moments(first: Date, last: Date) -> VecDeque<DateTime> {
    let days = first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last);
    let days = days.filter(|day| day.weekday().to_monday_zero_offset() < 5);
    let moments = |day: Date| [MORNING, AFTERNOON].map(|hour| day.to_datetime(time(hour, 0, 0, 0)));
    days.flat_map(moments).collect()
}

/// A year under way.
struct Year {
    telling: Telling,
    home: Home,
    endpoints: [Endpoint; 2],
    sidecar: Option<Sidecar>,
    stage: Stage,
    rng: Rng,
    kills: u32,
    work: Option<Days>,
    came: Vec<Came>,
    /// What the file says, each once.
    signals: Vec<Value>,
}

#[tokio::test]
async fn a_year_of_one_company_is_as_people_have_read_it() {
    let script = std::fs::read_to_string(SCRIPT).expect("the script");
    let mut year = Year::begin(Telling::Undisturbed).await;
    year.play(&script::read(&script)).await;
    let came = year.end().await;
    if std::env::var_os("HEADROOM_REGENERATE").is_some() {
        std::fs::write(SCRIPT, &came).expect("the script is written");
    }
    compare(&script, &came);
}

/// In the middle of the year the receivers of signals are dead for an hour, and the sidecar is killed
/// three times in it: once when a receiver has had a signal and its answer was lost.
#[tokio::test]
async fn an_hour_without_receivers_and_kill_9_lose_nothing_and_double_nothing() {
    let script = std::fs::read_to_string(SCRIPT).expect("the script");
    let mut year = Year::begin(Telling::Disturbed).await;
    year.play(&script::read(&script)).await;
    let sent: usize = year.endpoints.iter().map(|endpoint| endpoint.ids().len()).sum();
    let came = year.end().await;
    compare(&script, &came);
    println!("{sent} deliveries before the last ones, of which some came again");
}

/// Whatever was answered when it was killed comes about after the next start, and nothing of it twice.
#[tokio::test]
async fn a_year_with_kill_9_at_every_turn_is_the_same_year() {
    let script = std::fs::read_to_string(SCRIPT).expect("the script");
    let mut year = Year::begin(Telling::Killed).await;
    year.play(&script::read(&script)).await;
    let kills = year.kills;
    let came = year.end().await;
    compare(&script, &came);
    println!("killed {kills} times");
    assert!(kills > 10, "{kills} kills are no year of them");
}

/// Shows the first line that is another.
#[track_caller]
fn compare(read: &str, came: &str) {
    let mut day = "";
    for (number, (read, came)) in read.lines().zip(came.lines()).enumerate() {
        assert_eq!(read, came, "line {} of birch.txt, after {day}", number + 1);
        if !read.starts_with(' ') {
            day = read;
        }
    }
    assert_eq!(read.lines().count(), came.lines().count(), "one of them goes on");
}

/// The catalog with receivers on this machine.
fn catalog(endpoints: &[Endpoint; 2]) -> String {
    let mut text = std::fs::read_to_string(CATALOG).expect("the catalog");
    for ((sink, ..), endpoint) in SECRETS.iter().zip(endpoints) {
        let url = format!("url: https://{sink}.example.com/headroom");
        let ours = format!("url: http://localhost:{}/\n    allow_private: on", endpoint.port);
        assert!(text.contains(&url), "{url}");
        text = text.replace(&url, &ours);
    }
    text
}

fn start(home: &Home) -> Sidecar {
    let mut command = home.serve();
    command.envs(SECRETS.map(|(_, name, secret)| (name, secret)));
    let mut sidecar = home.spawn_command(command);
    sidecar.wait_ready();
    sidecar
}

impl Year {
    async fn begin(telling: Telling) -> Year {
        let endpoints = [Endpoint::start(), Endpoint::start()];
        let home = Home::with_settings(&catalog(&endpoints), "clock: test\n");
        let sidecar = Some(start(&home));
        let stage = Stage::new(&home).await;
        let (came, signals) = (Vec::new(), Vec::new());
        let rng = Rng::new(if telling == Telling::Killed { seed() } else { 0 });
        let (kills, work) = (0, None);
        Year { telling, home, endpoints, sidecar, stage, rng, kills, work, came, signals }
    }

    async fn play(&mut self, lines: &[Line]) {
        for (place, line) in lines.iter().enumerate() {
            let is_killed = lines.get(place + 1).is_some_and(|next| next.text.ends_with("kill -9"));
            match &line.what {
                What::Words => {
                    // What came before stands before.
                    if let Some(next) = lines[place..].iter().find_map(Line::begins) {
                        self.work_until(next).await;
                    }
                    self.came.push(Came::Line(line.text.clone()));
                }
                What::Span(first, last, work) => {
                    self.work_until(first.to_datetime(Time::midnight())).await;
                    self.came.push(Came::Line(line.text.clone()));
                    self.work = Some(Days { next: moments(*first, *last), work: work.clone() });
                }
                What::At(_, words) if words[0] == "!" => {
                    self.came.push(Came::Line(line.text.clone()));
                    self.break_down(&words[1..].join(" "));
                }
                What::At(at, words) => {
                    self.work_until(*at).await;
                    self.stage.clock(*at).await;
                    self.told().await;
                    self.came.push(Came::Line(line.text.clone()));
                    let lines = self.stage.act(&self.home, words).await;
                    let is_refused = lines.first().is_some_and(|line| line.starts_with("refused"));
                    self.say(lines);
                    // Killed in the middle of it: what the answer stands on must be enough. Of a refusal
                    // the answer does not say that its signal is written.
                    if match self.telling {
                        Telling::Undisturbed => false,
                        Telling::Disturbed => is_killed,
                        Telling::Killed => !is_refused && self.rng.chance(25),
                    } {
                        self.kill().await;
                    }
                    self.stage.settle().await;
                    self.told().await;
                }
            }
        }
        self.work_until(DateTime::MAX).await;
    }

    /// Works, as the last span said, until an instant.
    async fn work_until(&mut self, until: DateTime) {
        let Some(mut days) = self.work.take() else { return };
        while let Some(moment) = days.next.front().copied().filter(|moment| *moment < until) {
            days.next.pop_front();
            let day = moment.date();
            let (people, queries) = (days.work.people_on(day), days.work.of(day));
            if people.is_empty() {
                continue;
            }
            self.stage.clock(moment).await;
            self.told().await;
            let is_morning = moment.hour() == MORNING;
            if is_morning {
                self.stage.activity(&people, &days.work).await;
                // Looked at before anything is used, and not at some moment meanwhile.
                self.stage.settle().await;
                self.told().await;
            }
            let tenths = if is_morning { 6 } else { 4 };
            let lines = self.stage.work(&people, queries * tenths / 10).await;
            self.say(lines);
            self.stage.settle().await;
            self.told().await;
        }
        if days.next.is_empty() {
            let stand = self.stage.stand().await;
            self.say(vec![format!("then {stand}")]);
        } else {
            self.work = Some(days);
        }
    }

    fn say(&mut self, lines: Vec<String>) {
        self.came.extend(lines.into_iter().map(|line| Came::Line(format!("    {line}"))));
    }

    /// Waits until the file has every signal so far, and tells of the new ones.
    async fn told(&mut self) {
        let emitted = self.stage.emitted().await;
        let file = self.home.data().join("signals.ndjson");
        while self.signals.len() < emitted {
            let known = self.signals.len();
            let found = until("the file has every signal", || {
                Some(distinct(&file)).filter(|found| found.len() >= emitted)
            });
            self.came.extend((known..found.len()).map(Came::Signal));
            self.signals = found;
        }
    }

    /// What the script says of a disturbance.
    fn break_down(&mut self, what: &str) {
        if self.telling != Telling::Disturbed {
            return;
        }
        let set = |status| self.endpoints.iter().for_each(|one| one.status.store(status, SeqCst));
        match what {
            "answers of the receivers are lost" => {
                // Those of before are not lost: the next one is to be tried.
                until("what was told is delivered", || {
                    let received = once(self.endpoints[0].deliveries()).len();
                    (received >= self.signals.len()).then_some(())
                });
                set(ANSWER_LOST);
            }
            "the receivers are dead" => set(DEAD),
            "the receivers are back" => set(200),
            "kill -9" => {} // It came before what is on the line above it was done with.
            _ => panic!("nobody knows how to {what:?}"),
        }
    }

    async fn kill(&mut self) {
        self.kills += 1;
        let success = &self.endpoints[0];
        if success.status.load(SeqCst) == ANSWER_LOST {
            // It has had the signal, and nobody will know.
            until("a delivery whose answer is lost", || {
                (once(success.deliveries()).len() > self.signals.len()).then_some(())
            });
        }
        self.sidecar.take().expect("it runs").kill();
        self.sidecar = Some(start(&self.home));
        self.stage.reconnect(&self.home).await;
    }

    /// Ends the year: everything has been delivered, once for each id and in the order it came.
    /// Answers all of it as text.
    async fn end(mut self) -> String {
        let mut to = vec![vec!["audit"]; self.signals.len()];
        let places: HashMap<String, usize> =
            self.signals.iter().enumerate().map(|(place, one)| (id(one), place)).collect();
        assert_eq!(places.len(), self.signals.len(), "two signals have one id");
        for ((sink, _, secret), endpoint) in SECRETS.iter().zip(&self.endpoints) {
            // Sales hears of what the gate has let through, and not of what has come down again.
            let is_for = |one: &Value| {
                let (gate, state) =
                    (&one["data"]["gate"]["state"], &one["data"]["current"]["state"]);
                *sink == "success" || (gate == "passed" && state != "ok")
            };
            let wanted: Vec<String> =
                self.signals.iter().filter(|one| is_for(one)).map(id).collect();
            let received = until_within(PROBED_WITHIN, "everything is delivered", async || {
                let received = once(endpoint.deliveries());
                (received.len() >= wanted.len()).then_some(received)
            })
            .await;
            let ids: Vec<&str> = received.iter().map(|one| one.id.as_str()).collect();
            assert_eq!(ids, wanted, "what {sink} has got");
            for delivery in &received {
                verify(secret, delivery);
                let place = places[&delivery.id];
                let body: Value = serde_json::from_slice(&delivery.body).expect("JSON");
                assert_eq!(body, self.signals[place], "the file and {sink} are told the same");
                to[place].push(sink);
            }
        }
        self.sidecar.take().expect("it runs").stop().await;
        let mut text = String::new();
        for came in self.came {
            match came {
                Came::Line(line) => text.push_str(&format!("{line}\n")),
                Came::Signal(place) => {
                    for line in told::signal(&self.signals[place], &to[place].join(", ")) {
                        text.push_str(&format!("    {line}\n"));
                    }
                }
            }
        }
        text
    }
}

fn id(signal: &Value) -> String {
    signal["data"]["id"].as_str().expect("an id").to_owned()
}

/// The lines of a file, each id once: a kill may have some written twice, and then the same.
fn distinct(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let (mut seen, mut signals) = (BTreeMap::new(), Vec::new());
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let signal: Value = serde_json::from_str(line).expect("a line of JSON");
        match seen.insert(id(&signal), line.to_owned()) {
            Some(before) => assert_eq!(before, line, "one id, two signals"),
            None => signals.push(signal),
        }
    }
    signals
}

/// Deliveries as a receiver keeps them that looks at the id.
fn once(deliveries: Vec<Delivery>) -> Vec<Delivery> {
    let mut seen: HashMap<String, Vec<u8>> = HashMap::new();
    let is_new = |one: &Delivery| match seen.insert(one.id.clone(), one.body.clone()) {
        Some(before) => {
            assert_eq!(before, one.body, "one id, two signals");
            false
        }
        None => true,
    };
    let mut is_new = is_new;
    deliveries.into_iter().filter(|one| is_new(one)).collect()
}

/// As a receiver checks it, with the library of Standard Webhooks.
fn verify(secret: &str, delivery: &Delivery) {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = delivery.headers[name].parse().expect("a header");
        headers.insert(name, value);
    }
    let webhook = Webhook::new(secret).expect("a secret");
    webhook.verify(&delivery.body, &headers).expect("signed");
}
