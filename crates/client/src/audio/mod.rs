//! Sound as numbers: what happens between opened frames and a loudspeaker, without touching either.

pub mod adapt;
pub mod jitter;
pub mod level;

/// Samples per second inside a call.
pub const RATE: u32 = 48_000;
/// Milliseconds of one frame.
pub const FRAME_MS: u32 = 20;
/// Samples of one frame.
pub const FRAME: usize = 960;
