//! Reading /proc.

use headroom_load_tests::proc_files::{process_cpu_time, resident_bytes, thread_cpu_time};
use std::time::Duration;

#[test]
fn the_first_number_of_schedstat_is_time_on_a_cpu() {
    assert_eq!(thread_cpu_time("36410 27830 2\n"), Some(Duration::from_nanos(36_410)));
    assert_eq!(thread_cpu_time(""), None);
    assert_eq!(thread_cpu_time("x 1 2"), None);
}

#[test]
fn user_and_system_time_are_found_behind_any_program_name() {
    let fields = "S 1 2 3 0 -1 4194560 500 0 0 0 120 34 0 0 20 0 5 0 100 200";
    for name in ["headroom", "a b", "tmux: (server) 1 2", ")"] {
        let text = format!("4242 ({name}) {fields}");
        assert_eq!(process_cpu_time(&text, 100), Some(Duration::from_millis(1_540)), "{name}");
    }
    assert_eq!(process_cpu_time("4242 headroom S 1", 100), None);
    assert_eq!(process_cpu_time("4242 (headroom) S 1 2", 100), None);
}

#[test]
fn resident_memory_is_in_kibibytes() {
    let text = "Name:\theadroom\nVmPeak:\t  9000 kB\nVmRSS:\t    1024 kB\nThreads:\t5\n";
    assert_eq!(resident_bytes(text), Some(1 << 20));
    assert_eq!(resident_bytes("Name:\theadroom\n"), None);
}

#[test]
fn this_process_can_be_read() {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    assert!(resident_bytes(&text).is_some_and(|bytes| bytes > 100_000));
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    assert!(process_cpu_time(&text, 100).is_some());
}
