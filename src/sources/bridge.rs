//! Carries bytes between async sockets and the blocking threads of [`crate::domain::stream`].
//!
//! One [`LaneThread`] drives one lane. Blocks go round: the async side fills one while the thread works on another, and an
//! emptied block comes back, so nothing is allocated while bytes flow. Memory: [`BLOCKS`] blocks of [`BLOCK_BYTES`] a lane.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::domain::{Block, Fingerprint, Lane, PartName, PartSink, Shape, SinkError};

/// How many blocks one lane has in all: one being filled, one being worked on, one between them.
pub const BLOCKS: usize = 3;
/// How full a block gets before it is handed over.
pub const BLOCK_BYTES: usize = 128 << 10;

enum Order {
    Begin(PartName, Shape),
    Write(Block),
    Finish(oneshot::Sender<Fingerprint>),
    Close,
}

/// A blocking thread that drives one lane. Dropped without [`LaneThread::close`], it drops the lane unclosed, which poisons
/// the dump: whatever goes wrong on the async side can never end in a committed part.
pub struct LaneThread {
    orders: Option<mpsc::Sender<Order>>,
    emptied: mpsc::Receiver<Block>,
    thread: JoinHandle<Result<(), SinkError>>,
    /// Blocks that were never made yet.
    unmade: usize,
}

impl LaneThread {
    /// Starts the thread and opens a lane of `sink` on it.
    pub fn start(sink: &Arc<dyn PartSink>) -> Self {
        let (orders, received) = mpsc::channel(BLOCKS);
        let (returned, emptied) = mpsc::channel(BLOCKS);
        let sink = Arc::clone(sink);
        let thread = tokio::task::spawn_blocking(move || drive(sink.open_lane()?, received, &returned));
        Self { orders: Some(orders), emptied, thread, unmade: BLOCKS }
    }

    pub async fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError> {
        self.order(Order::Begin(name, shape)).await
    }

    /// An empty block; waits while all of them are on their way.
    pub async fn block(&mut self) -> Result<Block, SinkError> {
        if let Ok(block) = self.emptied.try_recv() {
            return Ok(block);
        }
        if self.unmade > 0 {
            self.unmade -= 1;
            return Ok(Block::default());
        }
        match self.emptied.recv().await {
            Some(block) => Ok(block),
            None => Err(self.failure().await),
        }
    }

    pub async fn write(&mut self, block: Block) -> Result<(), SinkError> {
        self.order(Order::Write(block)).await
    }

    /// Ends the part: everything written is in its fingerprint.
    pub async fn finish(&mut self) -> Result<Fingerprint, SinkError> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Finish(answer)).await?;
        match answered.await {
            Ok(fingerprint) => Ok(fingerprint),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Closes the lane and waits for the thread's end.
    pub async fn close(mut self) -> Result<(), SinkError> {
        self.order(Order::Close).await?;
        self.orders = None;
        match self.thread.await {
            Ok(result) => result,
            Err(error) => Err(SinkError(format!("a lane's thread ended early: {error}"))),
        }
    }

    async fn order(&mut self, order: Order) -> Result<(), SinkError> {
        let sent = match &self.orders {
            Some(orders) => orders.send(order).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { Err(self.failure().await) }
    }

    /// Why the thread takes no more orders. Only called once it has ended or is about to.
    async fn failure(&mut self) -> SinkError {
        if self.orders.take().is_none() {
            return SinkError("the lane has failed before".to_owned());
        }
        match (&mut self.thread).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => SinkError("the lane was closed".to_owned()),
            Err(error) => SinkError(format!("a lane's thread ended early: {error}")),
        }
    }
}

fn drive(
    mut lane: Box<dyn Lane>,
    mut orders: mpsc::Receiver<Order>,
    emptied: &mpsc::Sender<Block>,
) -> Result<(), SinkError> {
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Begin(name, shape) => lane.begin(name, shape)?,
            Order::Write(mut block) => {
                lane.write(&block)?;
                block.clear();
                // A block that nobody takes back is a dump that is over.
                drop(emptied.try_send(block));
            }
            Order::Finish(answer) => {
                let fingerprint = lane.finish()?;
                if answer.send(fingerprint).is_err() {
                    return Err(SinkError("the dump was dropped while its lane finished a part".to_owned()));
                }
            }
            Order::Close => return lane.close(),
        }
    }
    Err(SinkError("the dump ended without closing its lane".to_owned()))
}

/// Writes records that are made here, one at a time, through a lane's blocks.
pub struct RecordWriter<'l> {
    lane: &'l mut LaneThread,
    block: Block,
}

impl<'l> RecordWriter<'l> {
    /// Begins a part of records.
    pub async fn begin(lane: &'l mut LaneThread, name: PartName) -> Result<Self, SinkError> {
        lane.begin(name, Shape::Records).await?;
        let block = lane.block().await?;
        Ok(Self { lane, block })
    }

    /// Adds one whole record, its line feed included.
    pub async fn record(&mut self, record: &[u8]) -> Result<(), SinkError> {
        let mut rest = record;
        while self.block.data.len() + rest.len() > BLOCK_BYTES {
            let (piece, after) = rest.split_at((BLOCK_BYTES - self.block.data.len()).min(rest.len()));
            self.block.data.extend_from_slice(piece);
            rest = after;
            let next = self.lane.block().await?;
            self.lane.write(std::mem::replace(&mut self.block, next)).await?;
        }
        self.block.data.extend_from_slice(rest);
        let end = u32::try_from(self.block.data.len()).expect("a block is far below 4 GiB");
        self.block.record_ends.push(end);
        Ok(())
    }

    pub async fn finish(self) -> Result<Fingerprint, SinkError> {
        self.lane.write(self.block).await?;
        self.lane.finish().await
    }
}

#[cfg(test)]
mod tests;
