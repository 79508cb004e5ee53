use clap::CommandFactory as _;

use super::args::{
    AccountAction, Cli, ClockAction, Command, Included, OverrideArgs, Pace, Question,
};
use super::*;
use crate::config::sinks::NoSecrets;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

fn parse(line: &str) -> Result<Command, String> {
    let words = std::iter::once("headroom").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
}

#[test]
fn questions_are_read() {
    let Ok(Command::Ask(ask)) =
        parse("ask reserve acme tokens 5_00 --hold 10min --charge-on-expiry --json")
    else {
        panic!("a question");
    };
    assert!(ask.to.json);
    let Question::Reserve { units, by, hold, charge_on_expiry: true, .. } = ask.question else {
        panic!("a reserve")
    };
    assert_eq!((units, hold.as_secs(), by.key), (500, 600, None));
    assert!(parse("ask commit acme rsv_1 5 --keep-open --hold 5min").is_ok());
    assert!(parse("ask commit acme rsv_1 5 --hold 5min").unwrap_err().contains("--keep-open"));
    assert!(parse("ask consume acme tokens").unwrap_err().contains("<UNITS>"));
    assert!(parse("ask consume acme tokens many").unwrap_err().contains("invalid value 'many'"));
    assert!(parse("ask reserve a t 5 --hold 10m").unwrap_err().contains("is it `10min`?"));
    assert!(parse("ask chek acme tokens").unwrap_err().contains("'check'"));
}

#[test]
fn dimensions_and_spans_are_read() {
    assert!(parse("ask consume acme tokens 5 --dimension model=a --dimension region=eu").is_ok());
    assert!(parse("ask commit acme rsv_1 5 --dimension model=a=b").is_ok());
    assert!(
        parse("ask record acme tokens 5 --dimension model").unwrap_err().contains("model=small")
    );
    assert!(parse("ask usage acme --feature tokens --by day --dimension model").is_ok());
    assert!(parse("ask usage acme --feature tokens --by month --until 2026-05-01").is_ok());
    assert!(parse("ask usage acme --by day").unwrap_err().contains("--feature"));
    assert!(parse("ask usage acme --feature tokens --dimension model").is_err());
    assert!(parse("ask usage acme --feature tokens --by week").unwrap_err().contains("month"));
}

#[test]
fn seats_and_levels_are_read() {
    assert!(parse("seats invite acme seats ann --for 2d").is_ok());
    assert!(parse("seats transfer acme seats ann bob --json").is_ok());
    assert!(parse("seats list acme seats").is_ok());
    assert!(parse("seats claim acme seats").unwrap_err().contains("<MEMBER>"));
    assert!(parse("ask allocate acme storage --add 5 --key k").is_ok());
    assert!(parse("ask allocate acme storage --add 5 --set 6").is_err());
    assert!(parse("ask allocate acme storage").is_err());
}

#[test]
fn an_override_of_a_rate_has_a_pace_and_a_burst() {
    let read = |more: &[&str]| {
        let words = ["headroom", "account", "override", "acme", "api"];
        let parsed = Cli::try_parse_from(words.iter().chain(more));
        match parsed.map(|cli| cli.command) {
            Ok(Command::Account(args)) => match args.action {
                AccountAction::Override(over) => Ok((over.instead.rate, over.burst)),
                _ => panic!("an override"),
            },
            Ok(_) => panic!("an account command"),
            Err(error) => Err(error.to_string()),
        }
    };
    let pace = Some(Pace::Units(100, 1_000));
    assert_eq!(read(&["--rate", "100 per second"]), Ok((pace, None)));
    assert_eq!(read(&["--rate", "100 per second", "--burst", "200"]), Ok((pace, Some(200))));
    assert_eq!(read(&["--rate", "unlimited"]), Ok((Some(Pace::Unlimited), None)));
    assert!(read(&["--rate", "100/s"]).unwrap_err().contains("write it as `100 per second`"));
    assert!(read(&["--burst", "5"]).is_err());
    assert!(read(&["--rate", "1 per hour", "--switch", "on"]).is_err());
}

#[test]
fn an_override_is_one_of_five() {
    let read = |line: &str| match parse(line) {
        Ok(Command::Account(args)) => match args.action {
            AccountAction::Override(OverrideArgs { instead, included, .. }) => {
                Ok((instead.switch, instead.value, instead.limit, included))
            }
            _ => panic!("an override"),
        },
        Ok(_) => panic!("an account command"),
        Err(error) => Err(error),
    };
    let base = "account override acme tokens";
    assert_eq!(read(&format!("{base} --switch on")), Ok((Some(true), None, None, None)));
    assert_eq!(
        read(&format!("{base} --value [1,2]")),
        Ok((None, Some("[1,2]".into()), None, None))
    );
    assert_eq!(
        read(&format!("{base} --limit hourly --included 1_000")),
        Ok((None, None, Some("hourly".into()), Some(Included::Units(1_000))))
    );
    assert_eq!(
        read(&format!("{base} --limit hourly --included unlimited")),
        Ok((None, None, Some("hourly".into()), Some(Included::Unlimited)))
    );
    assert!(read(base).is_err());
    assert!(read(&format!("{base} --limit hourly")).is_err());
    assert!(read(&format!("{base} --included 5")).is_err());
    assert!(read(&format!("{base} --switch on --value 1")).is_err());
    assert!(read(&format!("{base} --value text")).unwrap_err().contains("this is not JSON"));
}

