//! From dialling to ringing, and from answering to the first sound.

use std::time::{Duration, Instant};

use undertone_client::Event;
use undertone_client::native::measure::Times;
use undertone_client::native::sound::Silence;
use undertone_client::native::{Online, Sound};
use undertone_testkit::tones::Hum;

use crate::house::{House, hears, is_over, until};
use crate::table::Table;

const REPEATS: usize = 20;
/// Between two calls: an account may open one a second and send ten signals a second to one device, after a burst.
const PAUSE: Duration = Duration::from_millis(700);

/// Round trips of the caller's until the callee's device rings: 3 for the callee's devices (TCP, TLS, `GET`), 1 for the
/// room and the grant, 1 for the invite to go by the server to the callee. The word that it rings takes one more. A
/// callee who has not heard of the caller for half a minute looks them up first: 3 more.
const ROUND_TRIPS_RINGING: u32 = 5;
/// From the answer on: 1 for it to get to the caller, 1 for the confirmation to come back, 1 for the QUIC handshake, 1 for
/// the join, 1 for the first frame to go by the relay.
const ROUND_TRIPS_SOUND: u32 = 5;

/// How long each step of one call took.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// From `call` to the callee's event.
    incoming: Duration,
    /// From `call` to the caller's event.
    ringing: Duration,
    /// From `answer` to the first frame that the caller opens.
    caller: Duration,
    /// From `answer` to the first frame that the callee opens.
    callee: Duration,
}

pub(crate) fn measure(table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let calls = runtime.block_on(calls())?;
    let mut fact = |what: &str, against: u32, pick: fn(&Call) -> Duration| {
        let times = Times::new(calls.iter().map(pick).collect());
        table.fact(what, times.to_string(), &format!("{against} round trips"));
    };
    fact("call: until the callee's device rings", ROUND_TRIPS_RINGING, |call| call.incoming);
    fact("call: until the caller knows it", ROUND_TRIPS_RINGING + 1, |call| call.ringing);
    fact("answer: until the callee hears the caller", ROUND_TRIPS_SOUND, |call| call.callee);
    fact("answer: until the caller hears the callee", ROUND_TRIPS_SOUND, |call| call.caller);
    Ok(())
}

async fn calls() -> anyhow::Result<Vec<Call>> {
    let house = House::open("setup")?;
    let mut ada = house.register("ada").await?.connect().await?;
    let mut bob = house.register("bob").await?.connect().await?;
    // Each meets the other for the first time, and that is not measured.
    call(&mut ada, &mut bob).await?;
    let mut calls = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        tokio::time::sleep(PAUSE).await;
        calls.push(call(&mut ada, &mut bob).await?);
    }
    ada.stop().await;
    bob.stop().await;
    Ok(calls)
}

async fn call(ada: &mut Online, bob: &mut Online) -> anyhow::Result<Call> {
    let dialled = Instant::now();
    ada.call("bob", Sound::new(Hum::new(0), Silence)).await?;
    let (incoming, ringing) = tokio::try_join!(
        until(bob, "the call", |event| matches!(event, Event::Incoming { .. })),
        until(ada, "the ringing", |event| matches!(event, Event::Ringing { .. })),
    )?;
    let answered = Instant::now();
    bob.accept(Sound::new(Hum::new(1), Silence)).await?;
    let (callee, caller) = tokio::try_join!(until(bob, "the caller's voice", hears), until(ada, "an answer", hears))?;
    ada.hang_up().await?;
    tokio::try_join!(until(ada, "the end", is_over), until(bob, "the end", is_over))?;
    Ok(Call {
        incoming: incoming.duration_since(dialled),
        ringing: ringing.duration_since(dialled),
        caller: caller.duration_since(answered),
        callee: callee.duration_since(answered),
    })
}
