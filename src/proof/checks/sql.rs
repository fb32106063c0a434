//! A query of the job's own that must give one value within bounds.

use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Executor, Row, TypeInfo, ValueRef};

use super::Restored;
use super::client::{connect, told};
use super::expectation::{self, Answer, Bound, Expectation, expectations};
use super::question::{self, Asked, Question};

/// A check that needs longer asks too much of a scratch instance.
const QUERY_LIMIT: Duration = Duration::from_mins(10);

/// A `[[restore_test.check]]` table as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    sql: String,
    name: Option<String>,
    database: Option<String>,
    min: Option<Bound>,
    max: Option<Bound>,
    equals: Option<Bound>,
    max_age: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Query {
    sql: String,
    database: Option<String>,
}

impl Question for Query {
    type Raw = Raw;
    type Value = Answer;

    fn read(raw: Raw) -> Result<Asked<Self>, String> {
        let sql = raw.sql.trim().trim_end_matches(';').to_owned();
        if sql.is_empty() {
            return Err("the check's `sql` is empty".to_owned());
        }
        let expectations = expectations(raw.min, raw.max, raw.equals, raw.max_age)?;
        let name = question::name(raw.name.as_deref(), &sql);
        Ok(Asked { name, question: Self { sql, database: raw.database }, expectations })
    }

    async fn ask(&self, restored: &Restored<'_>) -> Result<Answer, String> {
        let database = self.database.as_deref().or(restored.database);
        let mut connection = connect(restored.place, database, QUERY_LIMIT).await.map_err(|error| error.to_string())?;
        // The simple protocol answers every type as text.
        let mut rows = connection.fetch(sqlx::raw_sql(AssertSqlSafe(self.sql.as_str())));
        let row = rows.try_next().await.map_err(|error| told(&error))?;
        let row = row.ok_or_else(|| "no rows".to_owned())?;
        if row.len() != 1 {
            return Err(format!("{} columns where one value was expected", row.len()));
        }
        let value = row.try_get_raw(0).map_err(|error| told(&error))?;
        let answer = (!value.is_null())
            .then(|| {
                let text = value.as_str().map_err(|error| error.to_string())?.to_owned();
                Ok::<_, String>(Answer { type_name: value.type_info().name().to_owned(), text })
            })
            .transpose()?;
        if rows.try_next().await.map_err(|error| told(&error))?.is_some() {
            return Err("more than one row where one value was expected".to_owned());
        }
        answer.ok_or_else(|| "NULL".to_owned())
    }

    fn judge(answer: &Answer, expectations: &[Expectation], instant: Timestamp) -> (String, bool) {
        expectation::judge(expectations, answer, instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Section;

    fn judge(expectation: &str, type_name: &str, text: &str) -> (String, bool) {
        let section = Section::from_text(&format!("sql = 'select x'\n{expectation}")).unwrap();
        let check: Asked<Query> = section.parse().unwrap();
        let answer = Answer { type_name: type_name.to_owned(), text: text.to_owned() };
        Query::judge(&answer, &check.expectations, "2026-11-21T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn bounds_hold_by_the_type_of_the_value() {
        let cases = [
            ("min = 5", "INT8", "5", true),
            ("min = 5", "INT8", "4", false),
            ("max = 5.5", "NUMERIC", "5.50", true),
            ("max = 5.5", "FLOAT8", "5.51", false),
            ("max = 5", "FLOAT8", "NaN", false),
            ("equals = 9007199254740993", "NUMERIC", "9007199254740992", false),
            ("equals = '99999999999999999999'", "NUMERIC", "99999999999999999999", true),
            ("equals = 'ok'", "TEXT", "ok", true),
            ("equals = 'ok'", "TEXT", "OK", false),
            ("equals = true", "BOOL", "t", true),
            ("equals = true", "BOOL", "f", false),
            ("equals = 1", "BOOL", "t", false),
            ("min = 1\nmax = 3", "INT4", "2", true),
            ("min = 1\nmax = 3", "INT4", "4", false),
            ("min = '2026-01-01'", "DATE", "2026-01-02", true),
            ("equals = '{1,2}'", "INT4[]", "{1,2}", true),
        ];
        for (expectation, type_name, text, held) in cases {
            assert_eq!(judge(expectation, type_name, text).1, held, "{expectation}: {type_name} {text}");
        }
    }

    #[test]
    fn an_age_counts_back_from_the_snapshot() {
        let cases = [
            ("TIMESTAMPTZ", "2026-11-20 10:00:00+00", true),
            ("TIMESTAMPTZ", "2026-11-20 09:59:59.999+00", false),
            ("TIMESTAMPTZ", "2026-11-20 15:30:00.5+05:30", true),
            ("TIMESTAMP", "2026-11-21 11:00:00", true),
            ("DATE", "2026-11-20", false),
            ("TIMESTAMPTZ", "-infinity", false),
            ("INT8", "5", false),
        ];
        for (type_name, text, held) in cases {
            assert_eq!(judge("max_age = '26h'", type_name, text).1, held, "{text}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_compared_says_its_type() {
        let (seen, held) = judge("max_age = '26h'", "INT8", "5");
        assert!(!held);
        assert_eq!(seen, "5 of type INT8, which does not compare with at most 26h before the snapshot");
    }
}
