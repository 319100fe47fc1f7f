//! Rule ID-7: an account that begins anew, as others are shown it.

use akd::HistoryParams;
use undertone_keys::WallTime;
use undertone_transparency::answer::Answer;
use undertone_transparency::evidence::Evidence;
use undertone_transparency::leaf::{Leaf, LeafOrder};
use undertone_transparency::verify::{ANEW, Accusation};
use undertone_transparency::{PeerTrust, Standing};

use crate::server::{Asker, Person, START, Server};

/// Bob, known to somebody; then somebody begins his account anew.
fn announced() -> (Server, Person, Asker, PeerTrust) {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    let pinned = PeerTrust::pin(&asker.learn(&bob, &server.answer(&bob, &asker)));
    bob.begin_anew();
    server.publish(&[&bob]);
    (server, bob, asker, pinned)
}

/// What an honest server answers while the newest list begins the account anew.
fn answer(server: &Server, bob: &Person, asker: &Asker, leaf: u64) -> Answer {
    let mut answer = server.answer(bob, asker);
    answer.announced = Some(server.leaf_at(leaf));
    answer
}

#[test]
fn id_7_an_announcement_waits_three_days_and_then_the_key_is_a_changed_one() {
    let (mut server, bob, mut asker, mut trust) = announced();
    let leaf = server.log.size() - 1;
    trust.verified(bob.account.public(), WallTime::from_unix(START)).unwrap();
    let devices = asker.clone().learn(&bob, &answer(&server, &bob, &asker, leaf));
    let announcement = devices.announced().unwrap();
    assert_eq!(announcement.account, *bob.newest().account());
    assert_eq!(announcement.effective, WallTime::from_unix(START + ANEW));
    assert_eq!((devices.list(), trust.observe(&devices).unwrap().standing()), (&bob.lists[0], Standing::Verified));

    for (after, in_force) in [(ANEW - 1, false), (ANEW, true)] {
        (server.clock, asker.clock) = (START + after, START + after);
        server.log_epoch();
        let devices = asker.clone().learn(&bob, &answer(&server, &bob, &asker, leaf));
        assert_eq!((devices.announced().is_none(), devices.list() == bob.newest()), (in_force, in_force));
        assert_eq!(trust.observe(&devices).is_err(), in_force, "nothing of the old key's standing goes over");
    }
    // A person takes it, and from then on it is that key's list as any other.
    let fingerprint = bob.newest().account().fingerprint();
    trust.decide(&fingerprint, true, WallTime::from_unix(START)).unwrap();
    let devices = asker.learn(&bob, &answer(&server, &bob, &asker, leaf));
    assert_eq!(trust.observe(&devices).unwrap().standing(), Standing::Overridden);
    assert!(asker.ask(&bob, &server.answer(&bob, &asker)).is_ok());
}

#[test]
fn id_7_since_when_it_is_announced_is_proven_by_the_log() {
    let (mut server, bob, asker, _) = announced();
    let leaf = server.log.size() - 1;
    server.clock += 1;
    server.log_epoch();
    let without = server.answer(&bob, &asker);
    assert_eq!(asker.ask(&bob, &without), Err(Accusation::Announcement));
    // An older leaf, to have it begun earlier; one from nowhere; the right one at another place.
    assert_eq!(asker.ask(&bob, &answer(&server, &bob, &asker, 0)), Err(Accusation::Announcement));
    let mut forged = answer(&server, &bob, &asker, leaf);
    let mut early = server.log.0[usize::try_from(leaf).unwrap()];
    early.time = WallTime::from_unix(START - ANEW);
    forged.announced.as_mut().unwrap().leaf = early.to_bytes();
    assert_eq!(asker.ask(&bob, &forged), Err(Accusation::Announcement));
    let mut moved = answer(&server, &bob, &asker, leaf);
    moved.announced.as_mut().unwrap().index += 1;
    assert_eq!(asker.ask(&bob, &moved), Err(Accusation::Announcement));
    // The announcement alone, to somebody who knows nothing of Bob: who was there before is not to be left out.
    let mut stranger = asker.clone();
    stranger.known = None;
    let alone = answer(&server, &bob, &stranger, leaf);
    assert_eq!(stranger.ask(&bob, &alone), Err(Accusation::Announcement));
    assert_eq!(Accusation::Announcement.rule(), "ID-7");
}

