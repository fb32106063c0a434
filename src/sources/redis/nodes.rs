//! Which servers hold what a job asks for: one, or the primaries of a cluster; or replicas of them.

use tokio_util::sync::CancellationToken;

use super::failure;
use super::server::{self, Mode, Server};
use super::wire::{ConnectOptions, Connection, Host};
use crate::sources::SourceError;

/// A cluster has at most as many slots, and so primaries.
const SHARDS_MAX: usize = 1_000;

/// One server to dump.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) options: ConnectOptions,
    /// `shard-0`; `None` where there is one server.
    pub(super) shard: Option<String>,
    /// Beyond what the job was told to connect to: why it is this one.
    pub(super) note: Option<String>,
}

/// One line of `CLUSTER NODES` that is worth connecting to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    id: String,
    name: String,
    port: u16,
    /// Of the primary that it follows.
    follows: Option<String>,
    /// Smallest slot that it serves.
    first_slot: Option<u16>,
}

/// The servers to dump. `connection` is to the one that the job names, whose facts are `server`.
pub(super) async fn find(
    server: &Server,
    connection: &mut Connection,
    options: &ConnectOptions,
    prefer_replica: bool,
    cancel: &CancellationToken,
) -> Result<Vec<Node>, SourceError> {
    if server.mode != Mode::Cluster {
        let node = Node { options: options.clone(), shard: None, note: None };
        if prefer_replica && !server.is_replica() {
            let candidates = server.replicas.iter().map(|replica| options.at(&replica.name, replica.port));
            return Ok(vec![nearest(node, candidates.collect(), cancel).await]);
        }
        return Ok(vec![node]);
    }
    let what = format!("nodes of the cluster at {}", options.place());
    let listed = connection.call(&[b"CLUSTER", b"NODES"]).await.map_err(|error| failure::wire(&what, error))?;
    let members = members(listed.text().unwrap_or_default());
    let mut primaries: Vec<&Member> = members.iter().filter(|member| member.first_slot.is_some()).collect();
    primaries.sort_by_key(|member| member.first_slot);
    if primaries.is_empty() || primaries.len() > SHARDS_MAX {
        return Err(SourceError::Refused {
            what,
            why: format!("{} primaries serve slots", primaries.len()),
            hint: "`redis-cli --cluster check` says what is wrong".to_owned(),
        });
    }
    let mut nodes = Vec::with_capacity(primaries.len());
    for (number, primary) in primaries.iter().enumerate() {
        let node = Node { options: at(options, primary), shard: Some(format!("shard-{number}")), note: None };
        let followers = members.iter().filter(|member| member.follows.as_deref() == Some(&primary.id));
        let candidates: Vec<_> = followers.map(|member| at(options, member)).collect();
        nodes.push(if prefer_replica { nearest(node, candidates, cancel).await } else { node });
    }
    Ok(nodes)
}

/// A node names itself without a host until another has told it.
fn at(options: &ConnectOptions, member: &Member) -> ConnectOptions {
    match &options.host {
        Host::Tcp { name, .. } if member.name.is_empty() => options.at(name, member.port),
        _ => options.at(&member.name, member.port),
    }
}

/// The first candidate that is a replica with its link up; else the node itself, with a note.
async fn nearest(node: Node, candidates: Vec<ConnectOptions>, cancel: &CancellationToken) -> Node {
    for options in candidates {
        let Ok((found, _)) = server::inspect(&options, cancel).await else { continue };
        if found.is_replica() && found.text("master_link_status").is_none_or(|status| status == "up") {
            let told = format!("replica {} of {}", options.place(), node.options.place());
            return Node { options, note: Some(told), ..node };
        }
    }
    let told = format!("no replica of {} is in step: it is read itself", node.options.place());
    Node { note: Some(told), ..node }
}

/// `ID IP:PORT@BUS,HOSTNAME FLAGS PRIMARY PING PONG EPOCH LINK SLOTS...`
fn members(listed: &str) -> Vec<Member> {
    listed.lines().filter_map(member).collect()
}

fn member(line: &str) -> Option<Member> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [id, address, flags, follows, _, _, _, state, slots @ ..] = words.as_slice() else { return None };
    let unusable = ["fail", "fail?", "handshake", "noaddr"];
    if flags.split(',').any(|flag| unusable.contains(&flag)) || *state != "connected" {
        return None;
    }
    let address = address.split(',').next()?.split('@').next()?;
    let (name, port) = address.rsplit_once(':')?;
    // `[slot->-node]` is one that is being moved.
    let first = |range: &&str| range.split('-').next()?.parse::<u16>().ok();
    Some(Member {
        id: (*id).to_owned(),
        name: name.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: port.parse().ok()?,
        follows: (*follows != "-").then(|| (*follows).to_owned()),
        first_slot: slots.iter().filter_map(first).min(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_nodes_is_read_as_every_version_writes_it() {
        let listed = "\
            a1 127.0.0.1:7001@17001,host-1 myself,master - 0 0 1 connected 5461-10922 [93->-b2]\n\
            b2 :7002@17002 master - 0 1426238317239 4 connected 0-5460 10923\n\
            c3 2001:db8::1:7003 slave b2 0 1426238318243 4 connected\n\
            d4 127.0.0.1:7004@17004 master,fail - 0 1 1 disconnected 12000\n\
            e5 :0@0 master,noaddr - 0 1 1 disconnected\n";
        let seen: Vec<_> = members(listed)
            .into_iter()
            .map(|member| (member.id, member.name, member.port, member.follows, member.first_slot))
            .collect();
        let own = |text: &str| text.to_owned();
        assert_eq!(
            seen,
            [
                (own("a1"), own("127.0.0.1"), 7001, None, Some(5461)),
                (own("b2"), own(""), 7002, None, Some(0)),
                (own("c3"), own("2001:db8::1"), 7003, Some(own("b2")), None),
            ]
        );
    }
}
