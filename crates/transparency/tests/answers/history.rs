//! Rule KT-11: the owner of an account walks its history, and sees what nobody else can.

use akd::HistoryParams;
use undertone_keys::WallTime;
use undertone_keys::device_list::DeviceList;
use undertone_transparency::answer::Found;
use undertone_transparency::directory::guard::GuardError;
use undertone_transparency::directory::{Claim, ClaimError, Freshness, HistoryError, HistoryProof, LookupProof};
use undertone_transparency::evidence::{Evidence, Held};
use undertone_transparency::history::{History, HistoryAnswer, HistoryQuestion, Lists};
use undertone_transparency::verify::{Accusation, Proven};

use crate::server::{Asker, Person, START, Server, record};
use crate::world::{Fresh, Stale};

/// What a server answers that has these lists and this proof to show.
fn answer(server: &Server, asker: &Asker, proof: HistoryProof, lists: &[DeviceList]) -> HistoryAnswer {
    let found = Found::Absent(Box::new(server.world.absence("nobody")));
    let head = server.answer_with(&server.log, asker.seen.as_ref(), found).head;
    let lists = Lists(lists.iter().map(DeviceList::to_bytes).collect());
    HistoryAnswer { head, proof, lists }
}

/// What an honest one answers.
fn honest(server: &Server, person: &Person, asker: &Asker, from: usize) -> HistoryAnswer {
    let versions = person.lists.len() - from + 1;
    let proof = server.world.akd_history(&person.label(), HistoryParams::MostRecent(versions));
    answer(server, asker, HistoryProof::from_akd(&proof).unwrap(), &person.lists[from..])
}

fn ask(asker: &Asker, from: &DeviceList, answer: &HistoryAnswer) -> Result<History, Accusation> {
    ask_since(asker, (from, None), answer)
}

/// The same of somebody who has seen that this list was the newest in an epoch.
fn ask_since(
    asker: &Asker,
    (from, newest_in): (&DeviceList, Option<u64>),
    answer: &HistoryAnswer,
) -> Result<History, Accusation> {
    let now = WallTime::from_unix(asker.clock);
    let question = HistoryQuestion { pins: &asker.pins, seen: asker.seen.as_ref(), from, newest_in, now };
    let result = question.verify(&answer.to_bytes());
    // Whatever it is, a third party comes to the same.
    let evidence = Evidence::of_history(&question, &answer.to_bytes());
    let again = Evidence::from_bytes(&evidence.to_bytes()).unwrap();
    assert!(again.is_of_history());
    assert_eq!(again.check().unwrap(), result.clone().map(|history| Held::History(Box::new(history))));
    result
}

/// A server on which Bob has made a number of versions, and he who has seen the first of them.
fn owner(versions: usize) -> (Server, Person, Asker) {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.learn(&bob, &server.answer(&bob, &asker));
    for _ in 1..versions {
        bob.add_device();
        server.publish(&[&bob]);
    }
    (server, bob, asker)
}

#[test]
fn kt_11_every_version_is_shown_from_the_one_known_on() {
    let (server, bob, asker) = owner(9);
    for from in 1..=9 {
        let history = ask(&asker, &bob.lists[from - 1], &honest(&server, &bob, &asker, from)).unwrap();
        let lists: Vec<&DeviceList> = history.versions().iter().map(|version| &version.list).collect();
        assert_eq!(lists, bob.lists[from - 1..].iter().collect::<Vec<_>>());
        // The tree had an epoch of its own before Bob's first.
        assert!(history.versions().iter().all(|version| version.epoch == u64::from(version.list.version()) + 1));
        assert_eq!(history.provenance().seen().size(), server.log.size());
        // Somebody who was answered from an earlier version on.
        let more = honest(&server, &bob, &asker, 1);
        assert_eq!(ask(&asker, &bob.lists[from - 1], &more).unwrap().versions(), history.versions());
    }
}

