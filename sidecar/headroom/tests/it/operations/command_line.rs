//! The command line by itself, and as a client of a running sidecar.

use serde_json::Value;

use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

#[test]
fn help_exits_0_and_nonsense_2() {
    let home = Home::new(PLAIN);
    let commands = [
        "",
        "serve",
        "demo",
        "check",
        "ask",
        "ask consume",
        "account",
        "account put",
        "clock",
        "status",
        "reload",
        "backup",
        "inspect",
    ];
    for command in commands {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ended = home.run(&args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(ended.stdout.contains("Usage: headroom"), "{command}: {}", ended.stdout);
    }
    let version = home.run(&["--version"]);
    assert_eq!((version.code, version.stdout.starts_with("headroom 0.")), (Some(0), true));
    for wrong in [&[][..], &["serv"], &["serve", "--no-such-flag"], &["ask", "consume", "acme"]] {
        let ended = home.run(wrong);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(!ended.stderr.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_typo_is_shown_with_its_place_and_a_suggestion() {
    let home = Home::new(&PLAIN.replace("kind: switch", "kind: swich"));
    let catalog = home.path("catalog.yaml").display().to_string();
    let problem = format!("{catalog}:11:38: `kind` must be");
    for ended in [home.refused(), home.run(&["check", &catalog])] {
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert!(ended.stderr.contains(&problem), "{}", ended.stderr);
        assert!(ended.stderr.contains("did you mean `switch`?"), "{}", ended.stderr);
    }
    assert!(!home.data().exists(), "a bad catalog is found before the directory is made");

    home.write_catalog(PLAIN);
    home.write_settings("drain_timeout: 1s\ndurabilty: written\n");
    let settings = home.path("headroom.yaml").display().to_string();
    for ended in [home.refused(), home.run(&["check", &settings])] {
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(&format!("{settings}:")), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("`durabilty`, did you mean `durability`?"),
            "{}",
            ended.stderr
        );
    }
    home.write_settings("");
    let good = home.run(&["check", &catalog, &settings]);
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), ""));
    // What a reader of the catalog could be surprised by is said.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/example/ai-product.yaml");
    let good = home.run(&["check", example]);
    let note = "feature `machines`: different values of `machine` count once each";
    assert!(good.code == Some(0) && good.stdout.contains(note), "{good:?}");
    assert!(good.stdout.contains("to 64 in one of a subject"), "{good:?}");
}

#[test]
fn clients_of_the_command_line_talk_to_a_sidecar() {
    let home = Home::new(PLAIN);
    let nobody = home.run(&["status"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("is a sidecar running at"), "{}", nobody.stderr);

    let _sidecar = home.start();
    let good = |args: &[&str]| {
        let ended = home.run(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?} {ended:?}");
        ended.stdout
    };
    let json =
        |args: &[&str]| -> Value { serde_json::from_str(&good(args)).expect("one JSON value") };
    good(&["account", "put", "acme", "--plan", "tight"]);
    assert_eq!(json(&["account", "get", "acme", "--json"])["plan"], "tight");
    good(&["ask", "consume", "acme", "slots", "39", "--key", "k"]);
    let refused = home.run(&["ask", "consume", "acme", "slots", "2"]);
    assert_eq!(refused.code, Some(1));
    good(&["account", "override", "acme", "slots", "--limit", "total", "--included", "41"]);
    good(&["ask", "consume", "acme", "slots", "2"]);
    let usage = json(&["ask", "usage", "acme", "--json"]);
    assert!(usage.to_string().contains("41"), "{usage}");
    assert_eq!(json(&["status", "--json"])["accounts"], 1);
    let unknown = home.run(&["account", "put", "acme", "--plan", "tigt"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("did you mean \"tight\"?"), "{}", unknown.stderr);
}
