//! `lifeboat init`: what it plans, what it writes, and that the result loads.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lifeboat::cli::init::{
    InitError, InitPlan, InitRequest, MomentColumn, PostgresIntrospection, PostgresRequest, RecoveryKey, TableFacts,
    plan_init, split_password,
};
use lifeboat::config::{Config, Environment, SecretRef};

fn table(schema: &str, name: &str, rows: u64, newest_age_secs: Option<i64>) -> TableFacts {
    let moments = vec![MomentColumn { name: "created_at".into(), newest_age_secs }];
    TableFacts { schema: schema.into(), name: name.into(), estimated_rows: rows, bytes: rows * 100, moments }
}

fn facts(database: &str) -> PostgresIntrospection {
    PostgresIntrospection {
        database: database.into(),
        server_version: "15.18".into(),
        size_bytes: 3 << 30,
        tables: vec![
            table("public", "statuses", 1_000_000, Some(60)),
            table("public", "archive", 500_000, Some(90_000_000)),
            table("odd \"schema\"", "Order", 10, None),
            table("public", "planned", 5, Some(-3600)),
            table("public", "empty", 0, Some(5)),
        ],
    }
}

fn request(directory: &Path, url: &str, database: &str, targets: &[&str]) -> InitRequest {
    InitRequest {
        directory: directory.to_owned(),
        current_directory: directory.to_owned(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        postgres: Some(PostgresRequest { url: url.into(), password: None, facts: facts(database) }),
        key: RecoveryKey::generate(),
    }
}

fn load(folder: &Path) -> Config {
    Config::load_in(&folder.join("lifeboat.toml"), &Environment::of([("HOME", "/home/u")])).unwrap()
}

fn content<'a>(plan: &'a InitPlan, end: &str) -> &'a str {
    plan.files.iter().find(|file| file.path.ends_with(end)).unwrap().content.expose()
}

#[tokio::test]
async fn what_init_writes_loads_and_its_keys_fit() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("etc/lifeboat");
    let targets = ["copies", "/mnt/nas/copies", "s3://bucket/a/b?endpoint=https://s3.eu-central-003.backblazeb2.com"];
    let request = request(&directory, "postgres://u:hunt%40er2@h:5433/social?sslmode=require", "social", &targets);
    let plan = plan_init(&request).unwrap();
    plan.apply().unwrap();
    let config = load(&directory);
    assert_eq!(config.warnings, Vec::<String>::new());
    let names: Vec<&str> = config.targets.keys().map(lifeboat::domain::TargetName::as_str).collect();
    assert_eq!(names, ["bucket", "copies", "copies-2"]);
    assert_eq!(config.targets.values().map(|section| section.text("provider")).next(), Some(Some("backblaze")));
    assert_eq!(config.keys.recipients, [request.key.recipient.as_str()]);
    let identity = config.keys.identity.as_ref().unwrap().resolve_whole().await.unwrap();
    let line = identity.expose().lines().last().unwrap();
    let read_back: age::x25519::Identity = line.parse().unwrap();
    assert_eq!(read_back.to_public().to_string(), request.key.recipient);
    let job = &config.jobs[0];
    assert_eq!((job.name.as_str(), job.kind.as_str()), ("social", "postgres"));
    assert_eq!(job.source.text("url"), Some("postgres://u@h:5433/social?sslmode=require"));
    let password = SecretRef::File(directory.join("secrets/social.password")).resolve().await.unwrap();
    assert_eq!(password.expose(), "hunt@er2");
    assert!(job.backup.guard.max_shrink.is_some());
}

#[test]
fn checks_are_suggested_for_what_is_large_and_for_what_is_fresh() {
    let plan = plan_init(&request(Path::new("x"), "postgres://u@h/social", "social", &[])).unwrap();
    let text = content(&plan, "jobs/social.toml");
    let checks = text.split_once("[[restore_test.check]]").unwrap().1;
    assert_eq!(
        checks,
        "\nsql = \"select count(*) from public.statuses\"\nmin = 800000\n\n\
         [[restore_test.check]]\nsql = \"select max(created_at) from public.statuses\"\nmax_age = \"26h\"\n\n\
         [[restore_test.check]]\nsql = \"select count(*) from public.archive\"\nmin = 400000\n\n\
         [[restore_test.check]]\nsql = 'select count(*) from \"odd \"\"schema\"\"\".\"Order\"'\nmin = 8\n\n\
         [[restore_test.check]]\nsql = \"select count(*) from public.planned\"\nmin = 4\n"
    );
}

