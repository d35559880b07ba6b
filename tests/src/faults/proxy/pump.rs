//! One direction of one connection.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Announced, Direction, Flow, Rules};
use crate::kit::Random;

/// The error of a connection that was truncated.
pub(super) const CUT_SHORT: io::ErrorKind = io::ErrorKind::ConnectionAborted;
/// The most that is read at once.
const CHUNK: usize = 16 * 1024;
/// How long the rest of an address is waited for.
const PARTED: Duration = Duration::from_millis(5);
/// The most chunks that wait for their time.
const WAITING: usize = 1_024;
/// How far into a connection `SUBSCRIBE` is looked for.
const LOOKED_AT: usize = 64 * 1024;

/// Bytes, when they are due, and whether the connection ends after them.
struct Chunk {
    bytes: Bytes,
    due: Instant,
    last: bool,
}

/// Forwards until the sender ends, and then ends the sending side of the receiver.
///
/// # Errors
///
/// One of the two failed, or the connection is to be closed in the middle.
pub(super) async fn pump(
    direction: Direction,
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    ways: Ways<'_>,
) -> io::Result<()> {
    let (queue, queued) = mpsc::channel(WAITING);
    let rules = ways.rules.clone();
    let reading = Reading { direction, ways };
    tokio::try_join!(reading.run(from, queue), write(direction, to, queued, rules)).map(drop)
}

/// Waits while nothing may pass.
async fn passing(direction: Direction, rules: &mut watch::Receiver<Rules>) -> io::Result<Flow> {
    match rules.wait_for(|rules| !rules.flow(direction).held).await {
        Ok(rules) => Ok(*rules.flow(direction)),
        Err(_) => Err(CUT_SHORT.into()),
    }
}

/// What both directions of a connection share.
#[derive(Clone)]
pub(super) struct Ways<'a> {
    pub(super) rules: watch::Receiver<Rules>,
    pub(super) random: Random,
    /// Set when the node receives on this connection.
    pub(super) receiving: &'a AtomicBool,
    pub(super) announced: &'a Announced,
}

struct Reading<'a> {
    direction: Direction,
    ways: Ways<'a>,
}

impl Reading<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, queue: mpsc::Sender<Chunk>) -> io::Result<()> {
        let mut latest = Instant::now();
        let mut looked_at = 0;
        let mut obeyed = self.ways.rules.borrow().flow(self.direction).truncate.0;
        let mut left = None;
        let mut kept = BytesMut::new();
        loop {
            let flow = passing(self.direction, &mut self.ways.rules).await?;
            if flow.truncate.0 != obeyed {
                obeyed = flow.truncate.0;
                left = Some(flow.truncate.1);
            }
            let most =
                flow.bytes_per_second.map_or(CHUNK, |rate| (rate as usize / 20).clamp(1, CHUNK));
            let most = left.map_or(most, |left| most.min(left as usize));
            let mut bytes = std::mem::take(&mut kept);
            let before = bytes.len();
            bytes.reserve(most);
            let mut more = true;
            if most > 0 {
                let mut limited = (&mut from).take(most as u64);
                tokio::select! {
                    biased;
                    _ = self.ways.rules.changed() => {
                        kept = bytes;
                        continue;
                    }
                    read = limited.read_buf(&mut bytes) => more = read? > 0,
                    () = tokio::time::sleep(PARTED), if before > 0 => more = false,
                }
                if !more && bytes.is_empty() {
                    return Ok(());
                }
            }
            if self.direction == Direction::ToNode {
                let whole = self.ways.announced.rewrite(&mut bytes);
                if more && left.is_none() {
                    kept = bytes.split_off(whole);
                }
                if bytes.is_empty() {
                    continue;
                }
            }
            if self.direction == Direction::ToBroker && looked_at < LOOKED_AT {
                looked_at += bytes.len();
                self.look(&bytes);
            }
            let length = bytes.len() as u64;
            left = left.map(|left| left - length.min(left));
            latest = latest.max(Instant::now() + self.late(&flow));
            let last = left == Some(0);
            let chunk = Chunk { bytes: bytes.freeze(), due: latest, last };
            if queue.send(chunk).await.is_err() || last {
                // The other half says why, or ends the connection.
                return Ok(());
            }
            if let Some(rate) = flow.bytes_per_second {
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
            }
        }
    }

    fn late(&mut self, flow: &Flow) -> Duration {
        let Some((delay, jitter)) = flow.delay else { return Duration::ZERO };
        let spread = self.ways.random.below(2 * jitter.as_micros() as usize + 1) as u64;
        (delay + Duration::from_micros(spread)).saturating_sub(jitter)
    }

    /// A subscriber says so in one of its first commands.
    fn look(&self, bytes: &[u8]) {
        const COMMAND: &[u8] = b"\r\n$9\r\nSUBSCRIBE\r\n";
        let is_command = |window: &[u8]| window.eq_ignore_ascii_case(COMMAND);
        if bytes.windows(COMMAND.len()).any(is_command) {
            self.ways.receiving.store(true, Ordering::Release);
        }
    }
}

async fn write(
    direction: Direction,
    mut to: WriteHalf<'_>,
    mut queued: mpsc::Receiver<Chunk>,
    mut rules: watch::Receiver<Rules>,
) -> io::Result<()> {
    while let Some(chunk) = queued.recv().await {
        if chunk.due > Instant::now() {
            tokio::time::sleep_until(chunk.due).await;
        }
        passing(direction, &mut rules).await?;
        to.write_all(&chunk.bytes).await?;
        if chunk.last {
            return Err(CUT_SHORT.into());
        }
    }
    to.shutdown().await
}
