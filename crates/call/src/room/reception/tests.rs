use proptest::prelude::*;
use undertone_media::Epoch;

use super::*;

const BOB: SenderIndex = 3;

const fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn id(context: u16, epoch: u32) -> KeyId {
    KeyId::new(Context(context), BOB, Epoch(epoch))
}

fn drain(reception: &mut Reception) -> Vec<Output> {
    core::iter::from_fn(|| reception.poll_output()).collect()
}

/// One thing for a while, every 20 ms, ticks as they fall due.
fn go_on(reception: &mut Reception, from: u64, to: u64, input: Option<Input>) {
    for now in (from..to).step_by(20) {
        if let Some(input) = input {
            reception.handle_input(at(now), input);
        }
        if reception.poll_timeout().is_some_and(|due| due <= at(now)) {
            reception.handle_input(at(now), Input::Tick);
            assert!(reception.poll_timeout().is_none_or(|due| due > at(now)), "a timer that never rests");
        }
    }
}

const fn keys(host_present: bool, asked: Option<Time>, denied: bool) -> Input {
    Input::Keys(KeyState { host_present, asked, denied })
}

/// What is told after each stretch of a track's life, from whatever held before: the table of EKR-8.
#[test]
fn ekr_8_every_reason_follows_from_what_came_in() {
    use Unopened::{Forged, Malformed, NoKey};
    let good = || Some(Input::Opened(id(0, 1)));
    let bad = |why| Some(Input::Unopened(id(0, 2), why));
    let asked = Some(at(60_000));
    // What comes for how long; what is known of the keys; what holds then. Each begins where the one before has ended.
    type Row = (Option<Input>, u64, Input, fn(Time) -> Reason);
    let table: [Row; 19] = [
        (None, 1100, keys(true, None, false), |_| Reason::NotSending),
        (good(), 100, keys(true, None, false), |_| Reason::Ok),
        (None, 900, keys(true, None, false), |_| Reason::Ok),
        (None, 200, keys(true, None, false), |_| Reason::NotSending),
        (good(), 100, keys(true, None, false), |_| Reason::Ok),
        (bad(NoKey), 400, keys(true, None, false), |_| Reason::Ok),
        (bad(NoKey), 200, keys(true, None, false), Reason::WaitingSince),
        (bad(NoKey), 100, keys(false, None, false), |_| Reason::HostGone),
        (bad(NoKey), 100, keys(true, asked, false), Reason::WaitingSince),
        (bad(NoKey), 100, keys(true, None, true), |_| Reason::Denied),
        (bad(NoKey), 100, keys(true, asked, true), Reason::WaitingSince),
        (bad(NoKey), 100, keys(true, None, false), |_| Reason::WrongEpoch),
        (bad(Forged), 100, keys(true, None, false), |_| Reason::Forged),
        (bad(Malformed), 100, keys(true, None, false), |_| Reason::Forged),
        (good(), 20, keys(true, None, false), |_| Reason::Ok),
        (bad(NoKey), 9900, keys(true, None, false), Reason::WaitingSince),
        (bad(NoKey), 200, keys(true, None, false), |_| Reason::WrongEpoch),
        (None, 1100, keys(true, None, false), |_| Reason::NotSending),
        (good(), 20, keys(true, None, false), |_| Reason::Ok),
    ];
    let mut reception = Reception::default();
    reception.handle_input(at(0), Input::Expected(BOB));
    let (mut now, mut since) = (0, at(0));
    for (row, (input, length, keys, expected)) in table.into_iter().enumerate() {
        if matches!(input, Some(Input::Opened(_)) | None) {
            since = at(now + length);
        }
        reception.handle_input(at(now), keys);
        go_on(&mut reception, now, now + length, input);
        now += length;
        assert_eq!(reception.reason(BOB, Context::MAIN_AUDIO), Some(expected(since)), "row {row}");
    }
}

