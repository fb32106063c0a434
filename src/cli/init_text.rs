//! The files that `lifeboat init` writes, as text.

use std::fmt::Write as _;
use std::path::Path;

use url::Url;

use super::init_facts::{PostgresIntrospection, TableFacts};
use crate::domain::human_bytes;

/// So many tables get checks; more would only make the first look longer.
const CHECKED_TABLES_MAX: usize = 5;
/// A column whose newest value is older is not written every day, and a check on its age would fail from the start.
const FRESH_SECS_MAX: i64 = 26 * 3600;

/// A `[targets.NAME]` table.
pub(super) struct TargetTable {
    name: String,
    text: String,
}

/// A string as TOML writes it, and as the configuration reads it: a plain `${` is doubled, or it would name a variable.
fn quoted(text: &str) -> String {
    toml::Value::from(text.replace("${", "$${")).to_string()
}

/// The table for a target as typed; relative folders start at `base`, or at the configuration where there is none.
pub(super) fn target_table(typed: &str, base: Option<&Path>, others: &[TargetTable]) -> Result<TargetTable, String> {
    let (wanted, text) = match typed.split_once("://") {
        None => {
            let folder = base.map_or_else(|| typed.into(), |base| base.join(typed));
            let folder = folder.to_str().ok_or("the path is not UTF-8")?.to_owned();
            let name = Path::new(&folder).file_name().map_or_else(|| "disk".into(), |name| name.to_string_lossy());
            (name.into_owned(), format!("type = \"directory\"\npath = {}\n", quoted(&folder)))
        }
        Some(("s3", _)) => s3_table(typed)?,
        Some((scheme, _)) => {
            return Err(format!("scheme `{scheme}` is not known: name a folder, or `s3://bucket/prefix`"));
        }
    };
    let legal: String = wanted
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .take(60)
        .collect();
    let legal = if legal.is_empty() || legal == "each" { "target".to_owned() } else { legal };
    let name = (1..=others.len() + 1)
        .map(|number| if number == 1 { legal.clone() } else { format!("{legal}-{number}") })
        .find(|name| others.iter().all(|other| other.name != *name))
        .expect("there is one number more than there are other targets");
    Ok(TargetTable { name, text })
}

/// `s3://bucket/prefix?endpoint=URL&region=NAME&provider=NAME`: name and table.
fn s3_table(typed: &str) -> Result<(String, String), String> {
    let url = Url::parse(typed).map_err(|error| error.to_string())?;
    if url.password().is_some() || !url.username().is_empty() {
        return Err("keys do not belong into a URL; they are read from the environment".into());
    }
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or("the bucket's name is missing")?;
    let (mut endpoint, mut region, mut provider) = (None, None, None);
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "endpoint" => endpoint = Some(value.into_owned()),
            "region" => region = Some(value.into_owned()),
            "provider" => provider = Some(value.into_owned()),
            other => return Err(format!("unknown parameter `{other}`: expected `endpoint`, `region` or `provider`")),
        }
    }
    let provider = provider.unwrap_or_else(|| provider_of(endpoint.as_deref()).to_owned());
    let mut text = format!("type = \"s3\"\nprovider = {}\n", quoted(&provider));
    for (key, value) in [("endpoint", endpoint), ("region", region)] {
        if let Some(value) = value {
            let _infallible = writeln!(text, "{key} = {}", quoted(&value));
        }
    }
    let _infallible = writeln!(text, "bucket = {}", quoted(bucket));
    let prefix = url.path().trim_matches('/');
    if !prefix.is_empty() {
        let _infallible = writeln!(text, "prefix = {}", quoted(prefix));
    }
    text.push_str(
        "access_key_id = { env = \"AWS_ACCESS_KEY_ID\" }\nsecret_access_key = { env = \"AWS_SECRET_ACCESS_KEY\" }\n",
    );
    Ok((bucket.to_owned(), text))
}

fn provider_of(endpoint: Option<&str>) -> &'static str {
    let Some(endpoint) = endpoint else { return "aws" };
    [
        ("amazonaws.com", "aws"),
        ("backblazeb2.com", "backblaze"),
        ("r2.cloudflarestorage.com", "cloudflare-r2"),
        ("digitaloceanspaces.com", "digitalocean"),
        ("wasabisys.com", "wasabi"),
    ]
    .into_iter()
    .find(|(host, _)| endpoint.contains(host))
    .map_or("other", |(_, provider)| provider)
}

