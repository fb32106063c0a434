//! How a run of the binary ended and what it said, and the files that it left.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No run of these tests takes that long; one that hangs fails with what it said, before the test itself is ended.
const RUN_LIMIT: Duration = Duration::from_mins(3);

#[derive(Debug)]
pub(crate) struct Outcome {
    /// 128 and the signal's number where a signal ended it, as a shell says it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Waits for a run's end, with both streams read so that it never waits for us.
pub(crate) fn finish(mut child: Child) -> Outcome {
    let reader = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = vec![];
            std::io::Read::read_to_end(&mut stream.unwrap(), &mut text).unwrap();
            text
        })
    };
    let stdout = reader(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = reader(child.stderr.take().map(|stream| Box::new(stream) as _));
    let start = Instant::now();
    let mut hung = false;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > RUN_LIMIT => {
                hung = true;
                child.kill().unwrap();
            }
            None => {}
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let ended = Outcome::of(Output { status, stdout, stderr });
    assert!(!hung, "it hung:\n{}", ended.all());
    ended
}

impl Outcome {
    pub(crate) fn of(output: Output) -> Self {
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what we print is UTF-8");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Fails with everything that was said unless the run ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// An error that a person can act on: an exit code, and what, cause, where or hint that hold these words.
    #[track_caller]
    pub(crate) fn refuses(self, code: i32, words: &[&str]) -> Self {
        let ended = self.expect(code);
        let at = ended.stderr.rfind("error: ").unwrap_or_else(|| panic!("no error is said:\n{}", ended.stderr));
        let error = &ended.stderr[at..];
        assert!(error.contains("hint: "), "no hint says what to do:\n{error}");
        for word in words {
            assert!(error.contains(word), "`{word}` is not in:\n{error}");
        }
        ended
    }

    /// Every text stands somewhere in what it printed.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text) || self.stderr.contains(text), "`{text}` is not in:\n{}", self.all());
        }
        self
    }

    /// The same of standard error alone, where people are told what is no result.
    #[track_caller]
    pub(crate) fn tells(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        }
        self
    }

    /// Every line of standard output under `--json`.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The summaries of `--json`, in order.
    #[track_caller]
    pub(crate) fn summaries(&self) -> Vec<Value> {
        self.json().into_iter().filter(|value| value["event"] == "summary").collect()
    }

    /// The last of them; there must be one.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        self.summaries().pop().unwrap_or_else(|| panic!("no summary: {self:?}"))
    }

    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Every file and folder below `folder` with its content, by path; a folder's path ends in `/` and has none.
pub(crate) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in entries(folder) {
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(format!("{}/", path.display()), vec![]);
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap_or_default());
        }
    }
    found
}

/// Every file below a folder, by path relative to it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    for path in entries(folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name.to_owned());
        }
    }
    found.sort();
    found
}

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
