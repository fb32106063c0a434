//! What the tables `[scratch.<engine>]` have in common: settings that keep a server in its folder, sizes, time spans.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ScratchError;
use crate::config::{ConfigError, Section};
use crate::domain::parse_bytes;

/// How long an instance may live when the table does not say.
pub(super) const LOAD_TIMEOUT: Duration = Duration::from_hours(12);

/// What an engine's table may hold.
pub(super) struct Rules {
    /// As in `[scratch.<engine>]`.
    pub(super) engine: &'static str,
    /// What would let the instance out of its folder, make it keep or lose data by itself, or us lose it; in lower case.
    pub(super) fixed: &'static [&'static str],
    /// One of these that has a key of its own in the table, and what to do instead.
    pub(super) instead: Option<(&'static str, &'static str)>,
    /// What a setting's name may hold beside letters and digits.
    pub(super) marks: &'static str,
    pub(super) memory_mebibytes_min: u64,
}

impl Rules {
    /// Checks the settings, whose values are text by now.
    pub(super) fn settings(
        &self,
        raw: impl Iterator<Item = (String, String)>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut settings = BTreeMap::new();
        for (name, value) in raw {
            self.check_setting(&name, &value)?;
            settings.insert(name, value);
        }
        Ok(settings)
    }

    fn check_setting(&self, name: &str, value: &str) -> Result<(), ConfigError> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || self.marks.contains(c)) {
            return Err(self.bad(&format!("`{name}` is not the name of a server setting")));
        }
        if self.fixed.contains(&name.to_ascii_lowercase().as_str()) {
            let instead = self.instead.filter(|(setting, _)| name.eq_ignore_ascii_case(setting));
            let instead = instead.map(|(_, advice)| format!("; {advice}")).unwrap_or_default();
            let why = format!("`{name}` is set by Lifeboat: a scratch server stays in its own folder{instead}");
            return Err(self.bad(&why));
        }
        if value.chars().any(char::is_control) {
            return Err(self.bad(&format!("the value of `{name}` holds a control character")));
        }
        Ok(())
    }

    /// `memory = "1GiB"`, bytes.
    pub(super) fn memory(&self, text: &str) -> Result<u64, ConfigError> {
        let least = self.memory_mebibytes_min;
        parse_bytes(text)
            .filter(|bytes| *bytes >= least << 20)
            .ok_or_else(|| self.bad(&format!("`memory = \"{text}\"` is not a size of at least {least}MiB, as `1GiB`")))
    }

    pub(super) fn load_timeout(&self, text: &str) -> Result<Duration, ConfigError> {
        let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
        span.filter(|span| !span.is_zero())
            .ok_or_else(|| self.bad(&format!("`load_timeout = \"{text}\"` is not a time span, as `90m` or `4h`")))
    }

    pub(super) fn bad(&self, why: &str) -> ConfigError {
        ConfigError { rendered: format!("in `[scratch.{}]`: {why}", self.engine) }
    }

    /// The policy that an instance is leased by: the table's, or the default where there is none.
    pub(super) fn policy_of<P: Default>(
        &self,
        section: Option<&Section>,
        parse: impl FnOnce(&Section) -> Result<P, ConfigError>,
    ) -> Result<P, ScratchError> {
        let failed = |error| ScratchError::failed(format!("`[scratch.{}]`", self.engine), error);
        section.map_or_else(|| Ok(P::default()), |section| parse(section).map_err(failed))
    }
}
