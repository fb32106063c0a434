//! How to load what a snapshot holds with nothing but the engine's own programs.

use super::record::RedisRecord;
use crate::domain::{PartName, SourceRecord};

/// Markdown for parts that lie as files under the names given.
pub(super) fn loading_guide(record: &SourceRecord, files: &[(PartName, String)]) -> String {
    let Ok(details) = RedisRecord::of(record) else { return String::new() };
    let product = if details.product == "valkey" { "valkey" } else { "redis" };
    let file_of = |part: &PartName| files.iter().find(|(name, _)| name == part).map(|(_, file)| file.as_str());
    let rdbs: Vec<&str> = details.shards.iter().filter_map(|shard| file_of(shard.rdb.as_ref()?)).collect();
    let called = rdbs.first().and_then(|file| file.rsplit('/').next()).unwrap_or("rdb");
    let mut text = format!(
        "Each file `{called}` is what {product} {} saves as its `dump.rdb`: all keys with their expiry, and all functions. It loads \
         into that version and every later one.\n\n",
        record.version
    );
    if details.fuzzy {
        text.push_str("The keys were read one by one while they changed: this is no single point in time.\n\n");
    }
    if rdbs.len() > 1 {
        text.push_str(
            "There is one file for each shard of the cluster. Load each into a server of its own; `redis-cli --cluster import` \
             moves the keys into a new cluster.\n\n",
        );
    }
    text.push_str("Check the file, put it where a stopped server looks for its data, and start the server:\n\n```sh\n");
    for rdb in rdbs {
        let folder = quoted(&format!("{rdb}-server"));
        let rdb = quoted(rdb);
        text.push_str(&format!(
            "{product}-check-rdb {rdb} &&\nmkdir -p {folder} &&\ncp {rdb} {folder}/dump.rdb &&\n\
             {product}-server --port 0 --unixsocket \"$PWD\"/{folder}/{product}.sock --dir {folder} --appendonly no\n"
        ));
    }
    text.push_str("```\n\n");
    text.push_str(&format!(
        "`appendonly no` matters: a server with an append-only file reads that one and not `dump.rdb`. Keys whose time was over \
         are dropped as they are loaded; to keep them, start the server as a replica of nobody: `--replicaof 127.0.0.1 1`. \
         `{product}-cli -s {product}.sock DBSIZE` counts the keys. A server works on a copy, because it saves over its `dump.rdb` when it \
         ends.\n"
    ));
    if !details.module_types.is_empty() {
        text.push_str(&format!("\nThe server needs these modules: {}.\n", details.modules.join(", ")));
    }
    text
}

fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if name.chars().all(plain) { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}
