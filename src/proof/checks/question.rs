//! What all kinds of checks that ask one value have in common: a name, expectations, and a result whatever happens.

use std::future::Future;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::expectation::{Expectation, told};
use super::{Check, Restored};
use crate::config::{ConfigError, Section};
use crate::domain::verdict::CheckResult;

/// One kind of question. Its table is written out by each kind: serde refuses unknown keys only of a struct that is whole.
pub(super) trait Question: Send + Sync + Sized + 'static {
    /// A `[[restore_test.check]]` table as written.
    type Raw: DeserializeOwned + JsonSchema;
    type Value: Send;
    fn read(raw: Self::Raw) -> Result<Asked<Self>, String>;
    /// The one value, or why there is none.
    fn ask(&self, restored: &Restored<'_>) -> impl Future<Output = Result<Self::Value, String>> + Send;
    /// What was seen, and whether every expectation held.
    fn judge(value: &Self::Value, expectations: &[Expectation], instant: Timestamp) -> (String, bool);
}

/// A question with what is expected of its answer.
#[derive(Debug, Clone)]
pub(super) struct Asked<Q> {
    pub(super) name: String,
    pub(super) question: Q,
    /// At least one.
    pub(super) expectations: Vec<Expectation>,
}

pub(super) fn configure<Q: Question>(section: &Section) -> Result<Box<dyn Check>, ConfigError> {
    Ok(Box::new(section.parse::<Asked<Q>>()?))
}

pub(super) fn schema<Q: Question>() -> schemars::Schema {
    schemars::schema_for!(Q::Raw)
}

/// A check's name in reports: as given, else the question itself.
pub(super) fn name(given: Option<&str>, question: &str) -> String {
    given.map_or_else(|| format!("`{question}`"), |name| format!("\"{name}\""))
}

impl<'de, Q: Question> Deserialize<'de> for Asked<Q> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Q::read(Q::Raw::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[async_trait]
impl<Q: Question> Check for Asked<Q> {
    fn name(&self) -> &str {
        &self.name
    }

    fn expected(&self) -> String {
        told(&self.expectations)
    }

    async fn run(&self, restored: &Restored<'_>) -> CheckResult {
        let (actual, held) = match self.question.ask(restored).await {
            Ok(value) => Q::judge(&value, &self.expectations, restored.instant),
            Err(why) => (why, false),
        };
        CheckResult { check: self.name.clone(), expected: self.expected(), actual, held }
    }
}
