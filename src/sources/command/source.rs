//! The command of a job.

use std::sync::Arc;

use async_trait::async_trait;

use super::config::{Line, Settings};
use super::launch::{brief, not_found};
use super::record::CommandRecord;
use super::{dump, record};
use crate::domain::record::{Instant, PartGroup};
use crate::domain::{Event, PartSink, SourceRecord, human_bytes};
use crate::sources::bridge::LaneThread;
use crate::sources::{Context, Preflight, Source, SourceError};
use crate::system::clock;

pub(super) struct CommandSource {
    pub(super) settings: Settings,
}

#[async_trait]
impl Source for CommandSource {
    fn describe(&self) -> String {
        format!("command {}", self.settings.backup.name)
    }

    /// Finds everything that would be run, and runs nothing.
    async fn preflight(&self, _context: &Context) -> Result<Preflight, SourceError> {
        let settings = &self.settings;
        let hidden = settings.hidden().await?;
        settings.folder_is_there()?;
        let mut preflight = Preflight { estimated_parts: 1, ..Preflight::default() };
        let fact = |what: &str, line: &Line| {
            let found = settings.find(line).map_err(|why| not_found(&line.shown, &why))?;
            hidden.keep_off(line)?;
            Ok::<_, SourceError>(format!("{what}: `{}` ({})", hidden.redact(&line.shown), found.display()))
        };
        preflight.facts.push(fact("backup", &settings.backup)?);
        preflight.facts.push(format!("runs in {}", settings.folder.display()));
        if !settings.environment.is_empty() {
            let names: Vec<&str> = settings.environment.keys().map(String::as_str).collect();
            preflight.facts.push(format!("with {} set", names.join(", ")));
        }
        let limits = (dump::span(settings.timeout), dump::span(settings.stall));
        preflight.facts.push(format!("ended after {}, or after {} without a byte", limits.0, limits.1));
        for (what, line) in [("restore", &settings.restore), ("test", &settings.test)] {
            let Some(line) = line else { continue };
            match fact(what, line) {
                Ok(fact) => preflight.facts.push(fact),
                // A host that only writes need not have them.
                Err(error) => preflight.warnings.push(format!("{what}: {error}; a restore here needs it")),
            }
        }
        if settings.test.is_none() {
            preflight.warnings.push(
                "the job names no `test`: a restore test can show that the bytes come back, and not that they can be used"
                    .to_owned(),
            );
        }
        Ok(preflight)
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let settings = &self.settings;
        let launch = settings.launch(&settings.backup, None).await?;
        let started = clock::rfc3339(clock::now());
        let dumped = dump::dump(context, settings, &launch, LaneThread::start(&sink)).await?;
        let warn = |message: String| context.progress.event(Event::Warning { job: context.job.clone(), message });
        if let Some(gap) = &dumped.gap {
            warn(gap.why.clone());
        }
        let details = CommandRecord::of(settings, dumped.bytes, |text| launch.hidden.redact(text));
        Ok(SourceRecord {
            kind: "command".to_owned(),
            summary: format!("command {}, {}", brief(&details.backup), human_bytes(dumped.bytes)),
            version: String::new(),
            instants: vec![Instant { of: format!("start of {}", settings.backup.name), at: started }],
            gaps: dumped.gap.into_iter().collect(),
            inventories: vec![],
            groups: vec![PartGroup {
                name: record::PART.to_owned(),
                parts: vec![record::part()],
                engine_count: None,
                compared: true,
            }],
            details: serde_json::to_value(&details).expect("plain data"),
        })
    }
}
