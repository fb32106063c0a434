//! Reads what a command writes, to its end: the pipe's end and a good exit status, both, or nothing.

use std::time::Duration;

use bytes::BufMut;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

use super::config::Settings;
use super::launch::Launch;
use super::record;
use crate::domain::{Gap, Shape, human_bytes};
use crate::sources::bridge::{BLOCK_BYTES, LaneThread};
use crate::sources::{Context, SourceError};
use crate::system::process::{Ended, Guarded};

/// How long, once the command has ended, what it started may keep its output open without a byte.
const HELD_OPEN_LIMIT: Duration = Duration::from_secs(5);

/// What came.
pub(super) struct Dumped {
    pub(super) bytes: u64,
    /// What is lacking by the command's own account.
    pub(super) gap: Option<Gap>,
}

/// Why the stream is no whole one.
enum Broken {
    Cancelled,
    TimedOut,
    Stalled,
    /// The command has ended, and what it started still holds its output.
    HeldOpen,
    Io(std::io::Error),
    Sink(SourceError),
}

/// Runs the command and stores its output as one part. The part is finished only after all is well.
pub(super) async fn dump(
    context: &Context,
    settings: &Settings,
    launch: &Launch,
    mut lane: LaneThread,
) -> Result<Dumped, SourceError> {
    let what = || format!("command {}", launch.shown);
    let failed = |why: String, hint: &str| SourceError::Failed { what: what(), why, hint: hint.to_owned() };
    lane.begin(record::part(), Shape::Bytes).await?;
    let mut command = launch.program.start_dumped().map_err(|error| failed(error.to_string(), ""))?;
    let mut bytes = 0;
    let work = async {
        read(settings, &mut command, &mut lane, &mut bytes).await?;
        Ok(command.end().await)
    };
    let ended = tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(Broken::Cancelled),
        ended = tokio::time::timeout(settings.timeout, work) => ended.unwrap_or(Err(Broken::TimedOut)),
    };
    let ended = match ended {
        Ok(ended) => ended.map_err(|error| failed(error.to_string(), ""))?,
        // Its watcher asks it to end as it is dropped, once: whoever cancels drops us at any moment.
        Err(Broken::Cancelled) => return Err(SourceError::Cancelled),
        Err(Broken::Sink(error)) => return Err(error),
        Err(broken) => {
            let ended = command.stop().await;
            let (why, hint) = tell(settings, launch, &broken, ended.as_ref(), bytes);
            return Err(failed(why, hint));
        }
    };
    let gap = judge(settings, launch, &ended, bytes).map_err(|(why, hint)| failed(why, &hint))?;
    lane.finish().await?;
    lane.close().await?;
    Ok(Dumped { bytes, gap })
}

/// How a stream that is not whole broke off, and what to do about it.
fn tell(
    settings: &Settings,
    launch: &Launch,
    broken: &Broken,
    ended: Option<&Ended>,
    bytes: u64,
) -> (String, &'static str) {
    let so_far = human_bytes(bytes);
    let said = ended.map(|ended| launch.hidden.last_words(&ended.said)).unwrap_or_default();
    match broken {
        Broken::TimedOut => (
            format!("it did not end within {} and was ended after {so_far}{said}", span(settings.timeout)),
            "nothing was committed; `timeout` in the job's `[source]` sets how long it may take",
        ),
        Broken::Stalled => (
            format!("it wrote nothing for {} after {so_far} and was ended{said}", span(settings.stall)),
            "nothing was committed; `stall` in the job's `[source]` sets how long to wait",
        ),
        Broken::HeldOpen => {
            let how = ended.map_or_else(|| "has ended".to_owned(), Ended::how);
            (
                format!(
                    "it {how}, and something that it started keeps its output open: after {so_far} nobody knows whether all \
                     came{said}"
                ),
                "nothing was committed; let the command wait for what it starts, or redirect that one's output",
            )
        }
        Broken::Io(why) => (format!("its output broke after {so_far}: {why}{said}"), "nothing was committed"),
        Broken::Cancelled | Broken::Sink(_) => ("it was ended".to_owned(), ""),
    }
}

/// Reads to the pipe's end. A target that is slow holds the reading up, which is no stall of the command's.
async fn read(
    settings: &Settings,
    command: &mut Guarded,
    lane: &mut LaneThread,
    bytes: &mut u64,
) -> Result<(), Broken> {
    let sink = |error: crate::domain::SinkError| Broken::Sink(error.into());
    let mut stdout = command.stdout.take().expect("the output of a dumped command is piped");
    let mut has_exited = false;
    loop {
        let mut block = lane.block().await.map_err(sink)?;
        block.data.reserve(BLOCK_BYTES);
        let mut at_end = false;
        while !at_end && block.data.len() < BLOCK_BYTES {
            let room = BLOCK_BYTES - block.data.len();
            let read =
                piece(settings, command, &mut stdout, &mut has_exited, &mut (&mut block.data).limit(room)).await?;
            at_end = read == 0;
            *bytes += read as u64;
        }
        lane.write(block).await.map_err(sink)?;
        if at_end {
            return Ok(());
        }
    }
}

async fn piece(
    settings: &Settings,
    command: &Guarded,
    stdout: &mut ChildStdout,
    has_exited: &mut bool,
    room: &mut (impl BufMut + Send),
) -> Result<usize, Broken> {
    loop {
        let limit = if *has_exited { HELD_OPEN_LIMIT.min(settings.stall) } else { settings.stall };
        tokio::select! {
            biased;
            read = tokio::time::timeout(limit, stdout.read_buf(room)) => return match read {
                Ok(read) => read.map_err(Broken::Io),
                Err(_) if *has_exited => Err(Broken::HeldOpen),
                Err(_) => Err(Broken::Stalled),
            },
            () = command.exited(), if !*has_exited => *has_exited = true,
        }
    }
}

/// Whether an end is a good one; else why not, and what to do.
fn judge(settings: &Settings, launch: &Launch, ended: &Ended, bytes: u64) -> Result<Option<Gap>, (String, String)> {
    let said = launch.hidden.last_words(&ended.said);
    let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
    let is_good = code.is_some_and(|code| settings.exit_status.contains(&code));
    if !is_good {
        let hint = match code {
            Some(code) => format!("nothing was committed; if all is well with {code}, `exit_status` takes a list"),
            None => "nothing was committed; a signal ended it, which the machine's log may explain".to_owned(),
        };
        return Err((format!("it {} after {}{said}", ended.how(), human_bytes(bytes)), hint));
    }
    if bytes == 0 && !settings.may_be_empty {
        let hint = "nothing was committed; `may_be_empty = true` takes no bytes for a backup";
        return Err((format!("it {} and wrote nothing{said}", ended.how()), hint.to_owned()));
    }
    // Tools that exit otherwise mean to say something.
    Ok((code != Some(0)).then(|| Gap {
        what: "what the command warned of".to_owned(),
        why: format!("it {}, which the job takes for success{said}", ended.how()),
    }))
}

pub(super) fn span(span: Duration) -> String {
    crate::config::value::duration_text(span)
}
