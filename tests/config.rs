//! The configuration as a user meets it: files on disk in, a resolved configuration or readable errors out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use lifeboat::config::{Config, Environment};

const LIFEBOAT: &str =
    "[targets.nas]\ntype = \"directory\"\npath = \"/mnt/nas\"\n\n[targets.b2-eu]\ntype = \"s3\"\nbucket = \"b\"\n";
const SOURCE: &str = "[source]\ntype = \"postgres\"\nurl = \"postgres://u@h/d\"\n";

/// Writes `lifeboat.toml` and jobs, and loads them. Errors show paths from the folder on.
fn load(lifeboat: &str, jobs: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), lifeboat, jobs);
    let environment = Environment::of([
        ("HOST", "db.internal"),
        ("PW", "hunter2"),
        ("HOME", "/home/u"),
        ("XDG_STATE_HOME", "/var/state"),
    ]);
    Config::load_in(&folder.path().join("lifeboat.toml"), &environment)
        .map_err(|error| error.report().replace(&format!("{}/", folder.path().display()), ""))
}

fn write(folder: &Path, lifeboat: &str, jobs: &[(&str, &str)]) {
    std::fs::write(folder.join("lifeboat.toml"), lifeboat).unwrap();
    std::fs::create_dir_all(folder.join("jobs")).unwrap();
    for (name, text) in jobs {
        std::fs::write(folder.join("jobs").join(name), text).unwrap();
    }
}

/// The error of one job, added to a source, beside a good `lifeboat.toml`.
fn job_error(text: &str) -> String {
    load(LIFEBOAT, &[("social.toml", &format!("{SOURCE}{text}"))]).unwrap_err()
}

/// Every bad file with what is said of it, so that one snapshot reads as a table.
fn told(errors: impl IntoIterator<Item = String>) -> String {
    errors.into_iter().collect::<Vec<_>>().join("\n\n--------\n\n")
}

#[test]
fn an_error_shows_its_line_a_caret_and_what_was_meant() {
    let jobs = [
        "\n\n\n\n\n\n\n\n[retension]\ndaily = 7\n",
        "[backup]\ntargets = [\"nas\", \"b2-ue\"]\n",
        "[backup]\ntargets = [\"nas\", \"nas\", \"tape\"]\n",
        "[backup]\ntargets = []\n",
        "[backup]\nquorum = 3\n",
        "[backup]\ntargets = [\"nas\"]\n[restore_test]\nfrom = \"b2-eu\"\n",
        "[restore_test]\nfrom = []\ncheck = 1\n",
        "[backup]\nquorum = \"two\"\n",
        "[retention]\ndaily = 7\ndaily = 8\nmonthly = -1\n",
        "[retention]\nwithin = \"2 weeks\"\n",
        "[schedule]\ncron = \"61 3 * * *\"\ntimezone = \"Europe/Belin\"\n",
        "[schedule]\ncron = \"@daily\"\noverlap = \"skp\"\nsplay = 20\n",
        "[backup]\nguard = { min_bytes = \"50\", max_shrink = \"130%\" }\n",
        "[backup]\nlevel = \n",
    ];
    insta::assert_snapshot!(told(jobs.map(job_error)));
}

#[test]
fn a_table_that_lacks_something_is_named() {
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("", &[]),
        ("[targets.nas]\npath = \"/mnt\"\n", &[]),
        (LIFEBOAT, &[("a.toml", "[backup]\nquorum = 1\n")]),
        (LIFEBOAT, &[("a.toml", "source = 3\n")]),
        (LIFEBOAT, &[("a@b.toml", SOURCE)]),
        ("[targets.each]\ntype = \"directory\"\n[targets.\"a b\"]\ntype = \"directory\"\n", &[]),
    ];
    insta::assert_snapshot!(told(cases.map(|(lifeboat, jobs)| load(lifeboat, jobs).unwrap_err())));
}

#[test]
fn a_variable_is_replaced_and_an_unset_one_is_shown() {
    let source = "[source]\ntype = \"postgres\"\nurl = \"postgres://u@${HOST}/$${d}\"\n";
    let config = load(LIFEBOAT, &[("a.toml", source)]).unwrap();
    assert_eq!(config.jobs[0].source.text("url"), Some("postgres://u@db.internal/${d}"));
    insta::assert_snapshot!(load(LIFEBOAT, &[("a.toml", &source.replace("HOST", "HOTS"))]).unwrap_err());
}

#[test]
fn all_mistakes_of_all_files_are_shown_at_once() {
    let lifeboat = format!("stat = \"x\"\n{LIFEBOAT}colour = 1\n[keys]\nrecipient = [\"age1\"]\n");
    let error = load(&lifeboat, &[("a.toml", "[source\n"), ("b.toml", "[backup]\nlanes = 0\nlevel = 20\n[sorce]\n")]);
    insta::assert_snapshot!(error.unwrap_err());
}

