//! Speech through a network that loses and delays packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "what was heard is worth a line")]

use std::time::Duration;

use undertone_testkit::{Loss, Weather, talk_through};

const BAD: Weather = Weather { loss: Loss::Random(0.1), jitter: Duration::from_millis(30), seed: 7 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_survives_ten_percent_of_loss() {
    let heard = talk_through("loss", BAD, true, 40).await.unwrap();
    eprintln!("with error correction: {heard:?}");
    assert!(heard.whole >= 97.0, "{heard:?}");
    assert!(heard.gap_ms <= 60, "{heard:?}");
    assert!(heard.likeness >= 0.9, "{heard:?}");
    // The same network and no error correction: the test can fail.
    let without = talk_through("loss-without", BAD, false, 40).await.unwrap();
    eprintln!("without: {without:?}");
    assert!(without.whole < 97.0, "{without:?}");
}
