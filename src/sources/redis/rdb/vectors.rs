//! A vector set of Redis 8, the one type of a module that every server brings and that is read for what it means.
//!
//! A server saves its elements from the newest to the oldest and with them the graph by which it finds them; one that loads the set
//! and saves it again has the elements in the other order. Content is: how many dimensions a vector has, how it is quantised, how
//! many links the graph aims at, the projection; of each element its name, its attributes, its vector as it is kept, and the
//! vector's length and range. The graph follows from these and from chance: ids, levels and links are no content.
//!
//! The canonical form is a sum of hashes, as of a set: one of what is said of the whole, one of each element. A layout other than
//! this one is not known, rather than wrong. Source: `vset.c` of Redis 8.0 to 8.4.

use super::collect::Collector;
use super::error::{Stop, Unreadable};
use super::record::ModuleId;

/// Links for each element where the number is not said, as in Redis 8.0's release candidates.
const LINKS_DEFAULT: u64 = 16;
const HAS_PROJECTION: u64 = 1;
const HAS_ATTRIBUTES: u64 = 2;

/// Types of what a module saves.
const END: u64 = 0;
const UNSIGNED: u64 = 2;
const TEXT: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Dimensions,
    Count,
    Graph,
    Flags,
    ProjectedDimensions,
    Projection,
    Name,
    Attributes,
    Vector,
    ParameterCount,
    Parameter,
}

/// Where in a vector set the reading is.
#[derive(Debug)]
pub(super) struct Vectors {
    next: Next,
    /// Elements that are still to be read.
    left: u64,
    has_attributes: bool,
    /// Of the element: of all its parameters the last says something of its vector.
    parameters: u64,
}

impl Vectors {
    /// Only of the layout that is known; any other value of a module is compared as it was saved.
    pub(super) fn of(id: ModuleId) -> Option<Self> {
        let is_known = id.version() == 0 && id.name() == "vectorset";
        is_known.then_some(Self { next: Next::Dimensions, left: 0, has_attributes: false, parameters: 0 })
    }

    /// One thing that the module saved; of a text, that it comes.
    pub(super) fn value(&mut self, code: u64, value: u64, out: &mut Collector) -> Result<(), Stop> {
        let is_text = matches!(self.next, Next::Projection | Next::Name | Next::Attributes | Next::Vector);
        match code {
            UNSIGNED if !is_text => self.number(value, out),
            TEXT if is_text && (self.next != Next::Name || self.left > 0) => {
                if self.next == Next::Name {
                    out.elements.push(&[1]);
                }
                Ok(())
            }
            END if self.next == Next::Name && self.left == 0 => Ok(()),
            _ => Err(unknown()),
        }
    }

    fn number(&mut self, value: u64, out: &mut Collector) -> Result<(), Stop> {
        self.next = match self.next {
            Next::Dimensions => {
                out.elements.push(&[0]);
                out.elements.push(&value.to_le_bytes());
                Next::Count
            }
            Next::Count => {
                self.left = value;
                Next::Graph
            }
            Next::Graph => {
                let links = if value >> 8 == 0 { LINKS_DEFAULT } else { value >> 8 };
                out.elements.push(&(links << 8 | value & 0xff).to_le_bytes());
                Next::Flags
            }
            Next::Flags if value & !(HAS_PROJECTION | HAS_ATTRIBUTES) != 0 => return Err(unknown()),
            Next::Flags => {
                self.has_attributes = value & HAS_ATTRIBUTES != 0;
                if value & HAS_PROJECTION != 0 {
                    Next::ProjectedDimensions
                } else {
                    out.elements.close();
                    Next::Name
                }
            }
            Next::ProjectedDimensions => {
                out.elements.push(&value.to_le_bytes());
                Next::Projection
            }
            Next::ParameterCount if value == 0 => return Err(unknown()),
            Next::ParameterCount => {
                self.parameters = value;
                Next::Parameter
            }
            _ => {
                self.parameters -= 1;
                if self.parameters == 0 {
                    out.elements.push(&value.to_le_bytes());
                    out.elements.close();
                    out.bytes += 8;
                    out.count += 1;
                    self.left -= 1;
                    Next::Name
                } else {
                    Next::Parameter
                }
            }
        };
        Ok(())
    }

    /// The text that came has ended, and with the projection all that is said of the whole.
    pub(super) fn text_done(&mut self, out: &mut Collector) {
        self.next = match self.next {
            Next::Projection => {
                out.elements.close();
                Next::Name
            }
            Next::Name if self.has_attributes => Next::Attributes,
            Next::Name => {
                // As one without attributes has where others have some.
                out.push_length(0);
                Next::Vector
            }
            Next::Attributes => Next::Vector,
            _ => Next::ParameterCount,
        };
    }
}

fn unknown() -> Stop {
    Stop::Unknown(Unreadable::VectorSet)
}
