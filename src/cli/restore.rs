//! `restore`.

use super::arg_types::{Destination as To, Selector as Choice, password_variable};
use super::args::{Global, RestoreArgs};
use super::output::Output;
use crate::domain::words::{counted, words};
use crate::domain::{Place, Secret, human_bytes};
use crate::operations::restore::{self, Destination, Request, RestoreOutcome};
use crate::operations::snapshots::Selector;
use crate::operations::{OperationError, Session};
use crate::system;

pub async fn run(
    session: &Session,
    output: &Output,
    global: &Global,
    args: &RestoreArgs,
) -> Result<(), OperationError> {
    let request = Request {
        job: args.what.job.clone(),
        selector: selector(&args.what.selector),
        from: args.from.clone(),
        to: match &args.to {
            To::Directory(folder) => Destination::Folder(folder.clone()),
            To::Server(url) => Destination::System(place(url)),
        },
        only: args.only.clone(),
        overwrite: args.overwrite.clone(),
    };
    let outcome = restore::run(session, &request, global.dry_run).await?;
    output.result(&outcome, || text(&outcome, global.dry_run));
    Ok(())
}

/// The place that a URL names, with the password that the environment has for it.
fn place(url: &str) -> Place {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    // Another engine's password is not sent to this one.
    let password = password_variable(scheme).and_then(system::environment_secret);
    if scheme == "s3"
        && let Some(secret) = &password
    {
        return bucket(rest, secret);
    }
    Place { url: url.to_owned(), password }
}

/// A bucket, with the keys that every tool of the field takes from the environment; without them the job's own count.
fn bucket(rest: &str, secret: &Secret) -> Place {
    let named = rest.split('/').next().is_some_and(|host| host.contains('@'));
    let id = system::environment_secret("AWS_ACCESS_KEY_ID").filter(|_| !named);
    let url = match &id {
        Some(id) => format!("s3://{}@{rest}", id.expose()),
        None => format!("s3://{rest}"),
    };
    let password = match system::environment_secret("AWS_SESSION_TOKEN") {
        Some(token) => Secret::new(format!("{}\n{}", secret.expose(), token.expose())),
        None => secret.clone(),
    };
    Place { url, password: (named || id.is_some()).then_some(password) }
}

pub fn selector(selector: &Choice) -> Selector {
    match selector {
        Choice::Latest => Selector::Latest,
        Choice::Id(id) => Selector::Id(id.to_string()),
        Choice::At(at) => Selector::At(*at),
    }
}

fn text(outcome: &RestoreOutcome, dry_run: bool) -> String {
    let verb = if dry_run { "would restore" } else { "restored" };
    let mut text = format!(
        "{}: {verb} snapshot {} of {}: {}, {}{}\n  from {}\n  to   {}\n",
        outcome.job,
        outcome.snapshot,
        outcome.of,
        counted(outcome.parts as u64, ["part", "parts"]),
        words(&outcome.kind).counted_first(outcome.rows),
        human_bytes(outcome.bytes),
        outcome.from,
        outcome.to
    );
    for line in &outcome.plan {
        text.push_str(&format!("  {line}\n"));
    }
    for warning in &outcome.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    if let Some(readme) = outcome.files.iter().find(|file| file.ends_with("README.md")) {
        text.push_str(&format!("  how to load the files: {}\n", readme.display()));
    }
    if dry_run {
        text.push_str("  dry run: nothing was written\n");
    }
    text
}