#[test]
fn kt_11_a_history_that_ends_early_or_begins_late_is_refused() {
    let (server, bob, asker) = owner(5);
    let late = honest(&server, &bob, &asker, 4);
    let reach = HistoryError::Reach { oldest: 4, latest: 5, from: 2 };
    assert_eq!(ask(&asker, &bob.lists[1], &late), Err(Accusation::History(reach)));
    // The proof as it was when there was one version less, in the present tree.
    let (mut server, mut bob, asker) = owner(4);
    let old = honest(&server, &bob, &asker, 1).proof;
    bob.add_device();
    server.publish(&[&bob]);
    let early = answer(&server, &asker, old, &bob.lists[1..4]);
    let accusation = ask(&asker, &bob.lists[0], &early).unwrap_err();
    assert!(matches!(accusation, Accusation::History(_)), "{accusation}");
    assert_eq!(accusation.rule(), "KT-11");
}

#[test]
fn kt_11_lists_are_those_of_the_history_in_order_and_follow_the_one_known() {
    let (server, bob, asker) = owner(4);
    let good = honest(&server, &bob, &asker, 1);
    let refuse = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut bad = good.clone();
        change(&mut bad.lists.0);
        ask(&asker, &bob.lists[0], &bad).unwrap_err()
    };
    assert_eq!(refuse(&|lists| lists.swap(0, 1)), Accusation::OtherList);
    assert_eq!(refuse(&|lists| lists.truncate(2)), Accusation::OtherList);
    assert_eq!(refuse(&Vec::clear), Accusation::OtherList);
    assert!(matches!(refuse(&|lists| lists[2][40] ^= 1), Accusation::List(_)));
    // Another account's first list is not where Bob's history begins.
    let other = Person::new("bob", 77);
    assert_eq!(ask(&asker, other.newest(), &good), Err(Accusation::OtherList));
}

/// A list that the account's key signed and no device of its owner's had a part in, behind the newest.
fn ghost(bob: &Person) -> DeviceList {
    let (key, record) = record(&bob.user, &mut undertone_keys::testing::SeededRng::new(66));
    bob.newest().with_alone(&bob.account, record.sign(&key)).unwrap()
}

/// Somebody holds Bob's account key, and the server is theirs. It puts a version into its tree that it shows to others alone:
/// his newest is not marked as superseded, so the look-up that Bob's device makes of its own account, in the very same tree, is
/// accepted, shows the version he knows, and **a look-up alone cannot see that there is another**. His history does: in
/// that tree there is no proof that nothing came behind the version he knows, and none that the other took its place.
#[test]
fn kt_11_hidden_version_is_accepted_by_a_lookup_and_caught_by_the_self_audit() {
    for versions in 1..=5_u32 {
        let (mut server, bob, mut asker) = owner(versions as usize);
        if versions > 1 {
            asker.learn(&bob, &server.answer(&bob, &asker));
        }
        let (label, hidden, next) = (bob.label(), ghost(&bob), versions + 1);
        let value = akd::AkdValue(hidden.hash().to_vec());
        let (epoch, nonce) = server.world.insert_ghost(&label, next.into(), &value);
        server.log_epoch();

        // Bob looks his own account up: accepted, and everything as he knows it.
        let found = server.answer(&bob, &asker);
        let Ok(Proven::Devices(devices)) = asker.ask(&bob, &found) else { panic!("the look-up sees it by itself") };
        assert_eq!(devices.list(), bob.newest());

        // Somebody else is shown the other version, from the same checkpoint, and accepts that too.
        let place = server.world.place(&label, Fresh, next.into());
        let existence_proof = server.world.membership(place);
        let existence_vrf_proof = server.world.vrf(&label, Fresh, next.into()).to_vec();
        let marker = 1_u64 << next.ilog2();
        let shown = akd::LookupProof {
            epoch,
            value,
            version: next.into(),
            marker_vrf_proof: server.world.vrf(&label, Fresh, marker).to_vec(),
            marker_proof: server.world.membership(server.world.place(&label, Fresh, marker)),
            existence_vrf_proof,
            existence_proof,
            freshness_vrf_proof: server.world.vrf(&label, Stale, next.into()).to_vec(),
            freshness_proof: server.world.non_membership(server.world.place(&label, Stale, next.into())),
            commitment_nonce: nonce.to_vec(),
        };
        let further = server.world.further_markers(&label, next);
        let proof = Box::new(LookupProof::from_akd(&shown, &further).unwrap());
        let found = Found::Present { proof, lists: vec![hidden.to_bytes()] };
        let answer_to_others = server.answer_with(&server.log, asker.seen.as_ref(), found);
        let Ok(Proven::Devices(devices)) = asker.ask(&bob, &answer_to_others) else { panic!("others see it") };
        assert_eq!(devices.list(), &hidden);

        // The history that ends where Bob knows it to end: the version behind it cannot be denied.
        let params = HistoryParams::Complete;
        let mut lie = server.world.akd_history(&label, params);
        let epoch = server.world.epoch();
        let future = akd_core_future(versions, epoch);
        let at = future.iter().position(|version| *version == u64::from(next)).expect("the next version is denied");
        let last = *server.world.above(place).last().unwrap();
        lie.non_existence_of_future_marker_proofs[at] = server.world.forged_non_membership(place, last);
        let lie = answer(&server, &asker, HistoryProof::from_akd(&lie).unwrap(), &bob.lists[1..]);
        let claim = Claim { freshness: Freshness::Fresh, version: next.into() };
        let why = HistoryError::Claim(ClaimError::Absence(claim, GuardError::LeadsThere));
        let accusation = ask(&asker, &bob.lists[0], &lie).unwrap_err();
        assert_eq!(accusation, Accusation::History(why));
        assert_eq!(accusation.rule(), "KT-11");
    }
}

