//! `bench`: what sealing costs on this machine, and how the account's server answers.

use std::fmt::Write as _;
use std::io::IsTerminal;

use serde_json::{Value, json};
use undertone_client::native::measure::{Reach, Sealing, Step, Times, sealing};
use undertone_client::native::{Client, ClientError};

use crate::Done;
use crate::output::Output;

pub(crate) async fn bench(client: &Client, output: &Output) -> Result<Done, ClientError> {
    progress(*output, "Sealing frames ...");
    let costs = tokio::task::spawn_blocking(sealing).await.map_err(|_| ClientError::Stopped)?;
    let (address, reach) = match client.whoami() {
        Ok(me) => (Some(me.server), reach(client, *output).await.map(Some)),
        Err(ClientError::NotLoggedIn) => (None, Ok(None)),
        Err(error) => (None, Err(error)),
    };
    let server = match (&reach, &address) {
        (Ok(Some(reach)), Some(address)) => Some((address.as_str(), reach)),
        _ => None,
    };
    let told = match server {
        Some((address, reach)) => reach_text(address, reach),
        None if reach.is_ok() => {
            "No server was measured: this home has no account. `undertone register NAME` or `undertone login NAME` makes \
             one, and `undertone bench` then measures its server as well."
                .to_owned()
        }
        None => "The server could not be measured.".to_owned(),
    };
    // What was measured is told before why the rest was not.
    output.result(&object(&costs, server), &format!("{}\n{told}", sealing_text(&costs)));
    reach.map(|_| Done::Well)
}

/// Connects, and measures on the connection: what a login takes is in none of the figures.
async fn reach(client: &Client, output: Output) -> Result<Reach, ClientError> {
    let mut online = client.connect().await?;
    let reach = online
        .measure(|step| {
            progress(
                output,
                match step {
                    Step::Signalling => "Signalling, there and back ...",
                    Step::Joining => "Joining an echo ...",
                    Step::Media => "Packets, there and back, for five seconds ...",
                },
            );
        })
        .await;
    online.stop().await;
    reach
}

/// For people who wait, and nobody else.
fn progress(output: Output, text: &str) {
    if !output.is_json() && std::io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

fn object(costs: &[Sealing], server: Option<(&str, &Reach)>) -> Value {
    let sealing = costs.iter().map(|cost| {
        json!({
            "bytes": cost.bytes, "aes_256_gcm_ns": tenth(cost.alone), "sframe_ns": tenth(cost.sframe),
            "hop_ns": tenth(cost.hop),
        })
    });
    let times = |times: &Times| {
        let [p50, p95] = [50, 95].map(|percent| thousandth(times.ms(percent)));
        json!({ "count": times.count(), "p50_ms": p50, "p95_ms": p95 })
    };
    let server = server.map(|(address, reach)| {
        json!({
            "address": address, "signalling": times(&reach.signalling), "join": times(&reach.joining),
            "media": times(&reach.media), "sent": reach.sent, "lost": reach.lost,
            "loss_percent": thousandth(loss(reach)),
        })
    });
    json!({ "event": "bench", "sealing": sealing.collect::<Value>(), "server": server })
}

/// More digits would say more than was measured.
fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn thousandth(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Percent of the packets that did not come back.
fn loss(reach: &Reach) -> f64 {
    let count = |packets: usize| f64::from(u32::try_from(packets).unwrap_or(u32::MAX));
    100.0 * count(reach.lost) / count(reach.sent.max(1))
}

fn sealing_text(costs: &[Sealing]) -> String {
    let mut text = format!("{:24}{:>12}{:>20}{:>20}\n", "seal and open a frame", "AES-256-GCM", "SFrame", "hop");
    for cost in costs {
        let beside = |ns: f64| format!("{ns:.0} ns, {:.2} x", ns / cost.alone);
        let (alone, bytes) = (format!("{:.0} ns", cost.alone), format!("{} bytes", cost.bytes));
        let (sframe, hop) = (beside(cost.sframe), beside(cost.hop));
        // Nothing can go wrong in writing to a string.
        let _ = writeln!(text, "{bytes:24}{alone:>12}{sframe:>20}{hop:>20}");
    }
    text
}

fn reach_text(address: &str, reach: &Reach) -> String {
    let mut text = format!("{address:24}{:>12}{:>12}\n", "p50", "p95");
    let packets = format!("{} packets, {:.1} % lost", reach.sent, loss(reach));
    let often = |times: &Times| format!("{} times", times.count());
    for (what, times, note) in [
        ("signal and answer", &reach.signalling, often(&reach.signalling)),
        ("join to first packet", &reach.joining, often(&reach.joining)),
        ("packet, there and back", &reach.media, packets),
    ] {
        let [p50, p95] = [50, 95].map(|percent| format!("{:.2} ms", times.ms(percent)));
        let _ = writeln!(text, "{what:24}{p50:>12}{p95:>12}  {note}");
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured() -> (Vec<Sealing>, Reach) {
        let costs = [120, 1_200].map(|bytes| Sealing { bytes, alone: 400.0, sframe: 460.04, hop: 440.0 });
        let times = |count: u64| Times::new((1..=count).map(Duration::from_millis).collect());
        let (signalling, joining, media) = (times(30), times(5), times(249));
        (costs.to_vec(), Reach { signalling, joining, media, sent: 250, lost: 1 })
    }

    #[test]
    fn what_was_measured_fits_a_terminal() {
        let (costs, reach) = measured();
        let text = format!("{}\n{}", sealing_text(&costs), reach_text("calls.example.org:4433", &reach));
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        assert!(text.contains("460 ns, 1.15 x") && text.contains("15.00 ms"), "{text}");
        assert!(text.ends_with("250 packets, 0.4 % lost"), "{text}");
    }

    #[test]
    fn programs_find_every_figure() {
        let (costs, reach) = measured();
        let alone = object(&costs, None);
        assert_eq!((&alone["server"], &alone["sealing"][0]["sframe_ns"]), (&Value::Null, &json!(460.0)));
        let all = object(&costs, Some(("x:1", &reach)));
        assert_eq!(all["server"]["join"], json!({ "count": 5, "p50_ms": 3.0, "p95_ms": 5.0 }));
        assert_eq!((&all["server"]["lost"], &all["server"]["loss_percent"]), (&json!(1), &json!(0.4)));
        // A path on which nothing came back has no times.
        let nothing = Reach { media: Times::default(), ..reach };
        assert_eq!(object(&costs, Some(("x:1", &nothing)))["server"]["media"]["p50_ms"], Value::Null);
    }
}