#[test]
fn secrets_lie_in_private_files_only_and_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let request = request(folder.path(), "postgres://u:hunter2@h/d", "d", &["/mnt/a"]);
    let plan = plan_init(&request).unwrap();
    let printed = format!("{}{:?}{:?}{}", plan.describe(), plan, request, plan.messages.join("\n"));
    for secret in ["hunter2", "AGE-SECRET-KEY"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(plan.messages.iter().any(|message| message.contains("KEEP A COPY")));
    plan.apply().unwrap();
    for file in &plan.files {
        let mode = std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777;
        let secret = ["hunter2", "AGE-SECRET-KEY"].iter().any(|secret| file.content.expose().contains(secret));
        assert!(!secret || mode == 0o600, "{} has mode {mode:o}", file.path.display());
    }
    for private in ["keys", "secrets"] {
        let mode = std::fs::metadata(folder.path().join(private)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{private}");
    }
}

#[test]
fn nothing_is_overwritten_and_a_refusal_leaves_nothing_behind() {
    for taken in ["lifeboat.toml", "jobs/d.toml", "secrets/d.password", "keys/recovery.identity.txt"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(taken);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let plan = plan_init(&request(folder.path(), "postgres://u:p@h/d", "d", &["/mnt/a"])).unwrap();
        let error = plan.apply().unwrap_err();
        assert!(matches!(&error, InitError::Exists(found) if *found == path), "{error}");
        assert!(error.to_string().contains(taken));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let left: Vec<PathBuf> = plan.files.iter().map(|file| file.path.clone()).filter(|path| path.exists()).collect();
        assert_eq!(left, [path]);
    }
}

#[test]
fn a_write_that_fails_midway_takes_back_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder of jobs belongs: found only when the job is written, after the keys.
    std::fs::write(folder.path().join("jobs"), "").unwrap();
    let plan = plan_init(&request(folder.path(), "postgres://u@h/d", "d", &["/mnt/a"])).unwrap();
    assert!(plan.apply().is_err());
    assert!(!folder.path().join("lifeboat.toml").exists());
    assert!(!folder.path().join("keys/recovery.identity.txt").exists());
}

#[test]
fn odd_names_of_databases_and_folders_still_load() {
    for database in ["it's \"odd\" 名", "a/b@c", "..", "new\nline", "${HOME}"] {
        let folder = tempfile::tempdir().unwrap();
        let plan =
            plan_init(&request(folder.path(), "postgres://u@h/d", database, &["odd ${x} \"dir\"", "each"])).unwrap();
        plan.apply().unwrap();
        let config = load(folder.path());
        assert_eq!(config.jobs.len(), 1, "{database}");
        assert!(
            config
                .targets
                .values()
                .any(|section| { section.text("path").is_some_and(|path| path.ends_with("/odd ${x} \"dir\"")) })
        );
    }
}

#[test]
fn without_a_database_or_a_target_the_result_still_loads_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(folder.path(), "postgres://u@h/d", "d", &[]);
    request.postgres = None;
    let plan = plan_init(&request).unwrap();
    plan.apply().unwrap();
    let config = load(folder.path());
    assert_eq!((config.jobs.len(), config.targets.len()), (0, 1));
    assert!(plan.messages.iter().any(|message| message.contains("on this machine")));
    assert!(plan.messages.iter().any(|message| message.contains("no job yet")));
}

#[test]
fn the_password_leaves_the_url_wherever_it_stands() {
    let cases = [
        ("postgres://u:p%20w@h/d", "postgres://u@h/d", Some("p w")),
        ("postgres://u@h/d?password=p%2Bw&sslmode=require", "postgres://u@h/d?sslmode=require", Some("p+w")),
        ("postgresql://u@%2Ftmp%2Fsock:5432/d", "postgresql://u@%2Ftmp%2Fsock:5432/d", None),
        ("postgres:///d?host=/run/postgresql", "postgres:///d?host=/run/postgresql", None),
        ("postgres://u@/d?host=/run/postgresql", "postgres://u@/d?host=/run/postgresql", None),
        ("postgres://u:p%20w@:6000/d?host=/run", "postgres://u@:6000/d?host=/run", Some("p w")),
    ];
    for (url, clean, password) in cases {
        let (found, secret) = split_password(url).unwrap();
        assert_eq!((found.as_str(), secret.as_ref().map(lifeboat::domain::Secret::expose)), (clean, password), "{url}");
    }
    for bad in ["mysql://u:hunter2@h/d", "hunter2", "postgres://u:hunter2%0A@h/d", "postgres://u:hunter2%zz@h/d"] {
        let error = split_password(bad).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_target_that_cannot_be_written_down_is_refused_by_name() {
    for (target, why) in [
        ("ftp://h/d", "scheme `ftp` is not known"),
        ("s3://b/p?colour=red", "unknown parameter `colour`"),
        ("s3://key:hunter2@b/p", "keys do not belong into a URL"),
    ] {
        let error = plan_init(&request(Path::new("x"), "postgres://u@h/d", "d", &[target])).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
    }
}