/// The versions that a history up to this one denies.
fn akd_core_future(latest: u32, epoch: u64) -> Vec<u64> {
    akd_core::utils::get_marker_versions(1, latest.into(), epoch).1
}

/// The other way: the version is published as any other is. Then the look-up shows it to its owner as well, and his history has
/// a version that he did not make.
#[test]
fn kt_11_a_version_that_the_owner_did_not_make_stands_in_the_history() {
    let (mut server, mut bob, asker) = owner(2);
    let mine = bob.newest().clone();
    let hidden = ghost(&bob);
    bob.lists.push(hidden.clone());
    server.publish(&[&bob]);
    let history = ask(&asker, &mine, &honest(&server, &bob, &asker, 2)).unwrap();
    assert_eq!(history.versions().last().unwrap().list, hidden);
    assert_eq!(history.versions().len(), 2);
}

/// A version that is put into the history where the owner has seen that there was none.
#[test]
fn kt_6_a_version_that_is_dated_back_before_the_last_walk_is_refused() {
    let (mut server, mut bob, asker) = owner(2);
    let before = ask(&asker, &bob.lists[0], &honest(&server, &bob, &asker, 1)).unwrap();
    assert_eq!((before.newest_in(1), before.newest_in(2), before.newest_in(3)), (Some(2), Some(3), None));
    bob.add_device();
    server.publish(&[&bob]);
    let answer = honest(&server, &bob, &asker, 2);
    let from = &bob.lists[1];
    assert!(ask_since(&asker, (from, Some(3)), &answer).is_ok());
    let accused = Accusation::Backdated { version: 3, published: 4, known: 2, newest: 4 };
    assert_eq!(ask_since(&asker, (from, Some(4)), &answer), Err(accused));
}

#[test]
fn kt_8_a_history_of_yesterday_says_nothing_about_today() {
    let (server, bob, mut asker) = owner(2);
    let answer = honest(&server, &bob, &asker, 1);
    asker.clock = START + 601;
    assert_eq!(ask(&asker, &bob.lists[0], &answer), Err(Accusation::Stale { age: 601 }));
}

#[test]
fn a_history_answer_has_one_form() {
    let (server, bob, asker) = owner(3);
    let bytes = honest(&server, &bob, &asker, 1).to_bytes();
    assert_eq!(HistoryAnswer::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    for cut in 0..bytes.len() {
        assert!(HistoryAnswer::from_bytes(&bytes[..cut]).is_err());
    }
    let (from, now) = (&bob.lists[0], WallTime::from_unix(asker.clock));
    let question = HistoryQuestion { pins: &asker.pins, seen: asker.seen.as_ref(), from, newest_in: None, now };
    for bit in (0..bytes.len() * 8).step_by(97) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(question.verify(&changed).is_err(), "bit {bit}");
    }
}
