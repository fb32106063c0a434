//! The archive of `pg_dump`: everything but bulk data, restored by `pg_restore`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::feed::Feed;
use super::one_line;
use super::statements::{for_database, statements};
use crate::domain::{PartName, PartStore};
use crate::sources::postgres::client::Client;
use crate::sources::postgres::wire::ConnectOptions;
use crate::sources::{Context, SourceError};
use crate::system::process::ProcessError;

/// Listing a table of contents, or writing it out as SQL.
const READ_LIMIT: Duration = Duration::from_mins(30);
/// Building every index of a large database; a stuck run is ended by whoever started it.
const RESTORE_LIMIT: Duration = Duration::from_hours(72);

/// An archive in a private file, because `pg_restore` reads it in parallel and out of order.
pub(super) struct Archive {
    file: PathBuf,
    client: Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Pre,
    Post,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre-data",
            Self::Post => "post-data",
        }
    }
}

/// What stands on a database itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) statements: Vec<String>,
    /// What cannot be told to a server in UTF-8, as far as it can be shown.
    pub(super) unreadable: Vec<String>,
}

impl Properties {
    /// From the SQL of `pg_restore --create`, which is in the encoding of the archive: the texts of a database in another
    /// encoding than UTF-8 may have been written from within it. What is no UTF-8 is never sent half-read.
    fn read(sql: &[u8], name: &str) -> Self {
        let text = String::from_utf8_lossy(sql);
        let whole = matches!(text, Cow::Borrowed(_));
        let ours = statements(&text).into_iter().filter(|statement| !statement.starts_with("CREATE DATABASE"));
        let ours = ours.filter_map(|statement| for_database(statement, name));
        let (statements, unreadable) = ours.partition(|statement| whole || !statement.contains('\u{fffd}'));
        Self { statements, unreadable }
    }
}

impl Archive {
    pub(super) async fn fetch(
        context: &Context,
        store: &Arc<dyn PartStore>,
        part: &PartName,
        client: &Client,
    ) -> Result<Self, SourceError> {
        let file = context.work.join(format!("archive-{:016x}", rand::random::<u64>()));
        let failed = |error: std::io::Error| failed(&format!("file `{}`", file.display()), &error.to_string());
        let mut writer = tokio::fs::File::create_new(&file).await.map_err(failed)?;
        let mut feed = Feed::start(store, part);
        while let Some(piece) = feed.next().await? {
            writer.write_all(&piece).await.map_err(failed)?;
        }
        writer.flush().await.map_err(failed)?;
        Ok(Self { file: file.clone(), client: client.clone() })
    }

