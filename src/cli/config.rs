//! `lifeboat config check`, `config show` and `config schema`.

use super::args::SchemaFile;
use super::output::Output;
use crate::config::{Config, RoomSchemas, SchemaOf, schema};
use crate::operations::{self, Class, OperationError, Session};
use crate::{proof, scratch, sources, targets};

/// The resolved configuration, secrets hidden: TOML, or JSON on one line.
pub fn show(config: &Config, json: bool) -> String {
    if json { config.to_json().to_string() } else { config.show() }
}

/// A JSON Schema, indented.
pub fn schema_text(file: SchemaFile, rooms: &RoomSchemas) -> String {
    let of = match file {
        SchemaFile::Lifeboat => SchemaOf::Lifeboat,
        SchemaFile::Job => SchemaOf::Job,
    };
    format!("{:#}", schema(of, rooms))
}

/// What `config check` says of a configuration that is in order: a line for each warning, then the summary.
pub fn check_summary(config: &Config) -> String {
    let mut lines: Vec<String> = config.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    lines.push(format!(
        "{}: {} and {} are in order",
        config.file.display(),
        counted(config.targets.len(), "target"),
        counted(config.jobs.len(), "job")
    ));
    lines.join("\n")
}

pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The schemas of the tables that other rooms own.
pub fn room_schemas() -> RoomSchemas {
    let named = |name: &'static str, schema| (name.to_owned(), schema);
    RoomSchemas {
        sources: sources::registry::kinds().iter().map(|kind| named(kind.name(), kind.schema())).collect(),
        targets: targets::registry::schemas().into_iter().map(|(name, schema)| named(name, schema)).collect(),
        checks: proof::checks::schemas().into_iter().map(|(name, schema)| named(name, schema)).collect(),
        scratch: scratch::registry::kinds().iter().map(|kind| named(kind.engine(), kind.schema())).collect(),
    }
}

/// Checks every table that another room owns, without touching a network. All mistakes are told, not only the first.
pub fn check_rooms(config: &Config) -> Result<(), OperationError> {
    let mut mistakes = vec![];
    for job in &config.jobs {
        let configured =
            operations::session::kind(&job.kind).and_then(|kind| Ok(kind.configure(&job.source).map(drop)?));
        mistakes.extend(configured.err().map(|error| error.what));
        mistakes.extend(operations::restore_test::check_sample(job).err().map(|error| error.to_string()));
        let checks = job.restore_test.iter().flat_map(|policy| &policy.checks);
        mistakes.extend(checks.filter_map(|check| Some(proof::checks::configure(check, &job.kind).err()?.rendered)));
    }
    for section in config.targets.values() {
        mistakes.extend(targets::registry::check(section).err().map(|error| error.rendered));
    }
    for (engine, section) in &config.scratch.engines {
        let checked = scratch::registry::kind(engine).map(|kind| kind.check(section));
        mistakes.extend(checked.and_then(Result::err).map(|error| error.rendered));
    }
    if mistakes.is_empty() { Ok(()) } else { Err(OperationError::new(Class::Config, mistakes.join("\n\n"))) }
}

/// Reads the secrets, reaches every target and every source; writes nothing but what a target's probe takes away again.
pub async fn check_online(session: &Session, output: &Output) -> Result<(), OperationError> {
    check_rooms(&session.config)?;
    let mut failures = vec![];
    let names: Vec<_> = session.config.targets.keys().cloned().collect();
    for name in names {
        let probed = async {
            let target = session.target(&name).await?;
            if operations::targets_known::will_be_created(&session.config.state, &target).await? {
                return Ok(format!("{} will be created", target.target.place()));
            }
            target.target.probe().await?;
            Ok::<_, OperationError>(format!("{} answers", target.target.place()))
        };
        match probed.await {
            Ok(state) => output.say(format!("target {name}: {state}")),
            Err(error) => failures.push(error.during(format!("target `{name}`"))),
        }
    }
    for job in &session.config.jobs {
        match operations::backup::plan(session, job).await {
            Ok(plan) => {
                output.say(format!("job {}: {} answers: {}", job.name, plan.source, plan.preflight.facts.join(", ")));
            }
            Err(error) => failures.push(error.during(format!("job `{}`", job.name))),
        }
    }
    if session.config.keys.identity.is_some() {
        match session.identities().await {
            Ok(_) => output.say("identity: reads"),
            Err(error) => failures.push(error),
        }
    }
    for failure in &failures {
        output.error(failure);
    }
    match failures.len() {
        0 => Ok(()),
        count => Err(OperationError::new(failures[0].class, format!("{count} of the checks failed"))),
    }
}
