//! Turns events into bars on a terminal, one line a phase elsewhere, JSON lines under `--json`, nothing under `-q`.

use std::io::Write;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;
use crate::domain::{Event, Progress};

pub struct Reporter {
    output: Output,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
}

impl Reporter {
    pub fn new(output: Output) -> Self {
        Self { output, state: Mutex::new(State::default()) }
    }

    /// Takes the bar off the screen: before an error or the result is printed.
    pub fn clear(&self) {
        if let Some(bar) = self.state.lock().expect("no thread panics while it holds this lock").bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(state: &mut State, text: &str) {
        match &state.bar {
            Some(bar) => bar.suspend(|| writeln!(std::io::stderr(), "{text}").ok()),
            None => writeln!(std::io::stderr(), "{text}").ok(),
        };
    }
}

impl Progress for Reporter {
    fn event(&self, event: Event) {
        if self.output.json {
            let line = serde_json::to_string(&event).expect("plain data");
            writeln!(std::io::stdout(), "{line}").ok();
            return;
        }
        let mut state = self.state.lock().expect("no thread panics while it holds this lock");
        match event {
            Event::Warning { job, message } => {
                let paint = if self.output.colour { ("\x1b[1;33m", "\x1b[0m") } else { ("", "") };
                let job = if job.is_empty() { String::new() } else { format!("{job}: ") };
                Self::line(&mut state, &format!("{}warning:{} {job}{message}", paint.0, paint.1));
            }
            _ if self.output.quiet => {}
            Event::Phase { job, phase, detail } => begin_phase(&mut state, self.output, &job, &phase, &detail),
            Event::Advance { done_bytes, total_bytes, .. } => {
                if let Some(bar) = &state.bar {
                    if let Some(total) = total_bytes {
                        // The estimate is of the live system; a dump may be larger.
                        bar.set_length(total.max(done_bytes));
                    }
                    bar.set_position(done_bytes);
                }
            }
            Event::Note { job, message } => Self::line(&mut state, &format!("{job}: {message}")),
        }
    }
}

fn begin_phase(state: &mut State, output: Output, job: &str, phase: &str, detail: &str) {
    if let Some(bar) = state.bar.take() {
        bar.finish_and_clear();
    }
    let text = format!("{job}: {phase}: {detail}");
    if output.terminal {
        let style = ProgressStyle::with_template("{spinner} {msg}  {bytes} {wide_bar} {bytes_per_sec} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new(0).with_style(style).with_message(text);
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        state.bar = Some(bar);
    } else {
        writeln!(std::io::stderr(), "{text}").ok();
    }
}