pub(super) fn lifeboat_file(recipient: &str, targets: &[TargetTable]) -> String {
    let mut text = format!(
        "\
# Lifeboat: where backups go and who can read them. What is backed up stands in jobs/, one file a job.
# `lifeboat config check` finds mistakes; `lifeboat config schema` helps editors. Relative paths start at this folder.

# Catalog, chunk cache and this machine's own keys: one folder for each configuration.
state = \"state\"

[keys]
# Who can restore: age recipients. Add a second one whose identity lies in a safe.
recipients = [{}]
# Needed to restore and to test restores. Take it away on a host that only writes backups.
identity = {{ file = \"keys/recovery.identity.txt\" }}

# Each target holds a full, independent copy. Choose them so that no one event takes all of them.
",
        quoted(recipient)
    );
    for target in targets {
        let _infallible = write!(text, "[targets.{}]\n{}\n", target.name, target.text);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A job's name for a database: what cannot stand in a name becomes `_`.
pub(super) fn job_name(database: &str) -> String {
    let name: String = database.chars().map(|c| if c == '/' || c == '@' || c.is_control() { '_' } else { c }).collect();
    // A leading dot would hide the file, and `.` and `..` are no names.
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if name.is_empty() => "postgres".to_owned(),
        None => name,
    }
}

/// `url` holds no password.
pub(super) fn job_file(url: &str, password_file: Option<&str>, facts: &PostgresIntrospection) -> String {
    let one_line = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let mut text = format!(
        "# Database {}: {} in {} tables when this file was written, on Postgres {}.\n\n[source]\ntype = \"postgres\"\nurl = {}\n",
        one_line(&facts.database),
        human_bytes(facts.size_bytes),
        facts.tables.len(),
        one_line(&facts.server_version),
        quoted(url)
    );
    match password_file {
        Some(path) => {
            let _infallible = writeln!(text, "password = {{ file = {} }}", quoted(path));
        }
        None => text.push_str("# password = { file = \"secrets/NAME.password\" }\n"),
    }
    text.push_str(
        "# exclude_tables = [\"public.sessions\"]   # recorded in every backup\n
[backup]
# targets = [\"...\"]      # default: all of lifeboat.toml
# quorum = 1             # how many must hold a backup for it to count; default: all
guard = { max_shrink = \"50%\" }   # a backup that is suddenly much smaller is not committed

# Restores each copy into a scratch server and compares every table with what was backed up.
[restore_test]
from = \"each\"
rpo = \"26h\"              # the newest backup may not be older
# rto = \"30m\"            # a restore may not take longer
",
    );
    let mut largest: Vec<&TableFacts> = facts.tables.iter().filter(|table| table.estimated_rows > 0).collect();
    largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (&a.schema, &a.name).cmp(&(&b.schema, &b.name))));
    for table in largest.into_iter().take(CHECKED_TABLES_MAX) {
        text.push_str(&checks(table));
    }
    text
}

fn checks(table: &TableFacts) -> String {
    let name = format!("{}.{}", identifier(&table.schema), identifier(&table.name));
    let mut text = format!(
        "\n[[restore_test.check]]\nsql = {}\nmin = {}\n",
        quoted(&format!("select count(*) from {name}")),
        // Statistics are estimates, and tables shrink a little: 80 % of what there is, at least one row.
        (table.estimated_rows / 5 * 4).max(1)
    );
    let fresh = table.moments.iter().find(|column| {
        // A value in the future is a plan, not a trace of activity.
        column.newest_age_secs.is_some_and(|age| (0..FRESH_SECS_MAX).contains(&age))
    });
    if let Some(column) = fresh {
        let sql = format!("select max({}) from {name}", identifier(&column.name));
        let _infallible = write!(text, "\n[[restore_test.check]]\nsql = {}\nmax_age = \"26h\"\n", quoted(&sql));
    }
    text
}

/// An identifier in SQL, quoted where it has to be.
fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The reserved key words of Postgres 18 (appendix C of its manual) that are plain words a table may be named after.
const RESERVED: [&str; 101] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "system_user",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
    "authorization",
    "binary",
    "collation",
    "concurrently",
    "cross",
    "current_schema",
    "freeze",
    "full",
    "ilike",
    "inner",
    "is",
    "isnull",
    "join",
    "left",
    "like",
    "natural",
    "notnull",
    "outer",
    "overlaps",
    "right",
    "similar",
    "tablesample",
    "verbose",
];
