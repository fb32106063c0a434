//! The command line as the documentation writes it.

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split(' '))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_and_every_argument_explains_itself() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn every_verb_parses_as_the_documentation_writes_it() {
    for line in [
        "lifeboat init",
        "lifeboat init dir --postgres postgres://u@h/d --target /mnt/a --target s3://b/p",
        "lifeboat demo",
        "lifeboat config check --online",
        "lifeboat config show",
        "lifeboat config schema job",
        "lifeboat backup now",
        "lifeboat backup now social other --dry-run",
        "lifeboat snapshots social",
        "lifeboat restore social --to ./out",
        "lifeboat restore social@latest --to postgres://u@h/d --from nas --only a b --overwrite d",
        "lifeboat restore-test social --from each --keep-scratch",
        "lifeboat report --since 7d --format html,md,json,junit --out reports",
        "lifeboat status --json",
        "lifeboat -c other.toml -vv jobs",
        "lifeboat keys new --out id.txt",
        "lifeboat keys export --out folder",
        "lifeboat target test nas",
        "lifeboat catalog rebuild",
        "lifeboat completions bash",
        "lifeboat man pages",
        "lifeboat restore social --to x -n --yes --no-input -q",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn usage_errors_exit_with_status_2() {
    for line in [
        "lifeboat",
        "lifeboat backups",
        "lifeboat scrub",
        "lifeboat backup now a/b",
        "lifeboat restore social",
        "lifeboat restore social@yesterday --to x",
        "lifeboat restore social --to mysql://h",
        "lifeboat report --since 7",
        "lifeboat report --format pdf",
        "lifeboat -q -v jobs",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn a_password_on_the_command_line_is_refused_and_not_repeated() {
    for url in [
        "postgres://u:hunter2@h/d",
        "postgres://h/d?password=hunter2",
        "postgres://u:hunter2@h:x/d",
        "postgres://u:hunter2@/d?host=/tmp/sock",
    ] {
        let error = parse(&format!("lifeboat restore social --to {url}")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("the URL after `--to`") && !text.contains("hunter2"), "{text}");
    }
    for url in ["postgres://u@%2Ftmp%2Fsock:5432/d", "postgres://%2Ftmp/d", "postgres://u@/d?host=/tmp/sock"] {
        assert!(parse(&format!("lifeboat restore social --to {url}")).is_ok(), "{url}");
    }
    assert_eq!("./out".parse::<Destination>().unwrap(), Destination::Directory("./out".into()));
}
