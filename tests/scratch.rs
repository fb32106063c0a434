//! Scratch instances: what they offer, what they refuse, and that nothing of them stays.

use std::path::Path;
use std::time::{Duration, Instant};

use lifeboat::config::Section;
use lifeboat::domain::{Place, ScratchNeeds};
use lifeboat::scratch::{self, Lease, LeaseRequest, ScratchError};
use lifeboat::system::leftovers::processes_in;
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::support::postgres::{TestServer, bin_directory, major_directory, not_tried};
use crate::support::server::{output, plain};

fn installed_major() -> u32 {
    let text = output(plain(&bin_directory().join("postgres")).arg("--version")).stdout;
    let text = String::from_utf8(text).unwrap();
    let version = text.split("(PostgreSQL) ").nth(1).unwrap();
    version.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn needs() -> ScratchNeeds {
    ScratchNeeds {
        engine: "postgres".into(),
        major: installed_major(),
        superuser: "owner".into(),
        encoding: "UTF8".into(),
        locales: vec!["C".into(), "C.UTF-8".into()],
        extensions: vec![("plpgsql".into(), "1.0".into())],
        bytes: 1 << 20,
        ..ScratchNeeds::default()
    }
}

fn request(root: &Path) -> LeaseRequest {
    LeaseRequest { root: root.to_owned(), never: vec![], cancel: CancellationToken::new() }
}

/// With the programs that the tests use, also where they are not in a distribution's place.
fn section(more: &str) -> Section {
    Section::from_text(&format!("programs = ['{}']\n{more}", bin_directory().display())).unwrap()
}

async fn lease(more: &str, needs: &ScratchNeeds, root: &Path) -> Result<Box<dyn Lease>, ScratchError> {
    scratch::registry::kind("postgres").unwrap().lease(Some(&section(more)), needs, &request(root)).await
}

fn root() -> tempfile::TempDir {
    let root = tempfile::Builder::new().prefix("lbs-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    root
}

fn is_empty(root: &Path) -> bool {
    std::fs::read_dir(root).unwrap().next().is_none()
}

async fn ask(place: &Place, sql: &'static str) -> Result<String, sqlx::Error> {
    let mut options: sqlx::postgres::PgConnectOptions = place.url.parse().unwrap();
    if let Some(password) = &place.password {
        options = options.password(password.expose());
    }
    let mut connection = sqlx::PgConnection::connect_with(&options).await?;
    sqlx::query_scalar(sql).fetch_one(&mut connection).await
}

#[tokio::test]
async fn what_text_is_sorted_by_is_named_where_the_server_lacks_it() {
    let root = root();
    let unknown = ScratchNeeds { locales: vec!["xx_YY.UTF-8".into()], collations: vec!["far".into()], ..needs() };
    let error = lease("", &unknown, root.path()).await.err().unwrap();
    assert!(matches!(&error, ScratchError::Lacks(needs) if *needs == ["locale xx_YY.UTF-8"]), "{error}");
    let unknown = ScratchNeeds { collations: vec!["C".into(), "far".into()], ..needs() };
    let error = lease("", &unknown, root.path()).await.err().unwrap();
    assert!(matches!(&error, ScratchError::Lacks(needs) if *needs == ["collation far"]), "{error}");
    assert!(is_empty(root.path()));
}

#[tokio::test]
async fn a_server_without_icu_lacks_every_locale_of_it() {
    // Some builds have it, some have not: the machine must have one of the latter.
    let without = [16, 18]
        .into_iter()
        .filter_map(|major| Some((major, major_directory(major)?)))
        .find(|(_, bin)| !TestServer::start_in(bin, &[]).has_icu());
    let Some((major, bin)) = without else { return not_tried("no build of Postgres 16 or 18 without ICU here") };
    let root = root();
    let section = Section::from_text(&format!("programs = [{bin:?}]")).unwrap();
    let wanted = ScratchNeeds { major, icu_locales: vec!["de-AT".into()], locales: vec!["C".into()], ..needs() };
    let engine = scratch::registry::kind("postgres").unwrap();
    let error = engine.lease(Some(&section), &wanted, &request(root.path())).await.err().unwrap();
    assert!(matches!(&error, ScratchError::Lacks(needs) if *needs == ["locale de-AT of ICU"]), "{error}");
    assert!(is_empty(root.path()));
}

#[tokio::test]
async fn a_scratch_server_is_private_and_tuned_and_leaves_nothing() {
    let root = root();
    let wanted = ScratchNeeds { superuser: "the \"owner\"".into(), ..needs() };
    let lease = lease("settings = { work_mem = \"7MB\" }", &wanted, root.path()).await.unwrap();
    let place = lease.place("postgres");
    assert_eq!(ask(&place, "select current_user::text").await.unwrap(), "the \"owner\"");
    assert_eq!(
        ask(&place, "select string_agg(rolname, ',') from pg_roles where rolname !~ '^pg_'").await.unwrap(),
        "the \"owner\""
    );
    assert_eq!(ask(&place, "show listen_addresses").await.unwrap(), "");
    assert_eq!(ask(&place, "show work_mem").await.unwrap(), "7MB");
    assert_eq!(ask(&place, "show fsync").await.unwrap(), "off");
    assert!(lease.facts()[0].starts_with("postgres "));
    assert!(processes_in(root.path()).len() > 3);
    lease.release().await.unwrap();
    assert!(is_empty(root.path()));
    assert_eq!(processes_in(root.path()), Vec::<u32>::new());
}

#[tokio::test]
async fn a_dropped_lease_leaves_no_process_and_no_file_even_in_the_midst_of_a_query() {
    let root = root();
    let lease = lease("", &needs(), root.path()).await.unwrap();
    let place = lease.place("postgres");
    let busy =
        tokio::spawn(async move { ask(&place, "select count(*)::text from generate_series(1, 1000000000)").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(lease);
    assert_eq!(processes_in(root.path()), Vec::<u32>::new());
    assert!(is_empty(root.path()));
    assert!(busy.await.unwrap().is_err());
}

#[tokio::test]
async fn everything_that_the_machine_lacks_is_named_at_once() {
    let root = root();
    let mut wanted = needs();
    wanted.extensions.push(("postgis".into(), "3.4.0".into()));
    wanted.extensions.push(("plpgsql".into(), "9.9".into()));
    wanted.locales.push("xx_YY.utf8".into());
    let error = lease("", &wanted, root.path()).await.err().unwrap();
    let ScratchError::Lacks(lacking) = &error else { panic!("{error}") };
    assert_eq!(
        lacking,
        &["extension postgis 3.4.0", "extension plpgsql 9.9 (this machine has 1.0)", "locale xx_YY.utf8"]
    );
    assert!(is_empty(root.path()));
}

#[tokio::test]
async fn a_missing_major_and_a_missing_library_are_needs_not_failures() {
    let root = root();
    let major = ScratchNeeds { major: 9, ..needs() };
    let error = lease("", &major, root.path()).await.err().unwrap();
    assert!(matches!(&error, ScratchError::Lacks(needs) if needs[0] == "postgres 9"), "{error}");
    let library = ScratchNeeds { preload: vec!["no_such_library".into()], ..needs() };
    let error = lease("", &library, root.path()).await.err().unwrap();
    assert!(matches!(&error, ScratchError::Lacks(needs) if needs[0] == "server library no_such_library"), "{error}");
    assert!(is_empty(root.path()));
}

#[tokio::test]
async fn a_setting_that_the_server_refuses_is_quoted_from_its_log() {
    let root = root();
    let error = lease("settings = { work_mem = \"lots\" }", &needs(), root.path()).await.err().unwrap().to_string();
    assert!(error.contains("did not start") && error.contains("work_mem"), "{error}");
    assert!(is_empty(root.path()));
}

#[tokio::test]
async fn a_cancelled_lease_ends_at_once_and_leaves_nothing() {
    let root = root();
    let request = request(root.path());
    let cancel = request.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    });
    let kind = scratch::registry::kind("postgres").unwrap();
    let ended = kind.lease(Some(&section("")), &needs(), &request).await;
    assert!(matches!(ended, Err(ScratchError::Cancelled)));
    assert!(is_empty(root.path()));
}

#[tokio::test]
async fn a_lease_expires_at_its_limit() {
    let root = root();
    let lease = lease("load_timeout = \"50ms\"", &needs(), root.path()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), lease.expired()).await.unwrap();
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_kept_instance_outlives_its_owner_and_reaping_until_it_is_ended() {
    let root = root();
    let lease = lease("", &needs(), root.path()).await.unwrap();
    let place = lease.place("postgres");
    let advice = lease.keep().await.unwrap();
    assert!(advice.contains("psql -h /tmp/lbs-") && advice.contains("kill -QUIT"), "{advice}");
    let folder = std::fs::read_dir(root.path()).unwrap().next().unwrap().unwrap().path();
    // As though the owner were long gone.
    let orphan = root.path().join("postgres-1-1-kept");
    std::fs::create_dir(&orphan).unwrap();
    assert_eq!(scratch::reap(root.path()).unwrap().len(), 1);
    assert_eq!(ask(&place, "select 'alive'").await.unwrap(), "alive");
    lifeboat::system::leftovers::kill_processes_in(&folder);
}

/// Not a test of its own when `LIFEBOAT_TEST_HOLD` names a folder: then it is the process that the next test kills.
#[tokio::test]
async fn two_leases_live_side_by_side() {
    if let Some(root) = held_root() {
        let _lease = lease("", &needs(), Path::new(&root)).await.unwrap();
        std::fs::write(Path::new(&root).join("leased"), "").unwrap();
        tokio::time::sleep(Duration::from_mins(2)).await;
        return;
    }
    let root = root();
    let (needs, path) = (needs(), root.path());
    let (one, two) = tokio::join!(lease("", &needs, path), lease("", &needs, path));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.place("x").url, two.place("x").url);
    assert_eq!(scratch::reap(root.path()).unwrap(), []);
    one.release().await.unwrap();
    two.release().await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the parent test speaks to its child by environment")]
fn held_root() -> Option<std::ffi::OsString> {
    std::env::var_os("LIFEBOAT_TEST_HOLD")
}

/// Starts this test binary again as a process that holds a lease below `root`, and waits until it does.
fn holder(root: &Path) -> std::process::Child {
    let mut command = plain(&std::env::current_exe().unwrap());
    command.args(["--exact", "scratch::two_leases_live_side_by_side"]).env("LIFEBOAT_TEST_HOLD", root);
    command.env("LIFEBOAT_TEST_POSTGRES", bin_directory());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while !root.join("leased").exists() {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_mins(1), "no lease");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_owner_takes_its_server_along_and_the_next_start_removes_the_files() {
    let root = root();
    let mut owner = holder(root.path());
    assert_eq!(scratch::reap(root.path()).unwrap(), [], "the owner is alive");
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the server outlived its owner", || processes_in(root.path()).is_empty());
    assert_eq!(scratch::reap(root.path()).unwrap().len(), 1);
    std::fs::remove_file(root.path().join("leased")).unwrap();
    assert!(is_empty(root.path()));
}

#[test]
fn a_server_whose_guard_was_killed_too_is_reaped_with_all_its_processes() {
    let root = root();
    let mut owner = holder(root.path());
    let is_guard =
        |id: &u32| std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() != "postgres");
    for id in processes_in(root.path()).into_iter().filter(is_guard) {
        let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!processes_in(root.path()).is_empty(), "the server should have been orphaned");
    let reaped = scratch::reap(root.path()).unwrap();
    assert!(reaped.len() == 1 && reaped[0].processes > 1, "{reaped:?}");
    assert_eq!(processes_in(root.path()), Vec::<u32>::new());
}

#[tokio::test]
async fn a_named_server_must_be_empty_or_marked_and_never_the_source() {
    let (root, server) = (root(), TestServer::start());
    let policy = format!("url = \"{}\"", server.url("postgres"));
    let wanted = ScratchNeeds { major: server.major(), ..needs() };

    let identity = server.psql("postgres", "select system_identifier from pg_control_system()");
    let never = LeaseRequest { never: vec![identity], ..request(root.path()) };
    let kind = scratch::registry::kind("postgres").unwrap();
    let error = kind.lease(Some(&section(&policy)), &wanted, &never).await.err().unwrap().to_string();
    assert!(error.contains("live source"), "{error}");

    let named = lease(&policy, &wanted, root.path()).await.unwrap();
    server.psql("postgres", "create role guest; create database \"a b\" owner guest");
    assert_eq!(ask(&named.place("a b"), "select current_database()::text").await.unwrap(), "a b");
    named.release().await.unwrap();
    assert_eq!(server.psql("postgres", "select count(*) from pg_database"), "3");
    assert_eq!(server.psql("postgres", "select count(*) from pg_roles where rolname = 'guest'"), "0");

    server.create_database("precious");
    let error = lease(&policy, &wanted, root.path()).await.err().unwrap().to_string();
    assert!(error.contains("holds database `precious`") && error.contains("COMMENT ON DATABASE"), "{error}");
    server.psql("postgres", "comment on database postgres is 'lifeboat scratch'");
    lease(&policy, &wanted, root.path()).await.unwrap().release().await.unwrap();
    assert_eq!(server.psql("postgres", "select count(*) from pg_database"), "3");
}

#[tokio::test]
async fn a_named_server_with_a_table_in_its_own_database_is_not_empty() {
    let (root, server) = (root(), TestServer::start());
    server.psql("postgres", "create table \"odd name\" ()");
    let wanted = ScratchNeeds { major: server.major(), ..needs() };
    let policy = format!("url = \"{}\"", server.url("postgres"));
    let error = lease(&policy, &wanted, root.path()).await.err().unwrap().to_string();
    assert!(error.contains("holds `\"odd name\"`"), "{error}");
}
