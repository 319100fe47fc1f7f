//! Sealed media of an established call, without a queue in between.

use std::collections::HashMap;

use undertone_call::room::Input as RoomInput;
use undertone_keys::envelope::Address;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, Time};
use undertone_media::hop::HopError;
use undertone_media::packet::{Codec, Flags, HEADER_LENGTH, Kind};
use undertone_media::ring::OpenError;
use undertone_media::sframe::SealError;
use undertone_media::{Context, Epoch, FrameInfo, KeyId, MediaHeader, MemberHop, Ring};
use undertone_protocol::Protection;
use undertone_transparency::TrustedPeer;

use super::path::Path;
use super::quality;
use super::reception::Arrivals;
use super::{Engine, Event, Heard, MediaStats, Output, PathState};

/// The media side of an established call.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) call: CallId,
    pub(super) with: With,
    pub(super) grant: Signed,
    /// Who is in the room, and, in a blind one, what seals and opens their frames.
    pub(super) ring: Ring,
    pub(super) protection: Protection,
    /// In a hop room what seals and opens on the present connection (rule MED-8).
    pub(super) hop: Option<MemberHop>,
    /// The own sender index.
    pub(super) index: u16,
    pub(super) path: Path,
    pub(super) join: Option<undertone_keys::JoinId>,
    /// Somebody who may silenced this device.
    pub(super) muted: bool,
    /// A newer grant was asked for, or will be.
    pub(super) asking: bool,
    pub(super) renew_at: Option<Time>,
    /// What the others say of how they hear this device, and when: one entry for each sender that is here.
    pub(super) heard_by: HashMap<u16, (Time, f32)>,
    /// What has come in of a room's call and is not open, and what is told of it.
    pub(super) arrivals: Arrivals,
    /// Nothing is sealed: an epoch that should have come is not there.
    pub(super) held: bool,
    /// Both sides were in the room at the same time, once at least.
    pub(super) connected: bool,
    pub(super) heard: bool,
    pub(super) sequence: u32,
    /// Frames sealed since the epoch of a room was last promoted.
    pub(super) sealed_in_epoch: u64,
    pub(super) stats: MediaStats,
    /// Of the last packet that did not open: its key is not here, and would not be waited for.
    missed: Option<KeyId>,
}

/// Whom the media are shared with.
#[derive(Debug)]
pub(super) enum With {
    /// The other side of a call of two.
    Peer(Box<PeerSide>),
    /// Whoever the room's machine proves.
    Room,
    /// Nobody: the relay hands back what this device sends, and this opens it.
    Echo(Box<Ring>),
}

/// The other side of a call of two.
#[derive(Debug)]
pub(super) struct PeerSide {
    pub(super) peer: TrustedPeer,
    pub(super) device: Address,
    /// The hash of the grant that the call's transcript names.
    pub(super) grant: [u8; 32],
}

impl Media {
    pub(super) fn new(call: CallId, with: With, grant: Signed, ring: Ring, protection: Protection, path: Path) -> Self {
        Self {
            call,
            with,
            grant,
            ring,
            protection,
            hop: None,
            index: 0,
            path,
            join: None,
            muted: false,
            asking: false,
            renew_at: None,
            heard_by: HashMap::new(),
            arrivals: Arrivals::default(),
            held: false,
            connected: false,
            heard: false,
            sequence: 0,
            sealed_in_epoch: 0,
            stats: MediaStats::default(),
            missed: None,
        }
    }

    pub(super) const fn is_room(&self) -> bool {
        matches!(self.with, With::Room)
    }

    pub(super) const fn is_echo(&self) -> bool {
        matches!(self.with, With::Echo(_))
    }

    /// Whether there is something to seal with.
    fn has_key(&self) -> bool {
        self.protection == Protection::Hop || self.ring.current_epoch().is_some()
    }

