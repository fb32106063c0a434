//! What a long operation says while it runs; `cli` turns it into bars, lines or JSON.

use serde::Serialize;

/// Serialised as one JSON object a line under `--json`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A phase of a job began: `preflight`, `dump`, `commit`, `fetch`, `load`, `compare`.
    Phase { job: String, phase: String, detail: String },
    /// How far the present phase is; `total` is an estimate or absent. Sent at most a few times a second.
    Advance { job: String, phase: String, done_bytes: u64, total_bytes: Option<u64> },
    /// Worth a person's attention, not an error.
    Warning { job: String, message: String },
    /// One thing finished: a table proven, a target committed.
    Note { job: String, message: String },
}

/// Takes events from any thread; must not block.
pub trait Progress: Send + Sync {
    fn event(&self, event: Event);
}

/// Says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event) {}
}
