//! Whoever writes their own client, relay or server: voices under known keys, junk, and signals in any order.

use std::collections::VecDeque;

use bytes::Bytes;
use rand_core::Rng as _;
use undertone_call::room::EpochKey;
use undertone_keys::Time;
use undertone_keys::epoch_secret::EpochPlace;
use undertone_keys::testing::SeededRng;
use undertone_media::packet::{Codec, Flags, Kind};
use undertone_media::sframe::{Header, MAX_HEADER};
use undertone_media::{Context, Epoch, FrameInfo, KeyId, MediaHeader, Ring, Sender, SenderIndex};
use undertone_protocol::signal::ToDevice;
use undertone_relay::Input as RelayInput;

use super::World;

/// What foes say: nobody honest does.
const LIE: &[u8] = b"what nobody has said";

/// Seals as somebody with a key that is known.
pub(crate) struct Voice {
    ring: Ring,
    sequence: u32,
}

impl Voice {
    /// The next packet.
    pub(crate) fn say(&mut self) -> Vec<u8> {
        let (header, info) = heads(self.sequence);
        self.sequence += 1;
        let mut sealed = [0; 300];
        let length = self.ring.seal(info, LIE, &mut sealed).unwrap();
        [header.encode().as_slice(), &sealed[..length]].concat()
    }
}

fn heads(sequence: u32) -> (MediaHeader, FrameInfo) {
    let (kind, codec) = (Kind::Audio, Codec::OPUS_32K);
    let flags = Flags { frame_end: true, ..Flags::default() };
    let header = MediaHeader { flags, kind, codec, stream: 0, fec_ratio: 0, sequence, timestamp_ms: 0, fec_block: 0 };
    (header, FrameInfo { kind, codec, context: Context::MAIN_AUDIO, captured_ms: 0 })
}

/// A packet in somebody's name that no key opens.
pub(crate) fn junk(sender: SenderIndex, epoch: u32, counter: u64) -> Vec<u8> {
    let (header, _) = heads(0);
    let key_id = KeyId::new(Context::MAIN_AUDIO, sender, Epoch(epoch)).to_u64();
    let mut sealed = [0; MAX_HEADER];
    let length = Header { key_id, counter }.encode(&mut sealed);
    [header.encode().as_slice(), &sealed[..length], &[7; 40]].concat()
}

impl World {
    /// A voice in the name of a device that is in, under this key.
    pub(crate) fn voice(&self, name: usize, key: &EpochKey) -> Voice {
        let (call, terms) = (self.call(), self.access.last().unwrap().list().terms);
        let signer =
            self.devices.iter().find_map(|device| key.statement.verify(device.identity.public(), call, &terms).ok());
        let statement = signer.unwrap();
        let place = EpochPlace { call: &call, term: statement.term, epoch: statement.epoch };
        let mut ring = Ring::new(call);
        ring.install(self.now, Epoch(statement.epoch), key.secret.media_key(place)).unwrap();
        let address = self.devices[name].address.clone();
        let (join, index) = (self.join(name), self.index(name).unwrap());
        ring.join(Sender { user: address.user, device: address.device, join, index }).unwrap();
        let mut voice = Voice { ring, sequence: 0 };
        // Whoever it is in the name of has used numbers of their own.
        (0..700).for_each(|_| drop(voice.say()));
        voice
    }

    /// The relay hands a packet to a device, whoever sent it. Whether a lie was heard.
    pub(crate) fn slip(&mut self, to: usize, mut packet: Vec<u8>) -> bool {
        let heard = self.devices[to].engine.open_packet(self.now, &mut packet);
        let lie = heard.is_some_and(|heard| heard.payload == LIE);
        while let Some(output) = self.devices[to].engine.poll_output() {
            self.carry_out(to, output);
        }
        lie
    }

    /// A device hands a packet to the relay that its engine has not sealed.
    pub(crate) fn send_packet(&mut self, from: usize, packet: Vec<u8>) {
        let connection = self.devices[from].relay.unwrap();
        self.relay_input(RelayInput::Datagram { connection, bytes: Bytes::from(packet) });
    }

    /// A device is played by the test: its engine stays in the room and neither says nor hears anything.
    pub(crate) fn play(&mut self, device: usize) {
        self.deaf.insert(device);
        self.dumb.insert(device);
        self.wordless.insert(device);
        self.quiet.insert(device);
    }
}

/// A server that loses signals, keeps them back, and delivers them twice.
pub(crate) struct Unruly {
    rng: SeededRng,
    late: Vec<(Time, usize, ToDevice)>,
    /// How many it has lost, kept back and repeated.
    pub(crate) done: [u32; 3],
}

impl Unruly {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { rng: SeededRng::new(seed), late: Vec::new(), done: [0; 3] }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    /// What was to be delivered now becomes what is: of ten signals two are lost, four come up to two seconds late, and one
    /// comes again.
    pub(crate) fn mix(&mut self, now: Time, signals: &mut VecDeque<(usize, ToDevice)>) {
        for (device, message) in core::mem::take(signals) {
            match self.below(10) {
                0 | 1 => self.done[0] += 1,
                2..=5 => {
                    self.done[1] += 1;
                    self.keep(now, device, message);
                }
                6 => {
                    self.done[2] += 1;
                    self.keep(now, device, message.clone());
                    signals.push_back((device, message));
                }
                _ => signals.push_back((device, message)),
            }
        }
        for (_, device, message) in self.late.extract_if(.., |(at, ..)| *at <= now) {
            signals.push_front((device, message));
        }
    }

    fn keep(&mut self, now: Time, device: usize, message: ToDevice) {
        let at = Time::from_millis(now.as_millis() + self.below(2_000));
        self.late.push((at, device, message));
    }
}