#[test]
fn a_secret_in_a_file_is_refused_and_no_error_repeats_it() {
    let job = "[source]\ntype = \"postgres\"\nurl = \"postgres://u:hunter2@h/d\"\n";
    insta::assert_snapshot!(
        load("[keys]\nidentity = \"hunter2\"\n[targets.a]\ntype = \"s3\"\n", &[("a.toml", job)]).unwrap_err()
    );
    let leaks = [
        "password = \"hunter2\"\npasswrd = { file = \"x\" }\n[backup]\nquorum = 9\n",
        "[restore_test]\nrto = { password = \"hunter2\" }\n",
        "[backup]\nlanes = { secret_access_key = \"hunter2\", x = 1 }\n",
        "password = \"hunter2\n",
        "password = \"hunter2\" x\n",
        "[retention]\nwithin = \"postgres://u:hunter2@h/d\"\n",
        "[backup]\ntargets = [\"AGE-SECRET-KEY-1HUNTER2\"]\n",
    ];
    for text in leaks {
        let error = job_error(text).to_lowercase();
        assert!(!error.contains("hunter2"), "{text}\n{error}");
    }
}

#[test]
fn the_resolved_configuration_has_every_default_and_names_its_places() {
    let lifeboat = format!("{LIFEBOAT}[keys]\nidentity = {{ file = \"id.txt\" }}\n[scratch]\ndirectory = \"tmp\"\n");
    let folder = tempfile::tempdir().unwrap();
    let jobs = [("it's \"odd\" 名.toml", SOURCE), ("a.toml", SOURCE), (".hidden.toml", "no")];
    write(folder.path(), &lifeboat, &jobs);
    let environment = Environment::of([("XDG_STATE_HOME", "/var/state")]);
    let config = Config::load_in(&folder.path().join("lifeboat.toml"), &environment).unwrap();
    let names: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["a", "it's \"odd\" 名"]);
    assert_eq!(config.state, Path::new("/var/state/lifeboat"));
    assert_eq!(config.scratch.directory, Some(folder.path().join("tmp")));
    assert_eq!(config.keys.identity, Some(lifeboat::config::SecretRef::File(folder.path().join("id.txt"))));
    let job = &config.jobs[0];
    assert_eq!(job.kind, "postgres");
    let targets: Vec<&str> = job.backup.targets.iter().map(lifeboat::domain::TargetName::as_str).collect();
    assert_eq!(targets, ["b2-eu", "nas"]);
    assert_eq!((job.backup.quorum, job.backup.level), (2, 2));
    assert!((1..=4).contains(&job.backup.lanes));
    assert!(job.restore_test.is_none() && job.schedule.is_none());
}

#[test]
fn a_secret_file_that_everybody_reads_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let lifeboat = format!("{LIFEBOAT}[keys]\nidentity = {{ file = \"id.txt\" }}\n");
    write(folder.path(), &lifeboat, &[]);
    let secret = folder.path().join("id.txt");
    std::fs::write(&secret, "x").unwrap();
    for (mode, warnings) in [(0o644, 1), (0o600, 0), (0o640, 0)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::load(&folder.path().join("lifeboat.toml")).unwrap();
        assert_eq!(config.warnings.len(), warnings, "{mode:o}: {:?}", config.warnings);
        assert!(config.warnings.iter().all(|warning| warning.contains("id.txt") && warning.contains("chmod 600")));
    }
}

