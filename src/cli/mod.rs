//! The command line: what was typed becomes types in [`args`]; each verb has a file. The only room that prints.

pub mod arg_types;
pub mod args;
pub mod backup;
pub mod catalog;
pub mod config;
pub mod demo;
pub mod init;
mod init_facts;
mod init_text;
pub mod init_verb;
pub mod jobs;
pub mod keys;
pub mod output;
pub mod progress;
pub mod report;
pub mod restore;
pub mod restore_test;
pub mod snapshots;
pub mod target;

use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::args::{BackupVerb, CatalogVerb, Cli, ConfigVerb, KeysVerb, TargetVerb, Verb};
use self::output::Output;
use self::progress::Reporter;
use crate::config::Config;
use crate::operations::{Class, OperationError, Session};

/// Runs one verb. Ctrl-C and SIGTERM cancel it; a second one ends the process at once.
pub async fn run(cli: Cli) -> ExitCode {
    let output = Output::new(&cli.global);
    let reporter = Arc::new(Reporter::new(output));
    let cancel = CancellationToken::new();
    if let Err(error) = listen_for_signals(&cancel) {
        return cannot_start(&error);
    }
    let result = dispatch(cli, output, Arc::clone(&reporter), cancel).await;
    reporter.clear();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.class.exit_code())
        }
    }
}

/// The operating system refused something before a verb could start.
pub fn cannot_start(error: &std::io::Error) -> ExitCode {
    use std::io::Write;
    writeln!(std::io::stderr(), "error: lifeboat cannot start\n  cause: {error}").ok();
    ExitCode::FAILURE
}

fn listen_for_signals(cancel: &CancellationToken) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancel = cancel.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                #[expect(clippy::exit, reason = "a person asked twice")]
                std::process::exit(130);
            }
            cancel.cancel();
        }
    });
    Ok(())
}

async fn dispatch(
    cli: Cli,
    output: Output,
    reporter: Arc<Reporter>,
    cancel: CancellationToken,
) -> Result<(), OperationError> {
    let global = cli.global;
    match &cli.verb {
        Verb::Init(args) => return init_verb::run(&output, &global, args).await,
        Verb::Demo(args) => return demo::run(&output, reporter, cancel, args).await,
        Verb::Config(ConfigVerb::Schema(args)) => {
            output.line(config::schema_text(args.file, &config::room_schemas()));
            return Ok(());
        }
        Verb::Keys(KeysVerb::New(args)) => return keys::new(&output, args),
        Verb::Completions(args) => {
            let mut script = vec![];
            clap_complete::generate(args.shell, &mut Cli::command(), "lifeboat", &mut script);
            output.raw(&script);
            return Ok(());
        }
        Verb::Man(args) => return man(output, args),
        _ => {}
    }
    let file = Config::find(global.config.as_deref())?;
    let settings = Config::load(&file)?;
    for warning in &settings.warnings {
        output.say(format!("warning: {warning}"));
    }
    match &cli.verb {
        Verb::Config(ConfigVerb::Show) => {
            output.line(config::show(&settings, global.json).trim_end());
            return Ok(());
        }
        Verb::Jobs => {
            jobs::list(&output, &settings);
            return Ok(());
        }
        Verb::Config(ConfigVerb::Check(args)) if !args.online => {
            config::check_rooms(&settings)?;
            output.say(config::check_summary(&settings));
            return Ok(());
        }
        _ => {}
    }
    let session = match &cli.verb {
        Verb::Backup(_) | Verb::Restore(_) | Verb::RestoreTest(_) | Verb::Target(_) if global.dry_run => {
            Session::look(settings, reporter, cancel).await?
        }
        _ => Session::open(settings, reporter, cancel).await?,
    };
    match &cli.verb {
        Verb::Backup(BackupVerb::Now(args)) => backup::now(&session, &output, &global, args).await,
        Verb::Snapshots(args) => snapshots::list(&session, &output, args).await,
        Verb::Restore(args) => restore::run(&session, &output, &global, args).await,
        Verb::RestoreTest(args) => restore_test::run(&session, &output, &global, args).await,
        Verb::Report(args) => report::write(&session, &output, args).await,
        Verb::Status => report::status(&session, &output).await,
        Verb::Config(ConfigVerb::Check(_)) => config::check_online(&session, &output).await,
        Verb::Keys(KeysVerb::Export(args)) => keys::export(&session, &output, args).await,
        Verb::Target(TargetVerb::Test(args)) => target::test(&session, &output, &global, args).await,
        Verb::Catalog(CatalogVerb::Rebuild(args)) => catalog::rebuild(&session, &output, args).await,
        Verb::Init(_)
        | Verb::Demo(_)
        | Verb::Jobs
        | Verb::Keys(KeysVerb::New(_))
        | Verb::Config(_)
        | Verb::Completions(_)
        | Verb::Man(_) => Ok(()),
    }
}

fn man(output: Output, args: &args::ManArgs) -> Result<(), OperationError> {
    let failed = |why: std::io::Error| OperationError::new(Class::Usage, "manual pages cannot be written").cause(why);
    if let Some(folder) = &args.directory {
        std::fs::create_dir_all(folder).map_err(failed)?;
        return clap_mangen::generate_to(Cli::command(), folder).map_err(failed);
    }
    let mut page = vec![];
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
    output.raw(&page);
    Ok(())
}
