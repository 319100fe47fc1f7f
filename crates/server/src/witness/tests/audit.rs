//! The machine of the witness in the hands of a device that audits the log: nothing is cosigned, and what the device was shown
//! before counts.

use undertone_keys::WallTime;
use undertone_transparency::checkpoint::{NotFollowing, VerifiedCheckpoint};
use undertone_transparency::follow::{Accused, Check, Fault, Progress, Step};
use undertone_transparency::leaf::Leaf;

use super::world::{NOON, Tree, World};

fn audit(world: &World, start: &Progress, met: &[VerifiedCheckpoint]) -> Result<Progress, Accused> {
    let mut check = Check::begin(start, None, &world.note(), WallTime::from_unix(NOON))?;
    for known in met {
        check = check.begins_with(known)?;
    }
    loop {
        check = match check.step()? {
            Step::Fetch(asking) => {
                let bytes = world.serve(asking.resource());
                asking.answer(&bytes)?
            }
            Step::Keep(check) => {
                let kept = Progress::from_bytes(&check.progress().to_bytes(), &world.log_key()).unwrap();
                assert_eq!(kept, *check.progress());
                check
            }
            Step::Done(progress) => return Ok(progress),
        };
    }
}

fn shown(world: &World) -> VerifiedCheckpoint {
    world.signed(&world.tree).verify(&world.log_key()).unwrap()
}

#[test]
fn kt_12_an_audit_goes_on_where_the_last_one_ended() {
    let mut world = World::new();
    world.publish(4);
    world.heartbeat(600);
    let first = audit(&world, &Progress::new(world.log_key()), &[]).unwrap();
    let end = first.end().unwrap();
    assert_eq!((end.size(), end.leaf().epoch, first.checked()), (602, 2, 602));
    world.asked.take();
    world.publish(2);
    let second = audit(&world, &first, &[]).unwrap();
    assert!(second.follows(&first) && !first.follows(&second));
    assert!(world.asked.take().len() < 10, "what was read is not read again");
    // From the start again it comes to the same, and the log that was read before is still demanded.
    let again = audit(&world, &Progress::new(world.log_key()), &[first.seen().unwrap().clone()]).unwrap();
    assert_eq!(again, second);
    assert_eq!(Progress::new(world.log_key()).end(), None);
}

#[test]
fn kt_4_a_log_that_does_not_begin_with_what_the_device_was_shown() {
    let mut world = World::new();
    world.heartbeat(5);
    let nothing = Progress::new(world.log_key());
    let met = shown(&world);
    // Another log, honest in itself and longer; the device has looked people up in the first.
    let leaf = Leaf { time: WallTime::from_unix(world.clock + 1), ..world.leaf() };
    world.tree = Tree::of(&world.tree.entries[..3]);
    (0..9).for_each(|_| world.push(&leaf));
    let accused = audit(&world, &nothing, std::slice::from_ref(&met)).unwrap_err();
    assert!(matches!(accused.fault, Fault::Log(NotFollowing::NotConsistent { known: 6, shown: 12, .. })), "{accused}");
    assert!(accused.evidence.convicts() && accused.evidence.witness().is_none());
    // Or a shorter one.
    world.tree = Tree::of(&world.tree.entries[..3]);
    let accused = audit(&world, &nothing, &[met]).unwrap_err();
    assert_eq!(accused.fault, Fault::Log(NotFollowing::SmallerSize { known: 6, shown: 3 }));
}

#[test]
fn kt_8_kt_12_an_audit_finds_what_a_witness_finds() {
    let mut world = World::new();
    world.publish_only(3);
    let honest = world.leaf();
    world.push(&Leaf { root: [7; 32], ..honest });
    let nothing = Progress::new(world.log_key());
    assert!(matches!(audit(&world, &nothing, &[]).unwrap_err().fault, Fault::Audit { epoch: 2, .. }));
    let mut world = World::new();
    world.push(&Leaf { time: WallTime::from_unix(1), ..world.leaf() });
    let accused = audit(&world, &nothing, &[]).unwrap_err();
    assert!(accused.fault.rule() == "KT-8" && accused.evidence.convicts(), "{accused}");
}