#[test]
fn ekr_8_the_time_runs_from_the_first_frame_that_would_not_open_to_the_first_that_did() {
    let mut reception = Reception::default();
    go_on(&mut reception, 0, 200, Some(Input::Opened(id(0, 1))));
    drain(&mut reception);
    // The key comes 100 ms after the first frame under it: measured, and nobody is alarmed.
    go_on(&mut reception, 200, 300, Some(Input::Unopened(id(0, 2), Unopened::NoKey)));
    go_on(&mut reception, 300, 400, Some(Input::Opened(id(0, 2))));
    let recovered = |ms| Output::Recovered { index: BOB, context: Context::MAIN_AUDIO, ms };
    let changed = |reason| Output::Changed { index: BOB, context: Context::MAIN_AUDIO, reason };
    assert_eq!(drain(&mut reception), [recovered(100)]);
    // It comes after 3 s, or another does.
    for epoch in [3, 4] {
        let (from, to) = (u64::from(epoch) * 10_000, u64::from(epoch) * 10_000 + 3000);
        go_on(&mut reception, from - 100, from, Some(Input::Opened(id(0, 2))));
        drain(&mut reception);
        go_on(&mut reception, from, to, Some(Input::Unopened(id(0, 3), Unopened::NoKey)));
        go_on(&mut reception, to, to + 100, Some(Input::Opened(id(0, epoch))));
        let told = [changed(Reason::WaitingSince(at(from))), recovered(3000), changed(Reason::Ok)];
        assert_eq!(drain(&mut reception), told);
    }
}

#[test]
fn ekr_8_junk_among_good_frames_is_told_to_nobody() {
    let mut reception = Reception::default();
    go_on(&mut reception, 0, 100, Some(Input::Opened(id(0, 1))));
    drain(&mut reception);
    for n in 0..500 {
        let now = at(100 + 20 * n);
        for why in [Unopened::NoKey, Unopened::Forged, Unopened::Malformed] {
            let epoch = if why == Unopened::NoKey { u32::try_from(n).unwrap() + 2 } else { 1 };
            reception.handle_input(now, Input::Unopened(id(0, epoch), why));
        }
        reception.handle_input(now, Input::Opened(id(0, 1)));
        reception.handle_input(now, Input::Tick);
    }
    assert_eq!(drain(&mut reception), []);
}

#[test]
fn ekr_8_junk_takes_no_place_of_a_source_that_is_heard() {
    let mut reception = Reception::default();
    for context in 1..500 {
        reception.handle_input(at(0), Input::Unopened(id(context, 2), Unopened::NoKey));
        assert!(reception.tracks.len() <= MAX_TRACKS);
    }
    reception.handle_input(at(10), Input::Opened(id(0, 1)));
    reception.handle_input(at(10), Input::Opened(id(700, 1)));
    assert!(reception.reason(BOB, Context(700)) == Some(Reason::Ok) && reception.tracks.len() <= MAX_TRACKS);
    // What nobody ever heard is forgotten; what was heard is known to be silent.
    reception.handle_input(at(3000), Input::Tick);
    assert_eq!(reception.tracks.len(), 2);
    assert_eq!(reception.reason(BOB, Context(700)), Some(Reason::NotSending));
    reception.handle_input(at(3000), Input::Gone(BOB));
    assert_eq!((reception.tracks.len(), reception.poll_timeout()), (0, None));
}

#[test]
fn ekr_8_own_absence_is_nobodys_silence() {
    let mut reception = Reception::default();
    reception.handle_input(at(0), Input::Opened(id(0, 1)));
    drain(&mut reception);
    reception.handle_input(at(5000), Input::Here);
    reception.handle_input(at(5000), Input::Tick);
    assert_eq!(drain(&mut reception), []);
    go_on(&mut reception, 5000, 6100, None);
    assert_eq!(reception.reason(BOB, Context::MAIN_AUDIO), Some(Reason::NotSending));
}

