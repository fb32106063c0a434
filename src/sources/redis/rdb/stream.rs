//! A stream: its nodes, then its counters, then its consumer groups.
//!
//! Content is: the entries; their number, the last id, the largest deleted id, how many were ever added; of each group the name,
//! the last id, how many entries it has read, its pending entries (id, time and number of deliveries), its consumers (name, when
//! they were seen and active, which pending entries are theirs), the entries that were given back. A server keeps all these over
//! save and load. No content are the first id, which follows from the entries, and the ids that tell repeated messages apart
//! (Redis 8.6), which the server forgets by its own clock; how long and how many it keeps is content where it is not the default.
//!
//! What older layouts lack is set as the server sets it on load, so that a stream of Redis 5 equals itself in Redis 7.

use super::cursor::Cursor;
use super::entries::EntryId;
use super::error::Stop;
use super::sinks::Target;
use super::walk::Walk;

/// How long, in seconds, and how many ids of repeated messages a server keeps unless told.
const REPEATED_DEFAULT: (u64, u64) = (100, 100);

/// As the RDB's types count them: since Redis 5, 7.0, 7.2, 8.6, 8.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layout {
    One,
    Two,
    Three,
    Four,
    Five,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Nodes,
    NodeId,
    Node,
    Counters,
    GroupName,
    Group,
    Pending,
    Consumers,
    ConsumerName,
    Consumer,
    Owned,
    GivenBackCount,
    GivenBack,
    Settings,
    Producer,
    ProducerCount,
    Message,
    MessageId,
    MessageCounters,
}

/// Where in a stream the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    layout: Layout,
    next: Next,
    /// Nodes, then groups, then producers.
    outer: u64,
    consumers: u64,
    /// Pending entries, owned ones, entries given back, messages of a producer.
    inner: u64,
    length: u64,
    last: EntryId,
}

impl Stream {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, next: Next::Nodes, outer: 0, consumers: 0, inner: 0, length: 0, last: (0, 0) }
    }

    /// Goes on to the next thing that takes bytes; `None` at the end.
    fn settle(mut self) -> Option<Self> {
        loop {
            self.next = match self.next {
                Next::NodeId if self.outer == 0 => Next::Counters,
                Next::Pending if self.inner == 0 => Next::Consumers,
                Next::ConsumerName if self.consumers == 0 => {
                    if self.layout >= Layout::Five {
                        Next::GivenBackCount
                    } else {
                        self.outer -= 1;
                        Next::GroupName
                    }
                }
                Next::Owned if self.inner == 0 => {
                    self.consumers -= 1;
                    Next::ConsumerName
                }
                Next::GivenBack if self.inner == 0 => {
                    self.outer -= 1;
                    Next::GroupName
                }
                Next::GroupName if self.outer == 0 && self.layout >= Layout::Four => Next::Settings,
                Next::GroupName if self.outer == 0 => return None,
                Next::Producer if self.outer == 0 => Next::MessageCounters,
                Next::Message if self.inner == 0 => {
                    self.outer -= 1;
                    Next::Producer
                }
                _ => return Some(self),
            };
        }
    }

    /// How many entries a group has read, as a server works it out that loads a stream without that number: it knows at the ends.
    fn entries_read(&self, group: EntryId, first: EntryId) -> u64 {
        const NOT_KNOWN: u64 = u64::MAX;
        if self.length == 0 || group < first {
            return 0;
        }
        if group == self.last {
            return self.length;
        }
        if group == first { 1 } else { NOT_KNOWN }
    }
}

