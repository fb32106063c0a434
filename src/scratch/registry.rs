//! The kinds of scratch instances. A new kind is one folder and one line here.

use super::ScratchKind;
use super::command::CommandScratch;
use super::files::FilesScratch;
use super::objects::ObjectsScratch;
use super::postgres::PostgresScratch;
use super::redis::RedisScratch;

pub fn kinds() -> &'static [&'static dyn ScratchKind] {
    &[&PostgresScratch, &RedisScratch, &FilesScratch, &ObjectsScratch, &CommandScratch]
}

pub fn kind(engine: &str) -> Option<&'static dyn ScratchKind> {
    kinds().iter().copied().find(|kind| kind.engine() == engine)
}
