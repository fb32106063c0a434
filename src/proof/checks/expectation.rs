//! What a check expects of one value, and whether it holds.

use std::cmp::Ordering;
use std::fmt;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectations of a table as written: at least one.
pub(super) fn expectations(
    min: Option<Bound>,
    max: Option<Bound>,
    equals: Option<Bound>,
    max_age: Option<String>,
) -> Result<Vec<Expectation>, String> {
    let mut expectations = vec![];
    expectations.extend(min.map(Expectation::Min));
    expectations.extend(max.map(Expectation::Max));
    expectations.extend(equals.map(Expectation::Equals));
    if let Some(text) = max_age {
        let age =
            age(&text).ok_or_else(|| format!("`max_age = \"{text}\"` is not a duration such as `26h` or `7d`"))?;
        expectations.push(Expectation::MaxAge { age, text });
    }
    if expectations.is_empty() {
        return Err("the check expects nothing: give `min`, `max`, `equals` or `max_age`".to_owned());
    }
    Ok(expectations)
}

/// `>= 5, at most 26h before the snapshot`.
pub(super) fn told(expectations: &[Expectation]) -> String {
    expectations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A day counts as 24 hours: an age is not a date.
fn age(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    (!age.is_negative()).then_some(age)
}

/// A value that a configuration file can hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Bound {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value}"),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Expectation {
    Min(Bound),
    Max(Bound),
    Equals(Bound),
    MaxAge { age: SignedDuration, text: String },
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min(bound) => write!(f, ">= {bound}"),
            Self::Max(bound) => write!(f, "<= {bound}"),
            Self::Equals(bound) => write!(f, "= {bound}"),
            Self::MaxAge { text, .. } => write!(f, "at most {text} before the snapshot"),
        }
    }
}

/// One value as the server writes it, with its type's name.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) type_name: String,
    pub(super) text: String,
}

/// What was seen, and whether every expectation held.
pub(super) fn judge(expectations: &[Expectation], answer: &Answer, instant: Timestamp) -> (String, bool) {
    let mut seen = answer.shown();
    let mut held = true;
    for expectation in expectations {
        let verdict = match expectation {
            Expectation::Min(bound) => answer.compare(bound).map(Ordering::is_ge),
            Expectation::Max(bound) => answer.compare(bound).map(Ordering::is_le),
            Expectation::Equals(bound) => answer.compare(bound).map(Ordering::is_eq),
            Expectation::MaxAge { age, .. } => answer.timestamp().map(|at| instant.duration_since(at) <= *age),
        };
        match verdict {
            Some(true) => {}
            Some(false) => held = false,
            None => {
                held = false;
                seen = format!("{seen} of type {}, which does not compare with {expectation}", answer.type_name);
            }
        }
    }
    (seen, held)
}

impl Answer {
    fn shown(&self) -> String {
        match self.type_name.as_str() {
            "BOOL" => (self.text == "t").to_string(),
            _ => self.text.clone(),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self.type_name.as_str(), "INT2" | "INT4" | "INT8" | "NUMERIC" | "FLOAT4" | "FLOAT8" | "OID")
    }

    fn is_text(&self) -> bool {
        matches!(self.type_name.as_str(), "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "\"CHAR\"" | "UNKNOWN" | "UUID")
    }

    /// `None` where the two are of kinds that do not compare.
    fn compare(&self, bound: &Bound) -> Option<Ordering> {
        if self.type_name == "BOOL" {
            let Bound::Bool(expected) = bound else { return None };
            return Some((self.text == "t").cmp(expected));
        }
        if self.is_number() {
            return compare_numbers(&self.text, &bound.to_string());
        }
        let Bound::Text(expected) = bound else { return None };
        if self.is_text() {
            return Some(self.text.as_str().cmp(expected.as_str()));
        }
        if let (Some(actual), Some(expected)) = (self.timestamp(), timestamp(expected)) {
            return Some(actual.cmp(&expected));
        }
        // Any other type is equal to its text and has no order that we know.
        (self.text == *expected).then_some(Ordering::Equal)
    }

    fn timestamp(&self) -> Option<Timestamp> {
        matches!(self.type_name.as_str(), "TIMESTAMPTZ" | "TIMESTAMP" | "DATE").then(|| timestamp(&self.text)).flatten()
    }
}

/// With an offset as written; without one, UTC, as the session is; a date is its midnight.
fn timestamp(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Exactly where both are whole numbers, as floating point otherwise; `None` for what is no number, as NaN.
fn compare_numbers(one: &str, other: &str) -> Option<Ordering> {
    if let (Ok(one), Ok(other)) = (one.parse::<i128>(), other.parse::<i128>()) {
        return Some(one.cmp(&other));
    }
    one.parse::<f64>().ok()?.partial_cmp(&other.parse::<f64>().ok()?)
}
