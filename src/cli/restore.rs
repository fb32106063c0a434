//! `restore`.

use super::arg_types::{Destination as To, Selector as Choice, password_variable};
use super::args::{Global, RestoreArgs};
use super::output::Output;
use crate::domain::words::{counted, words};
use crate::domain::{Place, human_bytes};
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
            To::Server(url) => {
                let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
                // Another engine's password is not sent to this one.
                let password = password_variable(scheme).and_then(system::environment_secret);
                Destination::System(Place { url: url.clone(), password })
            }
        },
        only: args.only.clone(),
        overwrite: args.overwrite.clone(),
    };
    let outcome = restore::run(session, &request, global.dry_run).await?;
    output.result(&outcome, || text(&outcome, global.dry_run));
    Ok(())
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
        "{}: {verb} snapshot {} of {}: {} parts, {}, {}\n  from {}\n  to   {}\n",
        outcome.job,
        outcome.snapshot,
        outcome.of,
        outcome.parts,
        counted(outcome.rows, words(&outcome.kind).rows),
        human_bytes(outcome.bytes),
        outcome.from,
        outcome.to
    );
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