#[test]
fn id_7_the_old_key_takes_it_back() {
    let (mut server, mut bob, mut asker, mut trust) = announced();
    let [before, announcement] = &bob.lists[..] else { panic!("two") };
    let kept = before.keep(&bob.account, announcement).unwrap();
    bob.lists.push(kept);
    server.publish(&[&bob]);
    let devices = asker.learn(&bob, &server.answer(&bob, &asker));
    assert_eq!((devices.announced(), devices.list().version()), (None, 3));
    assert!(trust.observe(&devices).is_ok());
    // Not by anybody else: a list of another key that does not say so follows nothing.
    let (mut server, mut bob, asker, _) = announced();
    let other = Person::new("bob", 77);
    bob.lists.push(other.newest().clone());
    server.publish(&[&bob]);
    assert!(matches!(asker.ask(&bob, &server.answer(&bob, &asker)), Err(Accusation::List(_))));
}

#[test]
fn id_7_where_nobody_is_left_to_object_it_counts_at_once() {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let device = bob.newest().records()[0].device;
    let emptied = bob.newest().revoke(&bob.account, device).unwrap();
    bob.lists.push(emptied);
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.learn(&bob, &server.answer(&bob, &asker));
    bob.begin_anew();
    server.publish(&[&bob]);
    let devices = asker.learn(&bob, &server.answer(&bob, &asker));
    assert_eq!((devices.announced(), devices.list()), (None, bob.newest()));
}

/// One announcement behind another makes none of them shorter, nor does one that emptied its list first; and taking the second
/// back leaves the first where it was.
#[test]
fn id_7_announcements_behind_each_other_all_wait() {
    for emptied in [false, true] {
        let (mut server, mut bob, mut asker, _) = announced();
        if emptied {
            let (account, device) = (bob.begun.take().unwrap(), bob.newest().records()[0].device);
            bob.lists.push(bob.newest().revoke(&account, device).unwrap());
            server.publish(&[&bob]);
        }
        let first = bob.begun.take();
        bob.begin_anew();
        server.publish(&[&bob]);
        let leaf = server.log.size() - 1;
        let devices = asker.clone().learn(&bob, &answer(&server, &bob, &asker, leaf));
        assert_eq!((devices.list(), devices.announced().is_some()), (&bob.lists[0], true), "{emptied}");
        let mut later = (asker.clone(), server.clock);
        (server.clock, asker.clock) = (START + ANEW, START + ANEW);
        server.log_epoch();
        let devices = asker.clone().learn(&bob, &answer(&server, &bob, &asker, leaf));
        assert_eq!((devices.list(), devices.announced()), (bob.newest(), None));

        // The key of the first takes the second back: it has not waited either.
        let Some(first) = first else { continue };
        (later.0.clock, server.clock) = (START, later.1);
        server.log.0.pop();
        let [before, second] = &bob.lists[1..] else { panic!("two") };
        let kept = before.keep(&first, second).unwrap();
        bob.lists.push(kept);
        server.publish(&[&bob]);
        let published = server.world.history(&bob.label(), HistoryParams::MostRecent(3)).updates[2].clone();
        let mut shown = answer(&server, &bob, &later.0, 2);
        shown.announced.as_mut().unwrap().version = Some(Box::new(published));
        assert_eq!(later.0.ask(&bob, &shown), Err(Accusation::Announcement));
    }
}

