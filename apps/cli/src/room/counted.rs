//! What the keys of a room's call have cost, and who was not heard for how long (rule EKR-8): the last words of `room join`.

use std::time::Duration;

use serde_json::{Value, json};
use undertone_client::CallId;
use undertone_client::engine::{KeyCounters, MemberCounters, RECOVERY_BOUNDS, ReasonTimes, Recoveries, SourceCounters};
use undertone_client::room::LetterCount;

use super::people::short;

/// All of it, for programs.
pub(super) fn object(call: CallId, counters: &KeyCounters) -> Value {
    let mut object = fields(counters);
    if let Value::Object(map) = &mut object {
        map.insert("event".into(), "keys_counted".into());
        map.insert("call".into(), call.to_string().into());
    }
    object
}

/// The same without saying of which call.
pub(super) fn fields(counters: &KeyCounters) -> Value {
    let KeyCounters { requests, sent, received, all, members } = counters;
    json!({
        "requests": { "sent": requests.sent, "answered": requests.answered, "given_up": requests.given_up },
        "sent": letters(*sent), "received": letters(*received), "all": source(all),
        "members": members.iter().map(member).collect::<Vec<_>>(),
    })
}

fn letters(count: LetterCount) -> Value {
    json!({ "letters": count.count, "bytes": count.bytes })
}

fn member(member: &MemberCounters) -> Value {
    let sources = member.sources.iter().map(|(context, counters)| {
        let mut object = source(counters);
        if let Value::Object(map) = &mut object {
            map.insert("context".into(), context.0.into());
        }
        object
    });
    json!({
        "index": member.index, "user": member.member.user.as_str(), "device": member.member.device.to_string(),
        "present": member.present, "sources": sources.collect::<Vec<_>>(),
    })
}

fn source(counters: &SourceCounters) -> Value {
    let SourceCounters { times, recovered, forged } = counters;
    json!({ "times_ms": times_ms(times), "recovered": recoveries(recovered), "forged": forged })
}

fn times_ms(times: &ReasonTimes) -> Value {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "ok": ms(times.ok), "waiting": ms(times.waiting), "wrong_epoch": ms(times.wrong_epoch),
        "host_gone": ms(times.host_gone), "denied": ms(times.denied), "forged": ms(times.forged),
        "not_sending": ms(times.not_sending),
    })
}

fn recoveries(recovered: &Recoveries) -> Value {
    let bounds = RECOVERY_BOUNDS.iter().map(|bound| Some(*bound)).chain([None]);
    let buckets = bounds.zip(recovered.buckets).map(|(bound, count)| json!({ "up_to_ms": bound, "count": count }));
    json!({
        "count": recovered.count(), "longest_ms": recovered.longest_ms, "buckets": buckets.collect::<Vec<_>>(),
    })
}

/// A line or two for people; nothing about keys where there were none.
pub(super) fn text(counters: &KeyCounters) -> String {
    let KeyCounters { requests, sent, received, all, members } = counters;
    let mut lines = Vec::new();
    if sent.count + received.count > 0 {
        let asked = match (requests.sent, requests.given_up) {
            (0, _) => "none had to be asked for".to_owned(),
            (1, 0) => "one was asked for".to_owned(),
            (asked, 0) => format!("{asked} were asked for"),
            (asked, in_vain) => format!("{asked} were asked for, {in_vain} in vain"),
        };
        let kilobytes = (sent.bytes + received.bytes).div_ceil(1000);
        lines.push(format!(
            "Keys: {} letters sent, {} received, {kilobytes} kB together; {asked}.",
            sent.count, received.count
        ));
    }
    if all.recovered.count() > 0 {
        let longest = seconds(Duration::from_millis(all.recovered.longest_ms));
        lines.push(format!("A key came late {} times, {longest} at most.", all.recovered.count()));
    }
    lines.extend(members.iter().filter_map(unheard));
    lines.join("\n")
}

/// What there is to say of somebody who was not heard though they sent.
fn unheard(member: &MemberCounters) -> Option<String> {
    let mut times = ReasonTimes::default();
    member.sources.values().for_each(|source| times.add(&source.times));
    if times.unheard() < Duration::from_millis(100) {
        return None;
    }
    let reasons = [
        ("no key yet", times.waiting),
        ("no key", times.wrong_epoch),
        ("no key, host away", times.host_gone),
        ("key refused", times.denied),
        ("forged", times.forged),
    ];
    let reasons = reasons.iter().filter(|(_, time)| !time.is_zero());
    let reasons: Vec<String> = reasons.map(|(word, time)| format!("{word} {}", seconds(*time))).collect();
    Some(format!("{} could not be heard: {}.", short(&member.member.user), reasons.join(", ")))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ekr_8_the_last_words_say_what_was_lost_and_nothing_where_nothing_was() {
        let mut counters = KeyCounters::default();
        assert_eq!(text(&counters), "");
        counters.sent = LetterCount { count: 2, bytes: 900 };
        counters.received = LetterCount { count: 3, bytes: 1_200 };
        (counters.requests.sent, counters.requests.given_up) = (3, 1);
        assert_eq!(text(&counters), "Keys: 2 letters sent, 3 received, 3 kB together; 3 were asked for, 1 in vain.");
        counters.all.recovered.buckets[8] = 1;
        counters.all.recovered.longest_ms = 12_345;
        assert!(text(&counters).ends_with("A key came late 1 times, 12.3 s at most."));
        let object = fields(&counters);
        assert_eq!(object["all"]["recovered"]["buckets"][8], json!({ "up_to_ms": null, "count": 1 }));
        assert_eq!(object["all"]["recovered"]["buckets"][0], json!({ "up_to_ms": 50, "count": 0 }));
    }
}