#[test]
fn what_is_shown_holds_references_but_no_secret() {
    let lifeboat = "[targets.a]\ntype = \"s3\"\nsecret_access_key = { env = \"KEY\" }\ntoken = \"hunter2\"\n\
                    endpoint = \"https://u:${PW}@h\"\n[keys]\nidentity = { command = [\"pass\", \"id\"] }\n";
    let job = "[source]\ntype = \"postgres\"\nurl = \"postgres://u:${PW}@h/d\"\npassword = { file = \"/run/pg\" }\n\
               [retention]\nwithin = \"36h\"\n[backup]\nguard = { max_shrink = \"30%\", min_bytes = \"1KiB\" }\n\
               [restore_test]\n[[restore_test.check]]\nsql = \"select 1\"\nmin = 1\n";
    let config = load(lifeboat, &[("social.toml", job)]).unwrap();
    let text = config.show();
    assert!(!text.contains("hunter2"), "{text}");
    for line in [
        "url = \"postgres://u:[redacted]@h/d\"",
        "token = \"[redacted]\"",
        "env = \"KEY\"",
        "file = \"/run/pg\"",
        "within = \"1d12h\"",
        "max_shrink = \"30%\"",
        "min_bytes = \"1024B\"",
        "sql = \"select 1\"",
        "from = \"each\"",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(toml::from_str::<toml::Table>(&text).is_ok());
    assert!(!config.to_json().to_string().contains("hunter2"));
}

#[test]
fn a_recipient_is_checked_and_a_pasted_identity_is_not_repeated() {
    let key = lifeboat::cli::init::RecoveryKey::generate();
    let with = |recipient: &str| load(&format!("{LIFEBOAT}[keys]\nrecipients = [\"{recipient}\"]\n"), &[]);
    for good in [
        key.recipient.as_str(),
        "ssh-ed25519 AAAA",
        "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
    ] {
        assert!(with(good).is_ok(), "{good}: {:?}", with(good).err());
    }
    let cut = &key.recipient[..key.recipient.len() - 1];
    for bad in [cut, "age1...", "me@example.org", ""] {
        assert!(
            with(bad).unwrap_err().starts_with("error: this is not an age recipient\n --> lifeboat.toml:9:15"),
            "{bad}"
        );
    }
    let error = with(key.identity.expose()).unwrap_err();
    assert!(error.contains("an identity stands where a recipient belongs"), "{error}");
    assert!(!error.contains("AGE-SECRET-KEY-1"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(100))]

    #[test]
    fn a_damaged_file_is_loaded_or_refused_but_never_breaks_the_reader(
        at in 0_usize..400,
        removed in 0_usize..12,
        inserted in "[\\[\\]{}=\"'\\\\.,# \n\t$a1é名-]{0,6}",
    ) {
        let job = format!("{SOURCE}password = {{ file = \"pg\" }}\n[backup]\ntargets = [\"nas\", 'b2-eu']\nquorum = 1\n\
            guard = {{ min_bytes = \"50MiB\" }}\n[retention]\nwithin = \"7d\"\n[restore_test]\nfrom = \"each\"\n\
            [[restore_test.check]]\nsql = \"\"\"\nselect '${{HOST}}'\"\"\"\n");
        let damage = |text: &str| {
            let characters: Vec<char> = text.chars().collect();
            let at = at.min(characters.len());
            let end = (at + removed).min(characters.len());
            characters[..at].iter().copied().chain(inserted.chars()).chain(characters[end..].iter().copied()).collect::<String>()
        };
        for (lifeboat, job) in [(LIFEBOAT.to_owned(), damage(&job)), (damage(LIFEBOAT), job.clone())] {
            match load(&lifeboat, &[("social.toml", &job)]) {
                Ok(config) => proptest::prop_assert!(config.show().contains("[jobs.social")),
                Err(error) => proptest::prop_assert!(error.starts_with("error: ")),
            }
        }
    }
}

#[test]
fn the_configuration_is_found_in_the_documented_order() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join(".config/lifeboat");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("lifeboat.toml"), "").unwrap();
    let named = folder.path().join("named.toml");
    std::fs::write(&named, "").unwrap();
    let (home_text, named_text) = (folder.path().to_str().unwrap(), named.to_str().unwrap());
    let environment = Environment::of([("HOME", home_text), ("LIFEBOAT_CONFIG", named_text)]);
    let explicit = home.join("lifeboat.toml");
    assert_eq!(Config::find_in(Some(&explicit), &environment).unwrap(), explicit);
    assert_eq!(Config::find_in(None, &environment).unwrap(), named);
    let environment = Environment::of([("HOME", home_text), ("LIFEBOAT_CONFIG", "")]);
    assert_eq!(Config::find_in(None, &environment).unwrap(), explicit);
    let error = Config::find_in(None, &Environment::of([("HOME", "/nonexistent")])).unwrap_err().to_string();
    assert_eq!(
        error,
        "no configuration found\n  looked at `lifeboat.toml`, `/nonexistent/.config/lifeboat/lifeboat.toml`, \
         `/etc/lifeboat/lifeboat.toml`\n  hint: run `lifeboat init`, or name one with `-c FILE` or `LIFEBOAT_CONFIG`"
    );
    let error = Config::find_in(Some(Path::new("/nonexistent/x.toml")), &environment).unwrap_err().to_string();
    assert_eq!(error, "configuration `/nonexistent/x.toml`, named by `-c`, is not there");
}

#[test]
fn the_example_and_every_job_in_jobs_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::load_in(&root.join("lifeboat.example.toml"), &Environment::of([])).unwrap();
    let names: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["documents", "etc", "queues", "repositories", "shops", "social", "uploads", "whole server"]);
    for job in &config.jobs {
        let kind = lifeboat::sources::registry::kind(&job.kind).unwrap();
        if let Err(error) = kind.configure(&job.source) {
            panic!("{}: {error}", job.name);
        }
    }
    let job = |name: &str| config.jobs.iter().find(|job| job.name.as_str() == name).unwrap();
    let social = job("social");
    assert_eq!(social.restore_test.as_ref().unwrap().checks.len(), 2);
    assert_eq!(social.backup.guard.min_bytes, Some(50 << 20));
    assert_eq!(job("whole server").backup.quorum, 1);
}