impl Walk {
    pub(super) fn stream_step(&mut self, mut stream: Stream, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let gather = &mut self.sinks.collector.gather;
        match stream.next {
            Next::NodeId => return self.string(bytes, Target::NodeId),
            Next::Node => return self.string(bytes, Target::Node),
            Next::GroupName | Next::ConsumerName => return self.string(bytes, Target::Ordered),
            Next::Producer | Next::Message => return self.string(bytes, Target::Skipped),
            Next::Nodes => {
                stream.outer = cursor.length()?;
                stream.next = Next::NodeId;
                self.sinks.entries.start_stream();
            }
            Next::Counters => {
                let [length, last_ms, last_sequence] = cursor.lengths()?;
                let (mut deleted, mut added) = ([0, 0], length);
                if stream.layout >= Layout::Two {
                    let [_first_ms, _first_sequence, deleted_ms, deleted_sequence, ever] = cursor.lengths()?;
                    (deleted, added) = ([deleted_ms, deleted_sequence], ever);
                }
                stream.outer = cursor.length()?;
                (stream.length, stream.last, stream.next) = (length, (last_ms, last_sequence), Next::GroupName);
                gather.push_byte(0);
                for number in [length, last_ms, last_sequence, deleted[0], deleted[1], added, stream.outer] {
                    gather.push_u64(number);
                }
            }
            Next::Group => {
                let [last_ms, last_sequence] = cursor.lengths()?;
                let last = (last_ms, last_sequence);
                let read = if stream.layout >= Layout::Two {
                    cursor.length()?
                } else {
                    stream.entries_read(last, self.sinks.entries.first)
                };
                stream.inner = cursor.length()?;
                stream.next = Next::Pending;
                for number in [last_ms, last_sequence, read, stream.inner] {
                    gather.push_u64(number);
                }
            }
            Next::Pending => {
                let (id, time) = (cursor.take(16)?, cursor.take(8)?);
                let deliveries = cursor.length()?;
                gather.push(id);
                gather.push(time);
                gather.push_u64(deliveries);
                stream.inner -= 1;
            }
            Next::Consumers => {
                stream.consumers = cursor.length()?;
                stream.next = Next::ConsumerName;
                gather.push_u64(stream.consumers);
            }
            Next::Consumer => {
                let seen = cursor.u64_le()?;
                let active = if stream.layout >= Layout::Three { cursor.u64_le()? } else { seen };
                stream.inner = cursor.length()?;
                stream.next = Next::Owned;
                for number in [seen, active, stream.inner] {
                    gather.push_u64(number);
                }
            }
            Next::Owned | Next::GivenBack => {
                gather.push(cursor.take(16)?);
                stream.inner -= 1;
            }
            Next::GivenBackCount => {
                stream.inner = cursor.length()?;
                stream.next = Next::GivenBack;
                if stream.inner > 0 {
                    // No layout before has this, and a group without must equal one of these.
                    gather.push_byte(3);
                    gather.push_u64(stream.inner);
                }
            }
            Next::Settings => {
                let [seconds, ids, producers] = cursor.lengths()?;
                (stream.outer, stream.next) = (producers, Next::Producer);
                if (seconds, ids) != REPEATED_DEFAULT {
                    gather.push_byte(2);
                    gather.push_u64(seconds);
                    gather.push_u64(ids);
                }
            }
            Next::ProducerCount => {
                stream.inner = cursor.length()?;
                stream.next = Next::Message;
            }
            Next::MessageId => {
                cursor.lengths::<2>()?;
                stream.inner -= 1;
                stream.next = Next::Message;
            }
            Next::MessageCounters => {
                cursor.lengths::<2>()?;
                self.finish_stream()?;
                return Ok(cursor.at);
            }
        }
        self.stream_next(stream)?;
        Ok(cursor.at)
    }

    pub(super) fn stream_string_done(&mut self, mut stream: Stream) -> Result<(), Stop> {
        stream.next = match stream.next {
            Next::NodeId => Next::Node,
            Next::Node => {
                stream.outer -= 1;
                Next::NodeId
            }
            Next::GroupName => Next::Group,
            Next::ConsumerName => Next::Consumer,
            Next::Producer => Next::ProducerCount,
            Next::Message => Next::MessageId,
            other => other,
        };
        self.stream_next(stream)
    }

    fn stream_next(&mut self, stream: Stream) -> Result<(), Stop> {
        match stream.settle() {
            Some(stream) => {
                self.stream = stream;
                Ok(())
            }
            None => self.finish_stream(),
        }
    }

    fn finish_stream(&mut self) -> Result<(), Stop> {
        self.sinks.collector.count = self.sinks.entries.live;
        self.sinks.collector.bytes += self.sinks.entries.bytes;
        self.finish_record()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::redis::rdb::sinks::entry_id;

    #[test]
    fn what_a_group_has_read_is_known_at_the_ends_of_a_stream_only() {
        let stream = Stream { length: 3, last: (9, 0), ..Stream::new(Layout::One) };
        let check =
            |group: EntryId, expected: u64| assert_eq!(stream.entries_read(group, (5, 0)), expected, "{group:?}");
        check((0, 0), 0);
        check((4, 9), 0);
        check((5, 0), 1);
        check((7, 0), u64::MAX);
        check((9, 0), 3);
        check((10, 0), u64::MAX);
        assert_eq!(Stream::new(Layout::One).entries_read((7, 0), (0, 0)), 0);
        assert_eq!(entry_id(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0]), (1, 512));
    }
}
