//! Thousands of tables: the circle closes, and memory stays bounded.

use std::process::Stdio;
use std::time::Duration;

use crate::support::installation::Installation;
use crate::support::postgres::TestServer;

const TABLES: usize = 4_000;
const BATCH: usize = 500;
/// The most that backup and restore test may hold. Each table adds about 10 KiB, so five times as many stay below 256 MiB.
const RSS_KIB_MAX: u64 = 96 << 10;

/// Runs the binary and returns the most memory that it held, KiB.
fn peak(circle: &Installation, arguments: &[&str]) -> u64 {
    let mut child = circle.command(arguments).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let held = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(held.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{arguments:?}: {status}");
    assert!(peak > 0);
    peak
}

#[test]
fn thousands_of_tables_are_proven_in_bounded_memory() {
    let source = TestServer::start_with(&[("max_locks_per_transaction", "2000")]);
    source.create_database("many");
    for from in (0..TABLES).step_by(BATCH) {
        source.psql(
            "many",
            &format!(
                "do $$ begin for n in {from} .. {} loop execute format('create table t%s (id int %s, m int); \
                 insert into t%s values (1, %s), (2, null)', n, case when n % 4 = 0 then 'primary key' end, n, n); \
                 end loop; end $$",
                (from + BATCH).min(TABLES) - 1
            ),
        );
    }
    let circle = Installation::of_one(&format!("url = \"{}\"", source.url("many")), "");
    let backup = peak(&circle, &["-q", "backup", "now"]);
    let test = peak(&circle, &["-q", "restore-test"]);
    assert!(backup <= RSS_KIB_MAX && test <= RSS_KIB_MAX, "backup {backup} KiB, restore test {test} KiB");
}