    /// Opens a packet as the call's protection has it. What does not open is counted, and kept if its key may yet come.
    fn open<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Option<Opened<'b>> {
        let sealed = MediaHeader::decode(packet).ok().map(|(_, sealed)| sealed);
        let sealed = sealed.filter(|_| self.is_room() && self.protection == Protection::Blind);
        if let Some(id) = sealed.and_then(|sealed| self.ring.early(sealed))
            && self.arrivals.keep(now, id, packet)
        {
            return None;
        }
        let id = sealed.and_then(KeyId::of_frame);
        match self.try_open(now, packet) {
            Ok(opened) => {
                self.stats.opened += 1;
                if self.is_room() {
                    self.arrivals.opened(now, opened.id);
                }
                Some(opened)
            }
            Err(error) => {
                self.stats.refused += 1;
                self.missed = id.filter(|_| error == OpenError::UnknownEpoch);
                if let Some(id) = id {
                    self.arrivals.refused(now, id, error);
                }
                None
            }
        }
    }

    fn try_open<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Result<Opened<'b>, OpenError> {
        let (header, _) = MediaHeader::decode(packet).map_err(|_| OpenError::Malformed)?;
        match self.protection {
            Protection::Blind | Protection::Echo => {
                let (_, sealed) = packet.split_at_mut_checked(HEADER_LENGTH).ok_or(OpenError::Malformed)?;
                let ring = if let With::Echo(mirror) = &mut self.with { mirror } else { &mut self.ring };
                let frame = ring.open(now, header.kind, header.codec, sealed)?;
                Ok(Opened { header, id: frame.key_id, captured_ms: frame.captured_ms, payload: frame.payload })
            }
            Protection::Hop => {
                let hop = self.hop.as_mut().ok_or(OpenError::UnknownEpoch)?;
                let opened = hop.open(now, packet).map_err(|error| match error {
                    HopError::UnknownEpoch => OpenError::UnknownEpoch,
                    HopError::Replayed => OpenError::Replayed,
                    HopError::Malformed => OpenError::Malformed,
                    _ => OpenError::Forged,
                })?;
                // The relay's word says whose frame it is; somebody who is not here, or this device, it is not.
                let mut senders = self.ring.senders().iter();
                senders.find(|sender| sender.index == opened.sender).ok_or(OpenError::UnknownSender(opened.sender))?;
                let id = KeyId { context: opened.context, sender: opened.sender, epoch: 0 };
                Ok(Opened { header: opened.header, id, captured_ms: opened.captured_ms, payload: opened.payload })
            }
        }
    }
}

/// A frame that opened, under either protection.
struct Opened<'b> {
    header: MediaHeader,
    /// In a hop room, where keys belong to connections, without an epoch.
    id: KeyId,
    captured_ms: u32,
    payload: &'b [u8],
}

impl Engine {
    /// What the media path counted in the present call.
    #[must_use]
    pub fn media_stats(&self) -> MediaStats {
        let Some(media) = &self.media else { return MediaStats::default() };
        let (counts, opened_late) = media.arrivals.counts();
        let refused = media.stats.refused + counts.dropped;
        MediaStats { kept: counts.kept, opened_late, dropped: counts.dropped, refused, ..media.stats }
    }

    /// Whether sound can be sent now.
    #[must_use]
    pub fn can_send(&self) -> bool {
        // What a listener says, or somebody who was silenced, nobody would be handed.
        let may = self.room.as_ref().is_none_or(|room| room.rights().speak);
        let ready =
            |media: &Media| media.path.state() == PathState::Joined && media.has_key() && !media.muted && !media.held;
        may && self.media.as_ref().is_some_and(ready)
    }

    /// Seals one frame of encoded sound into a whole packet at the front of `out`; returns the packet's length.
    ///
    /// # Errors
    /// [`SealError::NoKey`] when there is no call or no join: nothing leaves in the clear (rule MED-6).
    pub fn seal_audio(
        &mut self,
        codec: Codec,
        captured_ms: u32,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let info = FrameInfo { kind: Kind::Audio, codec, context: Context::MAIN_AUDIO, captured_ms };
        self.seal_frame(info, payload, out)
    }

    /// Seals what this device says about how it hears the others: their indices, and the percentage of their frames that
    /// did not come. As many as fit.
    ///
    /// # Errors
    /// See [`Engine::seal_audio`].
    pub fn seal_quality(&mut self, captured_ms: u32, heard: &[(u16, f32)], out: &mut [u8]) -> Result<usize, SealError> {
        let info = FrameInfo { kind: Kind::Control, codec: Codec::OPUS_32K, context: Context::QUALITY, captured_ms };
        self.seal_frame(info, &quality::encode(heard), out)
    }

    /// Seals what a host says to everybody about the room's keys (rule GRP-1).
    pub(super) fn seal_word(&mut self, word: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let info = FrameInfo { kind: Kind::Control, codec: Codec::OPUS_32K, context: Context::HOST, captured_ms: 0 };
        self.seal_frame(info, word, out)
    }

