//! One kind's query, put together from its parts.

use super::fragment::Fragments;

/// Pairs that one call of `jsonb_build_object` takes: a function has at most 100 arguments.
const PAIRS_MAX: usize = 50;

#[derive(Debug)]
pub(super) struct Query {
    pub(super) kind: &'static str,
    /// The expression of the name, text, unique within the kind.
    name: String,
    from: String,
    filters: Vec<String>,
    attributes: Vec<(&'static str, String)>,
}

impl Query {
    pub(super) fn new(kind: &'static str, name: impl Into<String>, from: impl Into<String>) -> Self {
        Self { kind, name: name.into(), from: from.into(), filters: vec![], attributes: vec![] }
    }

    /// Adds a condition; all must hold.
    pub(super) fn only(mut self, condition: impl Into<String>) -> Self {
        self.filters.push(condition.into());
        self
    }

    /// Adds an attribute; where the expression is null, the object has no such attribute.
    pub(super) fn with(mut self, name: &'static str, expression: impl Into<String>) -> Self {
        self.attributes.push((name, expression.into()));
        self
    }

    /// Adds an attribute that not every version has.
    pub(super) fn with_if(self, has: bool, name: &'static str, expression: impl Into<String>) -> Self {
        if has { self.with(name, expression) } else { self }
    }

    /// Adds several attributes from a list.
    pub(super) fn with_all(self, attributes: &[(&'static str, &str)]) -> Self {
        attributes.iter().fold(self, |query, (name, expression)| query.with(name, *expression))
    }

    pub(super) fn sql(&self, fragments: &Fragments) -> String {
        let objects: Vec<String> = self
            .attributes
            .chunks(PAIRS_MAX)
            .map(|pairs| {
                let pairs: Vec<String> =
                    pairs.iter().map(|(name, expression)| format!("'{name}', {expression}")).collect();
                format!("jsonb_build_object({})", pairs.join(", "))
            })
            .collect();
        let attributes = if objects.is_empty() { "'{}'::jsonb".to_owned() } else { objects.join(" || ") };
        let filter = if self.filters.is_empty() { "true".to_owned() } else { self.filters.join(" AND ") };
        format!(
            "{prelude}SELECT name, attributes FROM (\
             SELECT ({name})::text AS name, jsonb_strip_nulls({attributes})::text AS attributes \
             FROM {from} WHERE {filter}) AS objects ORDER BY convert_to(name, 'UTF8')",
            prelude = fragments.prelude(),
            name = self.name,
            from = self.from,
        )
    }
}
