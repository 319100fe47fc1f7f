//! Requests, and how fast they are answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use undertone_raida::command::Command;
use undertone_raida::frame::{self, FrameKey};
use undertone_raida::header::{Encryption, RequestHeader};
use undertone_raida::status::Status;

use super::{COIN_ID, RAIDA, key};
use crate::histogram::Histogram;

/// A request, where its two bytes of echo stand, and what the answer is to say.
#[derive(Clone)]
pub(super) struct Ask {
    bytes: Vec<u8>,
    echo_at: usize,
    reply_echo_at: usize,
    expected: Option<u8>,
}

/// A request under type 0 or 4, with a coin whose key is the one that all have, under nonce `number`. Not type 1: its echo is part
/// of what it is encrypted with.
pub(super) fn ask(
    command: Command,
    by: Encryption,
    payload: &[u8],
    number: u64,
    expected: Status,
) -> anyhow::Result<Ask> {
    let (group, of_group) = command.number();
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let mut nonce = [7; 24];
    let bytes = u32::try_from(wall)?.to_be_bytes().into_iter().chain(number.to_be_bytes());
    nonce.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let header = RequestHeader {
        version: 1,
        split: 0,
        raida: RAIDA,
        shard: 0,
        group,
        command: of_group,
        coin_id: COIN_ID,
        encryption: Ok(by),
        body: 0,
        nonce,
        echo: [0; 2],
    };
    let frame_key = match by {
        Encryption::None => FrameKey::None,
        _ => FrameKey::of_one(&key()),
    };
    let bytes = frame::seal_request(header, &frame_key, &frame::with_checksum([1; 12]), payload).context("too long")?;
    let (echo_at, reply_echo_at) = if by.is_tagged() { (46, 46) } else { (30, 6) };
    Ok(Ask { bytes, echo_at, reply_echo_at, expected: Some(expected.to_byte()) })
}

impl Ask {
    /// The same for what hands it back.
    pub(super) fn handed_back(&self) -> Self {
        Self { reply_echo_at: self.echo_at, expected: None, ..self.clone() }
    }

    fn by_connection(&self, to: SocketAddr) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(&self.bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let status = answer.get(2).copied();
        ensure!(self.expected.is_none_or(|expected| status == Some(expected)), "a node answers with status {status:?}");
        Ok(())
    }
}

/// Answers a second, and how long they took.
pub(super) struct Pace {
    pub(super) rate: f64,
    pub(super) times: Histogram,
}

impl Pace {
    pub(super) fn p99_ms(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let us = self.times.quantile_us(990) as f64;
        us / 1_000.0
    }
}

/// Which of several requests is next.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// Any of them.
    Random,
    /// One after the other, each once.
    Once,
}

/// Keeps so many requests under way for so long. An answer that says something else than it should ends it.
pub(super) fn pace(
    to: SocketAddr,
    asks: &[Ask],
    outstanding: usize,
    seconds: u64,
    order: Order,
) -> anyhow::Result<Pace> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let first = asks.first().context("nothing to ask")?;
    let (mut sent_at, mut bytes) = (vec![Instant::now(); 65_536], Vec::new());
    let (mut sent, mut done, mut times, mut reply) = (0_usize, 0_u64, Histogram::default(), [0; 2_048]);
    let begun = Instant::now();
    let mut send = |sent: &mut usize, sent_at: &mut Vec<Instant>| -> anyhow::Result<bool> {
        let next = match order {
            Order::Random => usize::try_from(UnwrapErr(SysRng).next_u32())? % asks.len(),
            Order::Once => *sent,
        };
        let Some(ask) = asks.get(next) else { return Ok(false) };
        let id = u16::try_from(*sent % 65_536)?;
        bytes.clone_from(&ask.bytes);
        bytes.get_mut(ask.echo_at..ask.echo_at + 2).context("short")?.copy_from_slice(&id.to_be_bytes());
        *sent_at.get_mut(usize::from(id)).context("no place")? = Instant::now();
        socket.send(&bytes)?;
        *sent += 1;
        Ok(true)
    };
    for _ in 0..outstanding {
        send(&mut sent, &mut sent_at)?;
    }
    while begun.elapsed() < Duration::from_secs(seconds) {
        // One that was dropped is not waited for: the queue of what waits for the disk is bounded.
        if let Ok(length) = socket.recv(&mut reply) {
            let id = reply.get(first.reply_echo_at..first.reply_echo_at + 2).filter(|_| length >= 32);
            let id = u16::from_be_bytes(id.and_then(|id| id.first_chunk().copied()).context("a short reply")?);
            let status = reply.get(2).copied().unwrap_or_default();
            ensure!(first.expected.is_none_or(|expected| expected == status), "a node answers with status {status}");
            times.add(sent_at.get(usize::from(id)).context("no place")?.elapsed());
            done += 1;
        }
        if !send(&mut sent, &mut sent_at)? {
            break;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    Ok(Pace { rate, times })
}

/// Keeps so many connections under way, one request and one answer each, any of these.
pub(super) fn by_tcp(to: SocketAddr, asks: &[Ask], outstanding: usize, seconds: u64) -> anyhow::Result<Pace> {
    let begun = Instant::now();
    let one_after_the_other = || -> anyhow::Result<Histogram> {
        let mut times = Histogram::default();
        while begun.elapsed() < Duration::from_secs(seconds) {
            let next = usize::try_from(UnwrapErr(SysRng).next_u32())? % asks.len();
            let asked = Instant::now();
            asks.get(next).context("nothing to ask")?.by_connection(to)?;
            times.add(asked.elapsed());
        }
        Ok(times)
    };
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..outstanding).map(|_| scope.spawn(one_after_the_other)).collect();
        threads.into_iter().try_fold(Histogram::default(), |mut all, thread| {
            all.merge(&thread.join().map_err(|_| anyhow::anyhow!("who asks has panicked"))??);
            anyhow::Ok(all)
        })
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rate = times.count() as f64 / begun.elapsed().as_secs_f64();
    Ok(Pace { rate, times })
}
