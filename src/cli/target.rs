//! `target test`.

use serde::Serialize;

use super::args::TargetTestArgs;
use super::output::Output;
use crate::domain::TargetName;
use crate::operations::session::read_info;
use crate::operations::{Class, OperationError, Session};

#[derive(Serialize)]
struct Tried {
    target: String,
    place: String,
    repository: Option<String>,
}

pub async fn test(session: &Session, output: &Output, args: &TargetTestArgs) -> Result<(), OperationError> {
    let names: Vec<TargetName> =
        if args.targets.is_empty() { session.config.targets.keys().cloned().collect() } else { args.targets.clone() };
    let mut failures = vec![];
    for name in &names {
        let tried = async {
            let target = session.target(name).await?;
            target.target.probe().await.map_err(OperationError::from)?;
            let info = read_info(&target).await?;
            Ok::<_, OperationError>(Tried {
                target: name.to_string(),
                place: target.target.place(),
                repository: info.map(|info| info.repository),
            })
        };
        match tried.await {
            Ok(tried) => output.result(&tried, || {
                let holds =
                    tried.repository.as_ref().map_or("no repository yet".to_owned(), |id| format!("repository {id}"));
                format!("{}: {}: written, read, listed and deleted; holds {holds}", tried.target, tried.place)
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
