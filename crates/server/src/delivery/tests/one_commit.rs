//! Rule RLY-6: one commit for each epoch, and everybody has the same one.

use super::*;

/// Which of them was taken, by what each was answered; all others were shown it.
fn winner(epoch: u64, answers: &[(u8, Vec<GroupNews>)]) -> u8 {
    let won: Vec<u8> = answers.iter().filter(|(_, news)| *news == [accepted(epoch + 1)]).map(|(who, _)| *who).collect();
    let [winner] = won[..] else { panic!("{} won epoch {epoch}", won.len()) };
    for (who, news) in answers.iter().filter(|(who, _)| *who != winner) {
        assert_eq!(*news, [refused(Denied::Lost), news_of(epoch, winner)], "{who} in epoch {epoch}");
    }
    winner
}

/// Sixteen devices on four threads, each with a commit of its own to every epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rly_6_one_commit_per_epoch_whoever_races() {
    let world = World::new(ample()).await;
    let mut watcher = world.phone("bob@x", 99);
    let phones: Vec<Arc<Phone>> = (10..26).map(|n| Arc::new(world.phone("ada@x", n))).collect();
    world.begin(&phones[0]).await;
    world.follow(&watcher, Some(0)).await;
    let mut won = Vec::new();
    for epoch in 0..25 {
        let start = Arc::new(tokio::sync::Barrier::new(phones.len()));
        let tasks: Vec<_> = phones
            .iter()
            .map(|phone| {
                let (desk, phone, start) = (world.desk.clone(), phone.clone(), start.clone());
                tokio::spawn(async move {
                    let who = phone.you.device.as_bytes()[0];
                    start.wait().await;
                    (who, ask(&desk, &phone, (ROOM, CALL), commit(epoch, who)).await)
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        won.push(news_of(epoch, winner(epoch, &answers)));
    }
    assert_eq!(watcher.news(), won, "each once, in order, and the ones that were taken");
    let counted = world.desk.delivered();
    assert_eq!((counted.commits, counted.lost), (26, 25 * 15));
}

/// Two desks that know nothing of each other, over one database: it is the database that decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rly_6_one_commit_per_epoch_by_the_database_alone() {
    let world = World::new(ample()).await;
    let phones: Vec<Arc<Phone>> = (10..18).map(|n| Arc::new(world.phone("ada@x", n))).collect();
    world.begin(&phones[0]).await;
    let desks: Vec<_> = (0..8).map(|_| world.another_desk()).collect();
    for epoch in 0..15 {
        let tasks: Vec<_> = phones
            .iter()
            .zip(&desks)
            .map(|(phone, desk)| {
                let (desk, phone) = (desk.clone(), phone.clone());
                tokio::spawn(async move {
                    let who = phone.you.device.as_bytes()[0];
                    (who, ask(&desk, &phone, (ROOM, CALL), commit(epoch, who)).await)
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        winner(epoch, &answers);
    }
    assert_eq!(world.store.group(CALL).await.unwrap().unwrap().epoch, 15);
}

/// A group is begun once, and whoever was too late is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rly_6_one_device_begins_the_group() {
    let world = World::new(ample()).await;
    let mut watcher = world.phone("bob@x", 99);
    let none = GroupNews::State { number: 5, oldest: 0, epoch: None, seen: None, born: None };
    assert_eq!(world.follow(&watcher, None).await, [none]);
    let phones: Vec<Phone> = (10..20).map(|n| world.phone("ada@x", n)).collect();
    let began = phones.iter().map(|phone| async {
        let other = testing::group_info(&CALL, 0, &tree(0), phone.you.device.as_bytes());
        let patch = TreePatch::between(&Tree::default(), &tree(0));
        let request = GroupRequest::Create { info: other, tree: patch };
        (world.ask(phone, request.clone()).await, request)
    });
    let answers = futures_util::future::join_all(began).await;
    let won: Vec<usize> = (0..10).filter(|place| answers[*place].0 == [accepted(0)]).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(answers.iter().filter(|(news, _)| *news == [refused(Denied::Lost)]).count(), 9);
    assert_eq!(watcher.news(), [GroupNews::Opened]);
    // Whoever did not get the answer asks again, also later.
    world.step(&phones[0], 0).await;
    let again = answers[won[0]].1.clone();
    assert_eq!(world.ask(&phones[won[0]], again.clone()).await, [accepted(0)]);
    assert_eq!(world.ask(&phones[(won[0] + 1) % 10], again).await, [refused(Denied::Lost)], "it is not theirs");
}

/// The same bytes of the same device are accepted again; nobody else's are, and nothing comes of them a second time.
#[tokio::test]
async fn rly_6_a_commit_that_comes_again_is_accepted_again() {
    let world = World::new(ample()).await;
    let (ada, mut bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    world.follow(&bob, Some(0)).await;
    world.step(&ada, 0).await;
    assert_eq!(world.ask(&ada, commit(0, 0)).await, [accepted(1)]);
    world.step(&ada, 1).await;
    assert_eq!(world.ask(&ada, commit(0, 0)).await, [accepted(1)], "also when others have gone on");
    assert_eq!(bob.news(), [news_of(0, 0), news_of(1, 0)]);
    assert_eq!(world.ask(&bob, commit(0, 0)).await, [refused(Denied::Lost), news_of(0, 0)], "it was Ada's");
    assert_eq!(world.ask(&ada, commit(0, 1)).await, [refused(Denied::Lost), news_of(0, 0)]);
    assert_eq!(world.ask(&ada, commit(7, 0)).await, [refused(Denied::Ahead)]);
    assert_eq!(world.desk.delivered().commits, 3);
}

/// Whoever does not read loses what does not fit into its queue, keeps nobody waiting, and finds the rest when it asks.
#[tokio::test]
async fn rly_6_a_slow_follower_delays_nobody() {
    let world = World::new(ample()).await;
    let (ada, mut slow, mut bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20), world.phone("bob@x", 21));
    world.begin(&ada).await;
    world.follow(&slow, Some(0)).await;
    world.follow(&bob, Some(0)).await;
    let most = u64::try_from(undertone_protocol::limits::SIGNAL_QUEUE).unwrap();
    let started = Instant::now();
    for epoch in 0..most + 20 {
        world.step(&ada, epoch).await;
        assert_eq!(bob.news(), [news_of(epoch, 0)]);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    let got = slow.news();
    assert_eq!(u64::try_from(got.len()).unwrap(), most);
    assert_eq!(got.last(), Some(&news_of(most - 1, 0)), "the oldest are there, so that it sees the gap");
    let state = GroupNews::State { number: 5, oldest: 20, epoch: Some(most + 20), seen: None, born: None };
    let mut expected = vec![state];
    expected.extend((most..most + 20).map(|epoch| news_of(epoch, 0)));
    assert_eq!(world.follow(&slow, Some(most)).await, expected);
}

/// Who leaves, or is struck from the list, is told no more.
#[tokio::test]
async fn grp_8_news_go_to_those_who_follow_and_are_on_the_list() {
    let mut world = World::new(ample()).await;
    let (ada, mut bob, mut gone) = (world.phone("ada@x", 10), world.phone("bob@x", 20), world.phone("ada@x", 11));
    let mut never = world.phone("bob@x", 22);
    world.begin(&ada).await;
    world.follow(&bob, Some(0)).await;
    world.follow(&gone, Some(0)).await;
    world.step(&ada, 0).await;
    assert_eq!((bob.news().len(), gone.news().len()), (1, 1));
    assert_eq!(world.ask(&gone, GroupRequest::Unfollow).await, []);
    world.step(&ada, 1).await;
    assert_eq!((bob.news().len(), gone.news().len()), (1, 0));
    world.list(&["ada@x"]).await;
    world.step(&ada, 2).await;
    assert_eq!((bob.news().len(), never.news().len()), (0, 0));
    assert_eq!(world.follow(&bob, Some(2)).await, [refused(Denied::NotYours)]);
    // Put on it again they follow again.
    world.list(&["ada@x", "bob@x"]).await;
    assert_eq!(world.follow(&bob, Some(2)).await.len(), 2);
    world.step(&ada, 3).await;
    assert_eq!(bob.news(), [news_of(3, 0)]);
}
