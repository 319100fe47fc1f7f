use undertone_keys::{DeviceId, UserId};

use super::*;

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn sender(index: u16) -> Sender {
    let user = UserId::parse("ada@example.org", "example.org").unwrap();
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&index.to_be_bytes());
    Sender { user, device: DeviceId::from_bytes([1; 16]), join: JoinId::from_bytes(bytes), index }
}

fn times(counter: &Counter, now: Time) -> ReasonTimes {
    counter.count(now).0.times
}

#[test]
fn ekr_8_a_reason_is_counted_from_when_it_is_told_till_the_next_or_till_they_go() {
    let mut counter = Counter::default();
    let voice = Context::MAIN_AUDIO;
    counter.came(&sender(1));
    counter.changed(at(1_000), 1, voice, Reason::Ok);
    counter.changed(at(3_000), 1, voice, Reason::WaitingSince(at(2_500)));
    assert_eq!(times(&counter, at(3_400)).waiting, Duration::from_millis(400), "what goes on is counted till now");
    counter.changed(at(4_000), 1, voice, Reason::Denied);
    counter.changed(at(4_500), 1, voice, Reason::NotSending);
    counter.went(at(6_000), sender(1).join);
    // Another one with the same index is another one.
    let again = Sender { join: JoinId::from_bytes([9; 16]), ..sender(1) };
    counter.came(&again);
    counter.changed(at(7_000), 1, voice, Reason::Forged);
    let (all, members) = counter.count(at(7_100));
    let expected = ReasonTimes {
        ok: Duration::from_secs(2),
        waiting: Duration::from_secs(1),
        denied: Duration::from_millis(500),
        not_sending: Duration::from_millis(1_500),
        forged: Duration::from_millis(100),
        ..ReasonTimes::default()
    };
    assert_eq!(all.times, expected);
    assert_eq!(all.times.unheard(), Duration::from_millis(1_600));
    assert_eq!(members.iter().map(|member| member.present).collect::<Vec<_>>(), [false, true]);
    assert_eq!(members[1].sources[&voice].times.unheard(), Duration::from_millis(100));
}

#[test]
fn ekr_8_recoveries_stand_in_the_bucket_of_their_time() {
    let mut recovered = Recoveries::default();
    [0, 50, 51, 200, 10_000, 10_001].into_iter().for_each(|ms| recovered.add(ms));
    assert_eq!(recovered.buckets, [2, 1, 1, 0, 0, 0, 0, 1, 1]);
    assert_eq!((recovered.count(), recovered.longest_ms), (6, 10_001));
}

/// Anybody on the way can name a source, and a member can have many: what is counted stays bounded.
#[test]
fn ekr_8_counters_are_bounded_and_their_sums_lose_nothing() {
    let mut counter = Counter::default();
    let id = |context| KeyId { context: Context(context), sender: 1, epoch: 7 };
    counter.came(&sender(1));
    for context in 0..100 {
        counter.unopened(id(context), Unopened::Forged);
        counter.changed(at(0), 1, Context(context), Reason::Forged);
    }
    counter.unopened(id(0), Unopened::NoKey);
    let (all, members) = counter.count(at(0));
    assert_eq!((all.forged, members[0].sources.len()), (100, MAX_TRACKS));
    counter.went(at(0), sender(1).join);
    let many = u16::try_from(MAX_COUNTED).unwrap() + 10;
    for index in 2..many {
        counter.came(&sender(index));
        counter.recovered(index, Context::MAIN_AUDIO, 5);
        counter.went(at(0), sender(index).join);
    }
    let (all, members) = counter.count(at(0));
    assert_eq!(members.len(), MAX_COUNTED);
    assert_eq!((all.forged, all.recovered.count()), (100, u64::from(many) - 2));
}
