//! Group calls in virtual time: the shipped engines of several devices, the shipped relay core and a server, on links that
//! lose, delay, repeat and reorder, break and come back; all of it from one seed.
//!
//! ```text
//! seed --> schedule (who comes, goes, crashes, is cut off, and when)
//!      --> world (devices with clocks that drift, signalling in order, media lossy)
//!      --> invariants, looked at every quarter of a second
//! ```
//! What is simulated is the network, the server's shelf of papers, and time. Everything else is what people run. A seed
//! plays the same schedule again, to the last byte.
//!
//! # What must hold (see `invariants`)
//! * Two members who have been able to reach relay, server and host for a while open each other's frames.
//! * Whoever is out opens nothing that is sealed afterwards; a stranger never opens anything.
//! * No nonce repeats, nobody seals under an epoch that was overtaken, and letters stay below their bound.

mod device;
mod invariants;
mod link;
mod schedule;
mod world;

pub use invariants::Violation;
pub use schedule::{Counts, Schedule};
pub use world::World;

/// Plays the schedule of this seed.
///
/// # Errors
/// [`Violation`]: what does not hold, and when.
pub fn play(seed: u64) -> Result<Counts, Violation> {
    play_schedule(Schedule::of(seed))
}

/// Plays a schedule.
///
/// # Errors
/// [`Violation`]: what does not hold, and when.
pub fn play_schedule(schedule: Schedule) -> Result<Counts, Violation> {
    let mut world = World::new(schedule);
    world.play()?;
    Ok(world.counts())
}