    /// Restores one section into the database of `options`; any error of any statement is an error.
    pub(super) async fn restore(
        &self,
        context: &Context,
        options: &ConnectOptions,
        section: Section,
        superuser: bool,
    ) -> Result<(), SourceError> {
        let list = self.list(section, superuser).await?;
        let mut program = self
            .client
            .program("pg_restore")
            .args(["--exit-on-error", "--no-tablespaces"])
            .arg(format!("--section={}", section.name()))
            .arg("--use-list")
            .arg(&list)
            .arg("--dbname")
            .arg(format!("dbname={}", conninfo_quote(&options.database)));
        if !superuser {
            // Only a superuser can give things away to any role.
            program = program.arg("--no-owner");
        }
        if section == Section::Post {
            program = program
                .arg(format!("--jobs={}", if attaches_indexes(&list).await? { 1 } else { context.lanes.max(1) }));
        }
        let program = options.environment(program.arg(&self.file)).env(
            "PGOPTIONS",
            "-c synchronous_commit=off -c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0 \
             -c maintenance_work_mem=128MB",
        );
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(SourceError::Cancelled),
            done = program.run(RESTORE_LIMIT) => {
                done.map(drop).map_err(|error| restore_error(section, &options.place(), &error))
            }
        }
    }

    /// The entries that are restored, as a file: what only a superuser may do is left out for others.
    async fn list(&self, section: Section, superuser: bool) -> Result<PathBuf, SourceError> {
        let program = self.client.program("pg_restore").arg("--list").arg(format!("--section={}", section.name()));
        let output = program.arg(&self.file).clear_env().run(READ_LIMIT).await.map_err(|error| unreadable(&error))?;
        let mut kept = String::new();
        for line in String::from_utf8_lossy(&output).lines() {
            if superuser || !line.contains(" COMMENT - EXTENSION ") {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        let file = self.file.with_extension(section.name());
        tokio::fs::write(&file, kept).await.map_err(|error| failed("the list of the archive", &error.to_string()))?;
        Ok(file)
    }

    /// The database's own comment, grants and settings, as statements for a database called `name`.
    pub(super) async fn properties(&self, recorded: &str, name: &str) -> Result<Properties, SourceError> {
        let Some(file) = self.on_one_line(recorded).await? else {
            return Ok(Properties { unreadable: vec!["all that stands on it".to_owned()], ..Properties::default() });
        };
        let program = self.client.program("pg_restore").args(["--create", "--no-tablespaces", "--section=pre-data"]);
        let whole = self.list_of_database().await?;
        let program = program.arg("--use-list").arg(whole).args(["--file", "-"]).arg(&file).clear_env();
        let output = program.run(READ_LIMIT).await.map_err(|error| unreadable(&error))?;
        Ok(Properties::read(&output, name))
    }

    /// The archive, or a copy that `pg_restore --create` can read; none where that cannot be made.
    async fn on_one_line(&self, recorded: &str) -> Result<Option<PathBuf>, SourceError> {
        if !recorded.contains(['\n', '\r']) {
            return Ok(Some(self.file.clone()));
        }
        let (file, copy, name) = (self.file.clone(), self.file.with_extension("one-line"), recorded.to_owned());
        let copied = tokio::task::spawn_blocking(move || Ok(one_line::copy(&file, &copy, &name)?.then_some(copy)));
        let copied: std::io::Result<_> = copied.await.unwrap_or_else(|error| Err(error.into()));
        copied.map_err(|error| failed("a copy of the archive", &error.to_string()))
    }

    /// `--create` writes these by itself; from the list only the grants on the database remain.
    async fn list_of_database(&self) -> Result<PathBuf, SourceError> {
        let program = self.client.program("pg_restore").args(["--list", "--create"]);
        let output = program.arg(&self.file).clear_env().run(READ_LIMIT).await.map_err(|error| unreadable(&error))?;
        let is_ours = |line: &&str| {
            [
                " DATABASE ",
                " DATABASE PROPERTIES ",
                " COMMENT - DATABASE ",
                " ACL - DATABASE ",
                " SECURITY LABEL - DATABASE ",
            ]
            .iter()
            .any(|kind| line.contains(kind))
        };
        let lines: Vec<String> = String::from_utf8_lossy(&output).lines().filter(is_ours).map(str::to_owned).collect();
        let file = self.file.with_extension("database");
        tokio::fs::write(&file, lines.join("\n") + "\n")
            .await
            .map_err(|error| failed("the list of the archive", &error.to_string()))?;
        Ok(file)
    }

    /// A section as SQL text.
    pub(super) async fn sql(&self, section: Section) -> Result<String, SourceError> {
        let program = self.client.program("pg_restore").args(["--no-tablespaces", "--file", "-"]);
        let program = program.arg(format!("--section={}", section.name())).arg(&self.file).clear_env();
        let output = program.run(READ_LIMIT).await.map_err(|error| unreadable(&error))?;
        String::from_utf8(output).map_err(|error| failed("the archive of the snapshot", &error.to_string()))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        for extension in ["", "pre-data", "post-data", "database", "one-line"] {
            // The caller removes the whole folder; this only frees the disk sooner.
            drop(std::fs::remove_file(self.file.with_extension(extension)));
        }
    }
}

/// Whether indexes are attached to those of partitioned tables. Done in parallel, two sessions may each miss that the other has
/// made the last missing partition's index valid, and the index above stays invalid for ever.
async fn attaches_indexes(list: &Path) -> Result<bool, SourceError> {
    let list = tokio::fs::read_to_string(list);
    Ok(list.await.map_err(|error| failed("the list of the archive", &error.to_string()))?.contains(" INDEX ATTACH "))
}

fn restore_error(section: Section, place: &str, error: &ProcessError) -> SourceError {
    let why = error.to_string();
    if let Some(name) = why.split("extension \"").nth(1).and_then(|rest| rest.split_once("\" is not available")) {
        return SourceError::Lacks(vec![format!("extension {}", name.0)]);
    }
    let hint = if why.contains("role \"") && why.contains("does not exist") {
        "create the role first, or restore as a superuser, who creates the roles of the snapshot"
    } else if why.contains("permission denied") || why.contains("must be ") {
        "restore as a superuser or as the owner of the database"
    } else {
        ""
    };
    SourceError::Failed { what: format!("{} of {place}", section.name()), why, hint: hint.to_owned() }
}

fn unreadable(error: &ProcessError) -> SourceError {
    failed("the archive of the snapshot", &error.to_string())
}

fn failed(what: &str, why: &str) -> SourceError {
    SourceError::Failed { what: what.to_owned(), why: why.to_owned(), hint: String::new() }
}

/// A value of a libpq connection string.
pub(super) fn conninfo_quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_a_database_is_renamed_and_what_is_no_utf8_is_set_aside() {
        let sql =
            b"SET client_encoding = 'LATIN1';\nCREATE DATABASE \"a\x8d \" WITH ENCODING = 'LATIN1';\n\\connect x\n\
            ALTER DATABASE \"a\x8d \" OWNER TO k;\nCOMMENT ON DATABASE \"a\x8d \" IS 'n\xefve';\n";
        let expected = Properties {
            statements: vec!["ALTER DATABASE \"b\" OWNER TO k".to_owned()],
            unreadable: vec!["COMMENT ON DATABASE \"b\" IS 'n\u{fffd}ve'".to_owned()],
        };
        assert_eq!(Properties::read(sql, "b"), expected);
        // A replacement character that the text itself holds is nothing unreadable.
        let sql = "COMMENT ON DATABASE a IS '\u{fffd}';";
        assert_eq!(Properties::read(sql.as_bytes(), "b").unreadable, Vec::<String>::new());
    }
}
