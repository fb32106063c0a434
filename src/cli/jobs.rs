//! `jobs`.

use serde::Serialize;

use super::output::{Output, Table};
use crate::config::Config;

#[derive(Serialize)]
struct Shown {
    job: String,
    source: String,
    targets: Vec<String>,
    schedule: Option<String>,
    restore_test: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    jobs: Vec<Shown>,
}

pub fn list(output: &Output, config: &Config) {
    let jobs: Vec<_> = config
        .jobs
        .iter()
        .map(|job| Shown {
            job: job.name.to_string(),
            source: job.kind.clone(),
            targets: job.backup.targets.iter().map(ToString::to_string).collect(),
            schedule: job.schedule.as_ref().map(|schedule| format!("{} {}", schedule.cron, schedule.timezone)),
            restore_test: job.restore_test.as_ref().and_then(|test| test.cron.clone()),
        })
        .collect();
    let summary = Summary { jobs };
    output.result(&summary, || {
        let mut table = Table::new(&["job", "source", "targets", "schedule", "restore test"], &[]);
        for job in &summary.jobs {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "by hand".to_owned());
            let cells = vec![
                job.job.clone(),
                job.source.clone(),
                job.targets.join(", "),
                or_none(&job.schedule),
                or_none(&job.restore_test),
            ];
            table.row(cells);
        }
        table.render()
    });
}