#[test]
fn ekr_1_after_three_seconds_of_nothing_but_forgeries_the_statement_is_asked_for_once() {
    let forged = Some(Input::Unopened(id(0, 1), Unopened::Forged));
    let asks = |reception: &mut Reception| drain(reception).iter().filter(|out| **out == Output::AskStatement).count();
    let mut reception = Reception::default();
    go_on(&mut reception, 0, 3000, forged);
    assert_eq!(asks(&mut reception), 0);
    go_on(&mut reception, 3000, 20_000, forged);
    assert_eq!(asks(&mut reception), 1);
    // A pause does not make it another failure, and a frame that opened, of anybody, does.
    go_on(&mut reception, 30_000, 40_000, forged);
    assert_eq!(asks(&mut reception), 0);
    let other = KeyId { sender: 9, ..id(0, 1) };
    reception.handle_input(at(40_000), Input::Opened(other));
    go_on(&mut reception, 40_000, 44_000, forged);
    assert_eq!(asks(&mut reception), 1);
    // As long as one is heard, nothing is wrong with the key; nor do two forgeries a while apart say anything.
    let mut reception = Reception::default();
    for n in 0..20 {
        go_on(&mut reception, n * 1000, n * 1000 + 1000, forged);
        reception.handle_input(at(n * 1000 + 999), Input::Opened(other));
    }
    (30..60).step_by(2).for_each(|s| go_on(&mut reception, s * 1000, s * 1000 + 20, forged));
    assert_eq!(asks(&mut reception), 0);
    // A key that is not there is another trouble.
    go_on(&mut reception, 100_000, 110_000, Some(Input::Unopened(id(0, 2), Unopened::NoKey)));
    assert_eq!(asks(&mut reception), 0);
}

#[test]
fn ekr_1_whoever_fails_for_three_seconds_while_others_open_is_doubted_once() {
    let doubts = |reception: &mut Reception| drain(reception).iter().filter(|out| **out == Output::Doubt(BOB)).count();
    let both = |reception: &mut Reception, from: u64, to: u64| {
        for now in (from..to).step_by(20) {
            reception.handle_input(at(now), Input::Unopened(id(0, 1), Unopened::Forged));
            reception.handle_input(at(now), Input::Opened(KeyId { sender: 9, ..id(0, 1) }));
        }
    };
    let mut reception = Reception::default();
    both(&mut reception, 0, 3_000);
    assert_eq!(doubts(&mut reception), 0);
    both(&mut reception, 3_000, 20_000);
    assert_eq!(doubts(&mut reception), 1);
    reception.handle_input(at(20_000), Input::Opened(id(0, 1)));
    both(&mut reception, 20_000, 22_980);
    assert_eq!(doubts(&mut reception), 0);
    both(&mut reception, 22_980, 24_000);
    assert_eq!(doubts(&mut reception), 1);
    // Whoever is gone is forgotten.
    reception.handle_input(at(24_000), Input::Gone(BOB));
    assert!(reception.failing_by.is_empty());
}

proptest! {
    /// Whatever comes, no timer is due for ever, nothing is told twice, and what is told is what holds.
    #[test]
    fn ekr_8_nothing_is_told_twice(steps in proptest::collection::vec((0_u8..9, 0_u32..3, 0_u64..1500), 1..200)) {
        let (mut reception, mut now, mut told) = (Reception::default(), 0, BTreeMap::new());
        for (what, epoch, pause) in steps {
            now += pause;
            let context = u16::from(what % 2);
            reception.handle_input(at(now), match what {
                0..=3 => Input::Opened(id(context, epoch)),
                4 => Input::Unopened(id(context, epoch), Unopened::NoKey),
                5 => Input::Unopened(id(context, epoch), Unopened::Forged),
                6 => keys(epoch != 0, (epoch == 1).then(|| at(now)), epoch == 2),
                7 => Input::Expected(BOB),
                _ => Input::Here,
            });
            reception.handle_input(at(now), Input::Tick);
            prop_assert!(reception.poll_timeout().is_none_or(|due| due > at(now)));
            for output in drain(&mut reception) {
                let Output::Changed { index, context, reason } = output else { continue };
                prop_assert_ne!(told.insert((index, context), reason), Some(reason));
            }
            for ((index, context), track) in &reception.tracks {
                let known = told.get(&(*index, *context)).copied();
                prop_assert!(track.told.is_none() || known == track.told);
            }
        }
    }
}