/// A leaf with an old time that is put into the log now is not one that stood there then.
#[test]
fn id_7_a_leaf_that_is_put_in_late_is_no_old_one() {
    let (mut server, bob, asker, _) = announced();
    let announced = server.log.0.pop().unwrap();
    server.log.0.push(Leaf { time: WallTime::from_unix(START - ANEW), ..announced });
    server.log.0.push(announced);
    let forged = answer(&server, &bob, &asker, server.log.size() - 2);
    assert_eq!(asker.ask(&bob, &forged), Err(Accusation::Announcement));
}

/// A server in a hurry shows an announcement, and at once a second list of the new key: the newest begins nothing anew, and the
/// new key did not wait. Once it has, the log has to show that it did.
#[test]
fn id_7_a_list_of_the_new_key_behind_the_announcement_does_not_shorten_the_wait() {
    let (mut server, mut bob, mut asker, _) = announced();
    let leaf = server.log.size() - 1;
    let account = bob.begun.take().unwrap();
    let device = bob.newest().records()[0].device;
    bob.lists.push(bob.newest().revoke(&account, device).unwrap());
    server.publish(&[&bob]);
    let published =
        |server: &Server| server.world.history(&bob.label(), HistoryParams::MostRecent(2)).updates[1].clone();
    for (after, holds) in [(0, false), (ANEW - 1, false), (ANEW, true)] {
        (server.clock, asker.clock) = (START + after, START + after);
        server.log_epoch();
        let mut shown = answer(&server, &bob, &asker, leaf);
        assert_eq!(asker.ask(&bob, &shown), Err(Accusation::Announcement), "when it was published is not proven");
        shown.announced.as_mut().unwrap().version = Some(Box::new(published(&server)));
        match asker.ask(&bob, &shown) {
            Ok(_) => assert!(holds, "after {after} s"),
            Err(accusation) => assert_eq!((accusation, holds), (Accusation::Announcement, false), "after {after} s"),
        }
        // The epoch of another version is not the announcement's.
        let mut other = server.world.history(&bob.label(), HistoryParams::MostRecent(2)).updates[0].clone();
        other.epoch = published(&server).epoch;
        shown.announced.as_mut().unwrap().version = Some(Box::new(other));
        assert_eq!(asker.ask(&bob, &shown), Err(Accusation::Announcement));
    }
}

/// A server that rebuilds its directory: what it does not sign is not held against it, and only the log is.
struct Rewritten {
    server: Server,
    bob: Person,
    asker: Asker,
}

/// Bob is looked up for three days. Then the server, in another directory than the one it has shown, publishes that he begins anew
/// in epoch 3, which the log has a leaf of that is three days old.
fn rewritten() -> Rewritten {
    let (mut server, mut bob, carol) = (Server::new(), Person::new("bob", 1), Person::new("carol", 2));
    server.publish(&[&bob]);
    server.publish(&[&carol]);
    let mut asker = server.asker();
    (server.clock, asker.clock) = (START + ANEW, START + ANEW);
    server.log_epoch();
    asker.learn(&bob, &server.answer(&bob, &asker));

    let mut other = Server::new();
    other.publish(&[&bob]);
    bob.begin_anew();
    other.publish(&[&bob]);
    other.publish(&[&carol]);
    server.world = other.world;
    server.log_epoch();
    Rewritten { server, bob, asker }
}

