use proptest::prelude::*;

use super::*;
use crate::key_id::{Context, Epoch};

const fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn id(sender: u16, epoch: u32) -> KeyId {
    KeyId::new(Context::MAIN_AUDIO, sender, Epoch(epoch))
}

fn take(kept: &mut Kept, now: Time, epoch: u8) -> Option<(Taken, Vec<u8>)> {
    let mut out = [0; MAX_PACKET];
    let taken = kept.take(now, |here| here == epoch, &mut out)?;
    Some((taken, out[..taken.length].to_vec()))
}

#[test]
fn ekr_1_frames_come_back_in_the_order_in_which_they_came() {
    let mut kept = Kept::default();
    for (n, (sender, epoch)) in [(1, 7), (2, 7), (1, 8), (1, 7), (2, 8)].into_iter().enumerate() {
        let n = u8::try_from(n).unwrap();
        assert!(kept.keep(at(u64::from(n)), id(sender, epoch), &[n; 40][..20 + usize::from(n)]));
    }
    let mut order = Vec::new();
    while let Some((taken, bytes)) = take(&mut kept, at(10), 7) {
        assert_eq!(bytes, vec![bytes[0]; 20 + usize::from(bytes[0])]);
        assert_eq!(taken.at, at(u64::from(bytes[0])));
        order.push((bytes[0], taken.id.sender));
    }
    assert_eq!(order, [(0, 1), (1, 2), (3, 1)]);
    let (first, second) = (take(&mut kept, at(10), 8), take(&mut kept, at(10), 8));
    assert_eq!([first.unwrap().1[0], second.unwrap().1[0]], [2, 4]);
    assert_eq!(take(&mut kept, at(10), 8), None);
    assert_eq!(kept.counts(), Counts { kept: 5, dropped: 0 });
}

#[test]
fn ekr_1_what_did_not_open_in_its_window_is_told_once_and_dropped() {
    let mut kept = Kept::default();
    assert_eq!(kept.poll_timeout(), None);
    for n in 0..20 {
        // Two epochs of one sender and one of another, each 20 ms.
        for (sender, epoch) in [(1, 7), (1, 8), (2, 7)] {
            kept.keep(at(20 * n), id(sender, epoch), &[1; 100]);
        }
    }
    let mut overdue = Vec::new();
    while let Some(one) = kept.expire(at(400)) {
        overdue.push((one.sender, one.epoch, one.since));
    }
    overdue.sort_unstable_by_key(|(sender, epoch, _)| (*sender, *epoch));
    assert_eq!(overdue, [(1, 7, at(0)), (1, 8, at(0)), (2, 7, at(0))]);
    assert_eq!(kept.expire(at(500)), None);
    assert_eq!(take(&mut kept, at(700), 7), None);
    assert_eq!(kept.counts(), Counts { kept: 60, dropped: 60 });
}

#[test]
fn ekr_1_a_frame_that_opens_in_time_is_no_reason_to_ask() {
    let mut kept = Kept::default();
    kept.keep(at(0), id(1, 7), b"frame");
    assert_eq!(kept.poll_timeout(), Some(at(200)));
    assert_eq!(kept.expire(at(199)), None);
    assert!(take(&mut kept, at(199), 7).is_some());
    assert_eq!((kept.expire(at(300)), kept.poll_timeout()), (None, None));
}

/// A flood pushes the frames of its sender out before their window is over; the epoch is told all the same.
#[test]
fn ekr_1_frames_that_were_pushed_out_have_waited_in_vain_too() {
    let mut kept = Kept::default();
    for ms in 0..199 {
        kept.keep(at(ms), id(1, 7), &[0; 1200]);
    }
    assert_eq!(kept.expire(at(200)), Some(Overdue { sender: 1, epoch: 7, since: at(0) }));
    assert_eq!(kept.expire(at(200)), None);
}

#[test]
fn ekr_1_frames_that_go_on_are_told_again_and_a_pause_begins_anew() {
    let mut kept = Kept::default();
    let mut told = Vec::new();
    for n in 0..600 {
        kept.keep(at(20 * n), id(1, 7), &[1; 100]);
        while let Some(one) = kept.expire(at(20 * n)) {
            told.push((n * 20, one.since));
        }
    }
    assert_eq!(told, [(200, at(0)), (10_200, at(0))]);
    // Eight bits are those of another epoch a while later.
    kept.keep(at(20_000), id(1, 7), &[1; 100]);
    assert_eq!(kept.expire(at(20_100)), None);
    assert_eq!(kept.expire(at(20_200)).map(|one| one.since), Some(at(20_000)));
    // Nothing comes any more: nothing is to be done any more.
    assert_eq!((kept.expire(at(60_000)), kept.poll_timeout()), (None, None));
}

#[test]
fn ekr_1_nobody_pushes_out_another_senders_frames() {
    let mut kept = Kept::default();
    kept.keep(at(0), id(1, 7), b"mine");
    for n in 0..10_000 {
        kept.keep(at(1), id(2, n), &[0; MAX_PACKET]);
    }
    assert_eq!(take(&mut kept, at(2), 7).unwrap().1, b"mine");
    assert!(!kept.keep(at(2), id(1, 7), &[0; MAX_PACKET + 1]));
}

#[test]
fn ekr_1_who_is_gone_leaves_nothing() {
    let mut kept = Kept::default();
    kept.keep(at(0), id(1, 7), b"his");
    kept.keep(at(0), id(2, 7), b"hers");
    kept.forget(1);
    assert_eq!(take(&mut kept, at(1), 7).unwrap().1, b"hers");
    assert_eq!((take(&mut kept, at(1), 7), kept.expire(at(300))), (None, None));
    assert_eq!(kept.counts(), Counts { kept: 2, dropped: 1 });
}

proptest! {
    /// Against a model without bounds: what comes out was put in, in order, is young enough, and comes once; bounds hold.
    #[test]
    fn ekr_1_bounds_hold_and_nothing_is_mixed_up(
        steps in proptest::collection::vec((0_u16..80, 0_u8..4, 0_usize..1500, 0_u64..30, any::<bool>()), 1..400),
    ) {
        let (mut kept, mut now, mut model, mut out) = (Kept::default(), 0, Vec::new(), 0);
        for (n, (sender, epoch, length, pause, taking)) in steps.into_iter().enumerate() {
            now += pause;
            if taking {
                let Some((taken, bytes)) = take(&mut kept, at(now), epoch) else { continue };
                let place = model.iter().position(|(id, came, kept)| (*id, *came, kept) == (taken.id, taken.at, &bytes));
                prop_assert!(place.is_some() && at(now).since(taken.at) < WINDOW);
                model.remove(place.unwrap());
                out += 1;
            } else {
                let packet = vec![u8::try_from(n % 251).unwrap(); length];
                kept.keep(at(now), id(sender, u32::from(epoch)), &packet);
                model.push((id(sender, u32::from(epoch)), at(now), packet));
            }
            prop_assert!(kept.queues.len() <= MAX_SENDERS);
            for queue in &kept.queues {
                prop_assert!(queue.frames.len() <= MAX_FRAMES && queue.bytes.len() <= MAX_SENDER_BYTES);
                prop_assert_eq!(queue.frames.iter().map(|frame| frame.length).sum::<usize>(), queue.bytes.len());
            }
        }
        while kept.expire(at(now + 1000)).is_some() {}
        let counts = kept.counts();
        prop_assert_eq!(counts.kept, counts.dropped + out);
        prop_assert_eq!(kept.queues.iter().map(Queue::waiting).sum::<u64>(), 0);
    }
}
