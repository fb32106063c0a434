//! `keys new` and `keys export`.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;

use super::args::{KeysExportArgs, KeysNewArgs};
use super::init::RecoveryKey;
use super::output::Output;
use crate::operations::{Class, OperationError, Session};
use crate::repository::writer::Writer;

#[derive(Serialize)]
struct NewKey {
    recipient: String,
    file: String,
}

pub fn new(output: &Output, args: &KeysNewArgs) -> Result<(), OperationError> {
    let key = RecoveryKey::generate();
    write_private(&args.out, &key.file_text())?;
    let made = NewKey { recipient: key.recipient, file: args.out.display().to_string() };
    output.result(&made, || {
        format!(
            "{}\nthe identity is in `{}`: keep a copy off this machine, and add the recipient above to `keys.recipients`",
            made.recipient, made.file
        )
    });
    Ok(())
}

#[derive(Serialize)]
struct Exported {
    folder: String,
    files: Vec<String>,
}

/// Everything that a restore on another machine needs beside a target: whose signatures to trust, where the targets are.
pub async fn export(session: &Session, output: &Output, args: &KeysExportArgs) -> Result<(), OperationError> {
    let config = &session.config;
    std::fs::DirBuilder::new().mode(0o700).create(&args.out).map_err(|why| {
        OperationError::new(Class::Usage, format!("the folder `{}` cannot be made", args.out.display()))
            .cause(why)
            .hint("name a folder that does not exist yet")
    })?;
    let mut text = String::from("# Recovery sheet\n\nRecipients (who can restore):\n\n");
    for recipient in &config.keys.recipients {
        text.push_str(&format!("- `{recipient}`\n"));
    }
    text.push_str("\nWriters whose signatures count (`keys.trusted_writers`):\n\n");
    let own = Writer::public_key(&config.state);
    let writers: Vec<&String> = config.keys.trusted_writers.iter().chain(&own).collect();
    if writers.is_empty() {
        text.push_str("- none yet: the first backup makes this installation's key\n");
    }
    for writer in writers {
        text.push_str(&format!("- `{writer}`\n"));
    }
    text.push_str("\nTargets:\n\n");
    for name in config.targets.keys().cloned().collect::<Vec<_>>() {
        let place = session.target(&name).await.map_or_else(|error| error.to_string(), |target| target.target.place());
        text.push_str(&format!("- `{name}`: {place}\n"));
    }
    text.push_str("\nEach target holds RESTORE.md, which restores without Lifeboat.\n");
    let mut files = vec!["RECOVERY.md".to_owned()];
    write_private(&args.out.join("RECOVERY.md"), &text)?;
    if args.with_identity {
        let reference = config.keys.identity.as_ref().ok_or_else(|| {
            OperationError::new(Class::Key, "there is no identity to export")
                .hint("set `keys.identity` in `lifeboat.toml`")
        })?;
        let identity = reference.resolve_whole().await?;
        write_private(&args.out.join("identity.txt"), identity.expose())?;
        files.push("identity.txt".to_owned());
    }
    let exported = Exported { folder: args.out.display().to_string(), files };
    output.result(&exported, || {
        let files = exported.files.iter().map(|file| format!("{}/{file}", exported.folder));
        files.collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

/// A new file, readable by us alone; one that exists is never touched.
fn write_private(path: &Path, text: &str) -> Result<(), OperationError> {
    let failed = |why: std::io::Error| {
        OperationError::new(Class::Usage, format!("`{}` cannot be written", path.display())).cause(why)
    };
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