/// In which epoch a list was published the server writes into its directory as it likes, and nobody but those who read the whole
/// log see that. Whoever looked since knows better.
#[test]
fn id_7_an_announcement_that_is_dated_back_before_the_last_look_does_not_shorten_the_wait() {
    let Rewritten { mut server, mut bob, asker } = rewritten();
    let forged = answer(&server, &bob, &asker, 2);
    let accused = Accusation::Backdated { version: 2, published: 3, known: 1, newest: 3 };
    assert_eq!((asker.ask(&bob, &forged), accused.rule()), (Err(accused.clone()), "KT-6"));
    let evidence = Evidence::new(&asker.question(&bob.user), &forged.to_bytes());
    let read = Evidence::from_bytes(&evidence.to_bytes()).unwrap();
    assert_eq!((read.check().unwrap(), read.convicts()), (Err(accused.clone()), false));
    // Without having looked there is nothing to hold against it: that is what the wait of a stranger rests on.
    let mut forgot = asker.clone();
    forgot.known.as_mut().unwrap().newest = None;
    assert_eq!(forgot.learn(&bob, &forged).list(), bob.newest());

    // A second list of the new key, which is published rightly, does not hide it.
    let account = bob.begun.take().unwrap();
    let device = bob.newest().records()[0].device;
    bob.lists.push(bob.newest().revoke(&account, device).unwrap());
    server.publish(&[&bob]);
    let update = server.world.history(&bob.label(), HistoryParams::MostRecent(2)).updates[1].clone();
    let mut behind = answer(&server, &bob, &asker, 2);
    behind.announced.as_mut().unwrap().version = Some(Box::new(update));
    assert_eq!(asker.ask(&bob, &behind), Err(accused));
}

/// The leaf of a later epoch with an older time, put into the log while this device looked others up.
#[test]
fn id_7_the_time_of_an_announcement_is_not_before_the_last_look() {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    (server.clock, asker.clock) = (START + ANEW, START + ANEW);
    server.log_epoch();
    asker.learn(&bob, &server.answer(&bob, &asker));
    bob.begin_anew();
    server.publish(&[&bob]);
    let honest = server.log.0.pop().unwrap();
    server.log.0.push(Leaf { time: WallTime::from_unix(START), ..honest });
    server.log.0.push(honest);
    let before = asker.known.clone();
    asker.seen = asker.clone().learn(&bob, &answer(&server, &bob, &asker, 4)).provenance().seen().clone().into();
    assert_eq!(asker.known, before);
    let times = [START + ANEW, START].map(WallTime::from_unix);
    let order = LeafOrder::Time { before: times[0], after: times[1] };
    assert_eq!(asker.ask(&bob, &answer(&server, &bob, &asker, 3)), Err(Accusation::Order(order)));
    assert!(asker.ask(&bob, &answer(&server, &bob, &asker, 4)).is_ok());
}

/// An announcement that was shown once is held to the day it was shown with, however the directory is rebuilt afterwards.
#[test]
fn id_7_an_announcement_does_not_become_older_than_it_was_shown() {
    let (mut server, mut bob, carol) = (Server::new(), Person::new("bob", 1), Person::new("carol", 2));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.learn(&bob, &server.answer(&bob, &asker));
    let looked = asker.known.as_ref().unwrap().newest.unwrap();
    assert_eq!((looked.epoch, looked.time), (2, WallTime::from_unix(START)));
    server.publish(&[&carol]);
    (server.clock, asker.clock) = (START + ANEW - 1, START + ANEW - 1);
    bob.begin_anew();
    server.publish(&[&bob]);
    let devices = asker.learn(&bob, &answer(&server, &bob, &asker, 3));
    assert_eq!(devices.announced().unwrap().effective, WallTime::from_unix(START + 2 * ANEW - 1));
    assert_eq!(asker.known.as_ref().unwrap().newest.unwrap().epoch, 3);
    // Still the same a second later, and an hour later in a directory in which it came on the first day.
    (server.clock, asker.clock) = (START + ANEW, START + ANEW);
    server.log_epoch();
    asker.learn(&bob, &answer(&server, &bob, &asker, 3));
    let mut other = Server::new();
    other.publish(&[&Person::new("bob", 1)]);
    other.publish(&[&bob]);
    other.publish(&[&carol]);
    other.publish(&[&Person::new("dave", 3)]);
    server.world = other.world;
    server.log_epoch();
    let accused = Accusation::Backdated { version: 2, published: 3, known: 1, newest: 3 };
    assert_eq!(asker.ask(&bob, &answer(&server, &bob, &asker, 2)), Err(accused));
}
