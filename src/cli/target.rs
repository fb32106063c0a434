//! `target test`.

use serde::Serialize;

use super::args::{Global, TargetTestArgs};
use super::output::Output;
use crate::domain::TargetName;
use crate::operations::session::read_info;
use crate::operations::{Class, OperationError, Session, targets_known};

#[derive(Serialize)]
struct Tried {
    target: String,
    place: String,
    repository: Option<String>,
    /// The place was not there, and was made; under `--dry-run`: would be.
    created: bool,
}

pub async fn test(
    session: &Session,
    output: &Output,
    global: &Global,
    args: &TargetTestArgs,
) -> Result<(), OperationError> {
    let names: Vec<TargetName> =
        if args.targets.is_empty() { session.config.targets.keys().cloned().collect() } else { args.targets.clone() };
    let mut failures = vec![];
    for name in &names {
        let tried = async {
            let target = session.target(name).await?;
            let created = targets_known::will_be_created(&session.config.state, &target).await?;
            if !global.dry_run {
                targets_known::prepare(&session.config.state, &target).await?;
                target.target.probe().await?;
            }
            let info = if created { None } else { read_info(&target).await? };
            let repository = info.map(|info| info.repository);
            Ok::<_, OperationError>(Tried {
                target: name.to_string(),
                place: target.target.place(),
                repository,
                created,
            })
        };
        match tried.await {
            Ok(tried) => output.result(&tried, || {
                let holds =
                    tried.repository.as_ref().map_or("no repository yet".to_owned(), |id| format!("repository {id}"));
                let done = match (tried.created, global.dry_run) {
                    (true, true) => "will be created",
                    (false, true) => "is there; dry run: nothing was written",
                    (true, false) => "created; written, read, listed and deleted",
                    (false, false) => "written, read, listed and deleted",
                };
                format!("{}: {}: {done}; holds {holds}", tried.target, tried.place)
            }),
            Err(error) => {
                let error = error.during(format!("target `{name}` does not work"));
                output.error(&error);
                failures.push(error);
            }
        }
    }
    match failures.len() {
        0 => Ok(()),
        count if count < names.len() => {
            Err(OperationError::new(Class::Partial, format!("{count} of {} targets do not work", names.len())))
        }
        count => Err(OperationError::new(failures[0].class, format!("{count} of {count} targets do not work"))),
    }
}
