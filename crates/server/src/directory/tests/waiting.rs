use std::time::{Duration, Instant};

use super::world::{Client, Folder, open, publish, settings, user, value};
use crate::directory::{DirectoryError, Published, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn several_versions_of_one_user_go_into_epochs_one_after_the_other() {
    let folder = Folder::new("several");
    let epoch_interval = Duration::from_millis(50);
    let directory = open(&folder.file(), Settings { epoch_interval, ..settings() }).await.unwrap();
    publish(&directory, &[(9, 1)]).await;
    let user = user(1);
    let send = |version, other: u32| {
        let (directory, user) = (directory.clone(), user.clone());
        async move { directory.publish(&user, version, value(&user, version + other)).await }
    };
    // They come in the wrong order, one of them twice, one with another list.
    let (third, first, second, again, other, gap, much) =
        tokio::join!(send(3, 0), send(1, 0), send(2, 0), send(1, 0), send(2, 50), send(5, 0), send(u32::MAX, 0));
    let epoch = first.unwrap().epoch;
    assert_eq!(again, Ok(Published { epoch }));
    assert_eq!(second, Ok(Published { epoch: epoch + 1 }));
    assert_eq!(other, Err(DirectoryError::Conflict));
    assert_eq!(third, Ok(Published { epoch: epoch + 2 }));
    assert!(matches!(gap, Err(DirectoryError::Gap { .. })), "{gap:?}");
    assert!(matches!(much, Err(DirectoryError::Gap { .. })), "{much:?}");

    // Whoever asks again is told the same.
    assert_eq!(send(1, 0).await, Ok(Published { epoch }));
    assert_eq!(send(2, 50).await, Err(DirectoryError::Conflict));
    assert_eq!(send(0, 0).await, Err(DirectoryError::Conflict));
    assert_eq!(send(5, 0).await, Err(DirectoryError::Gap { newest: 3 }));
    let same = directory.publish(&user, 4, value(&user, 3)).await;
    assert_eq!(same, Err(DirectoryError::Conflict), "a version that changes nothing");
    assert_eq!(directory.shown().epoch(), epoch + 2, "none of these was an epoch");
    let mut client = Client::new(&directory);
    assert_eq!(client.history(&directory, &user, 1).await.len(), 3);
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_change_goes_at_once_and_those_behind_it_together() {
    let folder = Folder::new("batch");
    let epoch_interval = Duration::from_millis(400);
    let directory = open(&folder.file(), Settings { epoch_interval, ..settings() }).await.unwrap();
    let started = Instant::now();
    let first = publish(&directory, &[(1, 1)]).await;
    assert!(started.elapsed() < epoch_interval, "{:?}", started.elapsed());
    let many: Vec<_> = (10..200).map(|n| (n, 1)).collect();
    let second = publish(&directory, &many).await;
    assert!(started.elapsed() >= epoch_interval);
    assert_eq!(second, first + 1);
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_takes_no_more_than_it_may_and_a_stop_finishes_what_waits() {
    let folder = Folder::new("stop");
    let epoch_changes = 10.try_into().unwrap();
    let epoch_interval = Duration::from_secs(3600);
    let directory = open(&folder.file(), Settings { epoch_changes, epoch_interval, ..settings() }).await.unwrap();
    publish(&directory, &[(0, 1)]).await;
    let many: Vec<_> = (1..36).map(|n| (n, 1)).collect();
    let sender = directory.clone();
    let waiting = tokio::spawn(async move { publish(&sender, &many).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    directory.stop().await;
    assert_eq!(waiting.await.unwrap(), 6, "ten, ten, ten and five");
}