    fn seal_frame(&mut self, info: FrameInfo, payload: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        // The relay hands nothing on of whoever is in the audience.
        if self.room.as_ref().is_some_and(|room| room.only_listens()) {
            return Err(SealError::NoKey);
        }
        let media = self.media.as_mut().filter(|media| media.path.state() == PathState::Joined && !media.held);
        let media = media.ok_or(SealError::NoKey)?;
        let header = MediaHeader {
            flags: Flags { frame_end: true, ..Flags::default() },
            kind: info.kind,
            codec: info.codec,
            stream: 0,
            fec_ratio: 0,
            sequence: media.sequence,
            timestamp_ms: info.captured_ms,
            fec_block: 0,
        };
        let length = match media.protection {
            Protection::Blind | Protection::Echo => {
                let (head, rest) = out.split_first_chunk_mut::<HEADER_LENGTH>().ok_or(SealError::Buffer)?;
                let length = media.ring.seal(info, payload, rest)?;
                *head = header.encode();
                HEADER_LENGTH + length
            }
            Protection::Hop => {
                let hop = media.hop.as_mut().ok_or(SealError::NoKey)?;
                hop.seal(&header, media.index, info, payload, out)?
            }
        };
        media.sequence = media.sequence.wrapping_add(1);
        media.stats.sealed += 1;
        self.count_sealed();
        Ok(length)
    }

    /// The relay says that this connection's next hop epoch is in use. One that leaves any out is left, and joined anew.
    pub(super) fn hop_epoch(&mut self, now: Time, epoch: u32, removed: bool, rng: &mut impl rand_core::CryptoRng) {
        let Some(media) = &mut self.media else { return };
        // Elsewhere the word means nothing.
        let followed = media.hop.as_mut().map_or(Ok(()), |hop| hop.follow(now, Epoch(epoch), removed));
        let Err(skipped) = followed else { return };
        let news = media.path.lost(now);
        self.outputs.push_back(Output::CloseRelay);
        self.reject(format!("the relay left out an epoch of its own: {skipped}"));
        self.room(now, RoomInput::Away, rng);
        self.path_news(now, news, rng);
    }

    /// How whoever hears this device worst says it does: the percentage of its frames that do not come. `None` when
    /// nobody has said anything for a while.
    #[must_use]
    pub fn worst_loss(&self, now: Time) -> Option<f32> {
        let said = self.media.as_ref()?.heard_by.values();
        said.filter(|(at, _)| now.since(*at) < quality::FRESH).map(|(_, loss)| *loss).reduce(f32::max)
    }

    /// Opens a packet where it stands. `None` for whatever does not open: it is counted and never an error that ends
    /// a stream (rule MED-5). In a blind room a frame that comes before its key is kept for [`Engine::poll_kept`].
    pub fn open_packet<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Option<Heard<'b>> {
        let heard = self.hear(now, packet);
        self.tell_arrivals(now);
        heard
    }

    /// The same, also for a packet that was kept.
    pub(super) fn hear<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Option<Heard<'b>> {
        let media = self.media.as_mut()?;
        if let (Some(id), Some(room)) = (media.missed.take(), &mut self.room)
            && room.only_listens()
        {
            // A listener was given a key that nobody seals under: what others seal under is one that it has had, or not any more.
            room.missed(now, id.sender, id.epoch);
        }
        let opened = media.open(now, packet)?;
        if !media.heard {
            media.heard = true;
            self.outputs.push_back(Output::Event(Event::Hearing { call: media.call }));
        }
        let Opened { header, id: KeyId { sender, context, .. }, captured_ms, payload } = opened;
        if header.kind == Kind::Control && context == Context::QUALITY {
            if let Some(loss) = quality::about(payload, media.index) {
                media.heard_by.insert(sender, (now, loss));
            }
            return None;
        }
        if header.kind == Kind::Control && context == Context::HOST {
            if let Some(room) = &mut self.room {
                room.heard_word(sender, payload);
            }
            return None;
        }
        // Each source counts its own frames; only the main one is played so far.
        let audible = header.kind == Kind::Audio && context == Context::MAIN_AUDIO;
        audible.then_some(Heard { sender, at: now, captured_ms, codec: header.codec, payload })
    }

    /// Whether a recorded packet opens under this call's own keys; for showing what a relay could have seen. In a hop room
    /// nothing does: there the relay has keys of its own.
    #[must_use]
    pub fn would_open(&self, packet: &[u8]) -> bool {
        let Some(media) = &self.media else { return false };
        let ring = if let With::Echo(mirror) = &media.with { mirror } else { &media.ring };
        MediaHeader::decode(packet).is_ok_and(|(header, sealed)| ring.would_open(header.kind, header.codec, sealed))
    }
}
