//! Sealed media: the packet a relay forwards, the frame nobody but members opens, and the ring of keys between.
//!
//! ```
//! use undertone_keys::call_agreement::MediaKey;
//! use undertone_keys::{CallId, Secret, Time};
//! use undertone_media::packet::{Codec, Kind};
//! use undertone_media::{Context, Epoch, FrameInfo, Ring, Sender};
//! # use undertone_keys::{DeviceId, JoinId, UserId};
//! # let call = CallId::from_bytes([1; 16]);
//! # let sender = |name, index| Sender { user: UserId::parse(name, "localhost").unwrap(),
//! #     device: DeviceId::from_bytes([index as u8; 16]), join: JoinId::from_bytes([index as u8; 16]), index };
//! # let key = || MediaKey::new(Secret::from_slice(&[3; 32]).unwrap());
//! let (ada, bob) = (sender("ada", 0), sender("bob", 1));
//! let mut hers = Ring::new(call);
//! hers.install(Time::ZERO, Epoch(1), key())?;
//! hers.join(ada.clone())?;
//! let mut his = Ring::new(call);
//! his.install(Time::ZERO, Epoch(1), key())?;
//! his.join(bob)?;
//! his.admit(ada)?;
//!
//! let mut buffer = [0; 200];
//! let info = FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 20 };
//! let length = hers.seal(info, b"twenty milliseconds", &mut buffer)?;
//! let frame = his.open(Time::ZERO, Kind::Audio, Codec::OPUS_32K, &mut buffer[..length])?;
//! assert_eq!(frame.payload, b"twenty milliseconds");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security goals
//! * No two seals of any member, join, source or epoch share a key and a nonce (rules MED-2, MED-3).
//! * A frame opens only where its call, kind, codec, sender and epoch say so; a replay does not open (MED-1, MED-4).
//! * There is no path from a frame to the wire without a seal (MED-6).
//! * No two seals on any hop share a key and a nonce, in whatever epoch (MED-8).
//!
//! # Not goals
//! Authenticity of a sender among the members: every member could derive every sender's key (MED-11). The relay
//! keeps senders apart by their connection.
//!
//! After warm-up neither [`Ring::seal`] nor [`Ring::open`] allocates, nor does [`Kept::keep`] once its sender has room. A frame that names a new source of a sender costs
//! two key derivations before its tag can be checked; forged ones displace each other and nothing else.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test may fail"
    )
)]

pub mod faults;
pub mod frame;
pub mod hop;
pub mod kept;
pub mod key_id;
pub mod labels;
pub mod packet;
pub mod replay;
pub mod ring;
pub mod sframe;

pub use frame::{Frame, FrameInfo};
pub use hop::{HopExporter, MemberHop, RelayHop};
pub use kept::Kept;
pub use key_id::{Context, Epoch, KeyId, SenderIndex};
pub use packet::MediaHeader;
pub use ring::{Ring, Sender};
