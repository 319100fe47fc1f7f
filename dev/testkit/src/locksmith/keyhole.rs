//! A packet, and everything that is known about it but its key: whether some bytes open it, as whatever they may be.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::digest::sha256;
use undertone_keys::secret::Secret;
use undertone_keys::{CallId, DeviceId, JoinId, UserId};
use undertone_media::key_id::KeyId;
use undertone_media::packet::HEADER_LENGTH;
use undertone_protocol::grant::Grant;
use undertone_protocol::join::Join;

use super::image::Image;
use super::opens;

/// What some bytes turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// The base key of one sender's frames (rule MED-3).
    SenderKey,
    /// The key of an epoch, from which those come: what an MLS group exports (rule GRP-6), or a host draws.
    MediaKey,
    /// The exporter secret of an MLS epoch (RFC 9420, 8.5).
    ExporterSecret,
    /// The epoch secret (RFC 9420, 8).
    EpochSecret,
}

/// Of 32 bytes that are drawn, fewer than so many different ones are had by one in a thousand million; of 16, fewer than so many by one in
/// ten million.
const DISTINCT_OF_32: usize = 18;
const DISTINCT_OF_16: usize = 9;

/// A packet of a call.
#[derive(Debug)]
pub struct Keyhole {
    packet: Vec<u8>,
    call: CallId,
    id: KeyId,
    senders: Vec<(UserId, DeviceId, JoinId)>,
}

/// What came of trying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Runs of 16 and of 32 bytes.
    pub runs: usize,
    /// How many of them opened the packet, as what.
    pub opened: BTreeMap<Shape, usize>,
}

impl Keyhole {
    /// A packet of the call in which these people are or were; one of them has sent it. `None` if it is none. The call must have come to
    /// fewer than 256 epochs: a packet tells the last eight bits of its epoch.
    #[must_use]
    pub fn new(packet: &[u8], papers: &[(Grant, Join)]) -> Option<Self> {
        let id = KeyId::of_frame(packet.get(HEADER_LENGTH..)?)?;
        let (grant, _) = papers.first()?;
        let of = |(grant, join): &(Grant, Join)| (grant.member.user.clone(), grant.member.device, join.join);
        Some(Self { packet: packet.to_vec(), call: grant.call, id, senders: papers.iter().map(of).collect() })
    }

    /// Tries every run of 32 and of 16 bytes of an image.
    #[must_use]
    pub fn try_all(&self, image: &Image) -> Tried {
        let (long, short) = (image.runs::<32>(DISTINCT_OF_32), image.runs::<16>(DISTINCT_OF_16));
        let runs = long.iter().map(<[u8; 32]>::as_slice).chain(short.iter().map(<[u8; 16]>::as_slice));
        self.try_these(&runs.collect::<Vec<_>>(), &[])
    }

    /// Tries runs of 32 bytes of an image until these are found, or there is no more to try.
    #[must_use]
    pub fn find(&self, image: &Image, shapes: &[Shape]) -> Tried {
        let long = image.runs::<32>(DISTINCT_OF_32);
        self.try_these(&long.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>(), shapes)
    }

    fn try_these(&self, runs: &[&[u8]], enough: &[Shape]) -> Tried {
        let tried = Mutex::new(Tried::default());
        let work = |share: &[&[u8]]| {
            for some in share.chunks(1_000) {
                let opened: Vec<Shape> = some.iter().filter_map(|run| self.fits(run)).collect();
                let Ok(mut tried) = tried.lock() else { return };
                tried.runs += some.len();
                for shape in opened {
                    *tried.opened.entry(shape).or_default() += 1;
                }
                if !enough.is_empty() && enough.iter().all(|shape| tried.opened.contains_key(shape)) {
                    return;
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        std::thread::scope(|scope| {
            for share in runs.chunks(runs.len().div_ceil(threads).max(1)) {
                scope.spawn(move || work(share));
            }
        });
        tried.into_inner().unwrap_or_default()
    }

    /// As what these bytes open the packet, if they do.
    #[must_use]
    pub fn fits(&self, run: &[u8]) -> Option<Shape> {
        if opens(run, &self.packet, self.call.as_bytes()) {
            return Some(Shape::SenderKey);
        }
        if self.is_media_key(run) {
            return Some(Shape::MediaKey);
        }
        if self.is_exporter_secret(run) {
            return Some(Shape::ExporterSecret);
        }
        let exporter = derive_secret(run, "exporter");
        self.is_exporter_secret(&exporter).then_some(Shape::EpochSecret)
    }

    fn is_exporter_secret(&self, run: &[u8]) -> bool {
        let labelled = derive_secret(run, "SFrame 1.0 Base Key");
        self.is_media_key(&expand_with_label(&labelled, "exported", &sha256(&[])))
    }

    fn is_media_key(&self, run: &[u8]) -> bool {
        let Some(key) = Secret::from_slice(run).map(MediaKey::new) else { return false };
        let (epoch, context) = (u32::from(self.id.epoch).to_be_bytes(), self.id.context.0.to_be_bytes());
        self.senders.iter().any(|(user, device, join)| {
            let (user, call) = (user.as_str().as_bytes(), self.call.as_bytes());
            let place = [call.as_slice(), &epoch, user, device.as_bytes(), join.as_bytes(), &context];
            let sender: Secret<32> = key.derive(undertone_media::labels::SENDER_KEY, &place);
            opens(sender.expose(), &self.packet, self.call.as_bytes())
        })
    }
}

/// RFC 9420, 8: `DeriveSecret`.
fn derive_secret(secret: &[u8], label: &str) -> [u8; 32] {
    expand_with_label(secret, label, &[])
}

/// RFC 9420, 8: `ExpandWithLabel` to 32 bytes, with HKDF-SHA256. Written down once more, so that the locksmith does not ask the library
/// whose secrets it looks for.
fn expand_with_label(secret: &[u8], label: &str, context: &[u8]) -> [u8; 32] {
    let label = format!("MLS 1.0 {label}");
    // Both are shorter than 64 bytes, so their lengths are a byte.
    let lengths = (u8::try_from(label.len()), u8::try_from(context.len()));
    let (label_length, context_length) = (lengths.0.unwrap_or(u8::MAX), lengths.1.unwrap_or(u8::MAX));
    let info = [&[0, 32, label_length], label.as_bytes(), &[context_length], context].concat();
    let mut out = [0; 32];
    let prk = Prk::new_less_safe(HKDF_SHA256, secret);
    if prk.expand(&[&info], HKDF_SHA256).and_then(|okm| okm.fill(&mut out)).is_err() {
        out = [0; 32];
    }
    out
}