#[test]
fn an_override_of_a_spend_cap_has_a_limit_an_amount_and_a_currency() {
    let base = "account override acme tokens --spend-cap monthly";
    assert!(parse(&format!("{base} --cap-minor 50_000 --currency USD")).is_ok());
    assert!(
        parse(&format!("{base} --cap-minor unlimited --currency USD --ends 2027-01-01")).is_ok()
    );
    assert!(parse(base).unwrap_err().contains("--cap-minor"));
    assert!(parse(&format!("{base} --cap-minor 5")).unwrap_err().contains("--currency"));
    assert!(parse("account override acme tokens --switch on --currency USD").is_err());
}

#[test]
fn opening_balances_are_read_from_csv_and_json_and_every_problem_is_told() {
    use super::import::{Balance, balances};
    let csv = "account,feature,limit,used_units,began_at\n\
               acme,tokens,monthly,1_000,\n\n\
               \"a, \"\"b\"\"\",tokens,session, 7 ,2026-05-01T12:00:00Z\n";
    let (read, problems) = balances(csv);
    assert_eq!(problems, []);
    assert_eq!(read.len(), 2);
    assert_eq!(
        (read[0].account.as_str(), read[0].used_units, read[0].began_at),
        ("acme", 1_000, None)
    );
    assert_eq!((read[1].account.as_str(), read[1].line), ("a, \"b\"", 4));
    assert!(read[1].began_at.is_some());
    let json = "{\"account\": \"acme\", \"feature\": \"tokens\", \"limit\": \"monthly\", \
                \"used_units\": 0, \"began_at\": null}\n";
    assert_eq!(balances(json).0[0].used_units, 0);

    let problems = balances(
        "limit,account,feature,used_units\n\
         monthly,acme,tokens,5\n\
         monthly,acme,tokens\n\
         monthly,,tokens,5\n\
         monthly,acme,tokens,many\n\
         \"monthly,acme,tokens,5\n\
         monthly,acme,tokens,6\n",
    );
    let told = |(_, problems): (Vec<Balance>, Vec<(Option<usize>, String)>)| {
        let line = |(line, problem): &(Option<usize>, String)| match line {
            Some(line) => format!("line {line}: {problem}"),
            None => problem.clone(),
        };
        problems.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    // What could be read is compared with the sidecar all the same.
    assert_eq!(problems.0.iter().map(|balance| balance.line).collect::<Vec<_>>(), [2, 7]);
    let problems = told(problems);
    for problem in [
        "line 3: 3 values, but there are 4 columns",
        "line 4: `account` is missing",
        "line 5: `used_units`: ",
        "line 6: a quote is not closed",
        "line 7: the same limit as in line 2",
    ] {
        assert!(problems.contains(problem), "{problem} is not in {problems}");
    }
    let problem = |text: &str| told(balances(text));
    let all = problem("account,feature,limit,used_units,began_at\n,,monthly,many,soon\n");
    assert_eq!(all.lines().count(), 4, "{all}");
    let all = problem("{\"account\": [], \"feature\": \"tokens\", \"used_units\": 5}");
    assert_eq!(all, "line 1: `account` must be a text or a number\nline 1: `limit` is missing");
    assert!(problem("account,feature,limit\n").contains("there is no column `used_units`"));
    assert!(problem("account,account,feature,limit,used_units\n").contains("more than once"));
    assert!(problem("account,feature,limit,used\n").contains("unknown column `used`"));
    assert!(problem("{\"acct\": 1}").contains("unknown column `acct`"));
    assert!(problem("{\"account\": ").contains("this is not JSON"));
    assert!(problem("").contains("no balances"));
    assert!(parse("import opening-balances used.csv --add --dry-run --json").is_ok());
    assert!(parse("import opening-balances").unwrap_err().contains("<FILE>"));
}

#[test]
fn cohorts_are_joined_and_left() {
    assert!(parse("account cohorts acme --join beta --join friends --leave alpha").is_ok());
    assert!(parse("account cohorts acme --leave alpha").is_ok());
    assert!(parse("account cohorts acme").unwrap_err().contains("--join"));
}

#[test]
fn facts_and_times_are_read() {
    let Ok(Command::Account(args)) = parse("account facts acme seats=12 csm=Ann gone= ok=true")
    else {
        panic!("facts");
    };
    let AccountAction::Facts { facts, .. } = args.action else { panic!("facts") };
    let values: Vec<String> = facts.iter().map(|(_, value)| value.to_string()).collect();
    assert_eq!(values, ["12", "\"Ann\"", "null", "true"]);
    let time = |line: &str| match parse(line) {
        Ok(Command::Clock(args)) => match args.action {
            ClockAction::Set { time } => jiff::Timestamp::try_from(time).unwrap().to_string(),
            ClockAction::Advance { duration } => format!("{} s", duration.as_secs()),
        },
        Ok(_) => panic!("a clock command"),
        Err(error) => error,
    };
    assert_eq!(time("clock set 2026-05-01"), "2026-05-01T00:00:00Z");
    assert_eq!(time("clock set 2026-05-01T12:30:00+02:00"), "2026-05-01T10:30:00Z");
    assert_eq!(time("clock advance 7d"), "604800 s");
    assert!(time("clock set tomorrow").contains("write it as 2026-05-01T12:00:00Z"));
}

#[test]
fn addresses_may_be_written_short() {
    assert_eq!(connect::endpoint("127.0.0.1:7400"), "http://127.0.0.1:7400");
    assert_eq!(connect::endpoint("http://a:1"), "http://a:1");
    assert_eq!(connect::endpoint("unix:/run/h.sock"), "unix:/run/h.sock");
}

#[test]
fn whoever_asks_by_hand_has_seconds_unless_said_otherwise() {
    let deadline = |line: &str| match parse(line) {
        Ok(Command::Ask(ask)) => Ok(ask.to.deadline.as_millis()),
        Ok(Command::Seats(seats)) => Ok(seats.to.deadline.as_millis()),
        Ok(_) => panic!("a question"),
        Err(error) => Err(error),
    };
    assert_eq!(deadline("ask usage acme"), Ok(5_000));
    assert_eq!(deadline("ask usage acme --deadline 1min"), Ok(60_000));
    assert_eq!(deadline("seats list acme seats"), Ok(5_000));
    assert!(deadline("ask usage acme --deadline soon").is_err());
}

/// A command of the help, as it is to be typed: what it does stands behind two spaces.
fn commands_of(help: &str) -> Vec<String> {
    let lines = help.lines().map(|line| line.trim().trim_start_matches("Example: "));
    let commands = lines.filter(|line| line.starts_with("headroom "));
    commands.map(|line| line.split("  ").next().unwrap_or(line).to_owned()).collect()
}

/// All examples of a command and those below it.
fn examples_of(command: &clap::Command) -> Vec<String> {
    let texts = [command.get_after_help(), command.get_long_about()];
    let mut all: Vec<String> =
        texts.into_iter().flatten().flat_map(|text| commands_of(&text.to_string())).collect();
    all.extend(command.get_subcommands().flat_map(examples_of));
    all
}

#[test]
fn every_example_of_the_help_can_be_typed_and_names_what_the_example_catalogs_have() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/example");
    let load = |file: &str| {
        let found = crate::config::catalog::load(&examples.join(file), &NoSecrets);
        found.unwrap_or_else(|problems| panic!("{problems}")).spec
    };
    // The demo's, and the one that shows all that prompts can do.
    let (demo, prompts) = (load("ai-product.yaml"), load("prompts.yaml"));
    let named = |id: &str, name: &str| match id {
        "feature" | "features" | "pool" => demo.features.iter().any(|one| one.feature == name),
        "plan" => demo.plans.iter().any(|one| one.plan == name),
        "add_ons" => {
            let name = name.split('=').next().unwrap_or(name);
            demo.addons.iter().any(|one| one.plan == name)
        }
        "prompt" => [&demo, &prompts].iter().any(|of| of.prompts.iter().any(|p| p.prompt == name)),
        _ => true,
    };
    let (lines, mut names) = (examples_of(&Cli::command()), 0);
    for line in &lines {
        let parsed = Cli::command().try_get_matches_from(line.split_whitespace());
        let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut matches = &parsed;
        while let Some((_, below)) = matches.subcommand() {
            matches = below;
        }
        for id in matches.ids().map(clap::Id::as_str) {
            let Ok(Some(values)) = matches.try_get_raw(id) else { continue };
            for value in values.map(|value| value.to_str().unwrap()) {
                assert!(named(id, value), "{line}: the example catalogs have no {value}");
                names +=
                    usize::from(["feature", "pool", "plan", "add_ons", "prompt"].contains(&id));
            }
        }
    }
    assert!(lines.len() > 30 && names > 20, "{names} names in {lines:?}");
}

#[test]
fn help_shows_how_to_begin() {
    let help = Cli::command().render_help().to_string();
    for line in ["headroom demo", "headroom check catalog.yaml", "HEADROOM_ENDPOINT", "Exit codes"]
    {
        assert!(help.contains(line), "{line}");
    }
}
