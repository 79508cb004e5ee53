//! Reasons not to start. Each says what is wrong and what to do, and ends with exit code 1.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

#[track_caller]
fn check(home: &Home, parts: &[&str]) {
    let ended = home.refused();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "no {part:?} in {}", ended.stderr);
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::with_settings(PLAIN, &format!("listen: '{address}'\n"));
    check(&home, &[&address, "is in use by another process"]);
    assert!(!home.data().exists());

    home.write_settings("");
    let _socket = UnixListener::bind(home.path("socket")).unwrap();
    check(&home, &["/socket is in use by another process"]);
}

#[test]
fn a_file_is_never_taken_for_a_stale_socket() {
    let home = Home::new(PLAIN);
    fs::write(home.path("socket"), "precious").unwrap();
    check(&home, &["/socket exists and is not a socket"]);
    assert_eq!(fs::read_to_string(home.path("socket")).unwrap(), "precious");
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_the_cause() {
    let home = Home::new(PLAIN);
    let nowhere = format!("unix:{}", home.path("nowhere/socket").display());
    // Clients could not connect to a path this long, although it can be made.
    let long = format!("unix:{}", home.path(&"s".repeat(108)).display());
    for (address, cause) in [
        (&*nowhere, "No such file or directory"),
        (&*long, "path must be shorter than SUN_LEN"),
        ("192.0.2.1:7400", "Cannot assign requested address"),
    ] {
        let mut command = home.serve();
        command.args(["--listen", address]);
        let ended = home.end(command);
        let told = format!("error: cannot listen on {address}: {cause}");
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&told), "no {told:?} in {}", ended.stderr);
    }
}

#[test]
fn the_admin_listener_stays_on_the_machine() {
    let home = Home::new(PLAIN);
    let mut command = home.serve();
    command.args(["--admin-listen", "0.0.0.0:7401"]);
    let ended = home.end(command);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("use a loopback address or unix:/path"), "{}", ended.stderr);
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut second = home.serve();
    for (flag, name) in [("--listen", "socket2"), ("--admin-listen", "admin2")] {
        second.args([flag.to_owned(), format!("unix:{}", home.path(name).display())]);
    }
    let ended = home.end(second);
    assert_eq!(ended.code, Some(1));
    let pid = format!("is in use by another process (process {})", sidecar.pid());
    assert!(ended.stderr.contains(&pid), "{}", ended.stderr);
    assert!(ended.stderr.contains("Stop the other one"), "{}", ended.stderr);
}

#[test]
fn a_place_that_cannot_be_a_data_directory_is_refused() {
    let home = Home::new(PLAIN);
    fs::write(home.data(), "precious").unwrap();
    check(&home, &["/data is not a directory", "move that file away"]);
    fs::remove_file(home.data()).unwrap();

    fs::create_dir(home.data()).unwrap();
    fs::write(home.data().join("thesis.tex"), "precious").unwrap();
    check(&home, &["has no FORMAT file, but it has \"thesis.tex\"", "use an empty one"]);
    assert!(!home.data().join("LOCK").exists(), "nothing is left in a stranger's directory");
    fs::remove_dir_all(home.data()).unwrap();

    // Root may write everywhere, so a path under a file stands for a directory without rights.
    let mut command = home.serve();
    command.arg("--data-dir").arg(home.path("headroom.yaml").join("data"));
    let ended = home.end(command);
    assert_eq!(ended.code, Some(1));
    let told = "headroom.yaml/data: Not a directory";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[tokio::test]
async fn a_data_directory_stays_on_its_clock() {
    for (first, second, word) in [("system", "test", "real"), ("test", "system", "test")] {
        let home = Home::with_settings(PLAIN, &format!("clock: {first}\n"));
        home.start().stop().await;
        home.write_settings(&format!("clock: {second}\n"));
        let with = format!("Start with `--clock {first}`");
        check(
            &home,
            &[&format!("was made on a {word} clock").replace("a real", "the real"), &with],
        );
        home.write_settings(&format!("clock: {first}\n"));
        home.start().stop().await;
    }
}

#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let home = Home::new(PLAIN);
    home.start().stop().await;
    let format = home.data().join("FORMAT");
    fs::write(&format, "headroom-data 4\n").unwrap();
    check(
        &home,
        &["has data format 4, this version reads up to 3", "Run the version that wrote it"],
    );
    assert_eq!(fs::read_to_string(&format).unwrap(), "headroom-data 4\n");
    // An older one is brought up to this one, so that the older program will not touch it.
    fs::write(&format, "headroom-data 1\n").unwrap();
    home.start().stop().await;
    assert_eq!(fs::read_to_string(&format).unwrap(), "headroom-data 3\n");
}
