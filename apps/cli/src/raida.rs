//! `raida`: enrolment in a swarm, its coins, and how exchanges with it are shown.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};
use undertone_client::engine::{QuorumPart, QuorumStep};
use undertone_client::native::{Client, ClientError, HomeError, Looked, SwarmView};
use undertone_client::swarm::{NodeReport, Said};
use zeroize::Zeroizing;

use crate::Done;
use crate::arguments::{Call, ProtectionOption, Raida};
use crate::conversation::{next_signal, signal_stream};
use crate::output::Output;

pub(crate) async fn run(client: &Client, command: &Raida, output: &Output) -> Result<Done, ClientError> {
    match command {
        Raida::Enrol { swarm, keys } => {
            let swarm = read(swarm)?;
            let keys = keys.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
            let keys: Vec<&str> = keys.iter().map(|text| text.as_str()).collect();
            let (view, seen) = client.enrol(&swarm, &keys).await?;
            enrolled(&view, &seen, *output);
            Ok(Done::Well)
        }
        Raida::Check => {
            let coins = client.coins()?;
            let seen = coins.look().await?;
            looked(&coins.view().await, &seen, *output);
            Ok(if seen.iter().all(|at| at.said.is_good()) { Done::Well } else { Done::Badly })
        }
        Raida::Heal => heal(client, *output).await,
        Raida::Send { to, key } => send(client, to, key, *output).await,
        Raida::Listen { out } => listen(client, out.as_deref(), *output).await,
        Raida::Exchange(exchange) => {
            let call = Call {
                peer: exchange.with.clone(),
                protection: ProtectionOption::Blind,
                legacy: exchange.legacy,
                quorum: true,
                drill_wrong_quorum: false,
                sound: exchange.sound.clone(),
            };
            crate::call::exchange(client, &call, output).await
        }
    }
}

/// A file of keys is not left in memory longer than it takes.
fn read(path: &Path) -> Result<Zeroizing<String>, ClientError> {
    let text = std::fs::read_to_string(path);
    text.map(Zeroizing::new).map_err(|source| HomeError::Io { path: path.to_owned(), source }.into())
}

fn view_object(view: &SwarmView) -> Value {
    json!({ "id": view.id, "nodes": view.nodes, "threshold": view.threshold, "coins": view.coins })
}

fn enrolled(view: &SwarmView, seen: &[Looked], output: Output) {
    let wrong = seen.iter().filter(|at| !at.said.is_good()).count();
    let object = json!({ "event": "enrolled", "swarm": view_object(view), "not_right": wrong });
    let rest = match wrong {
        0 => "Every node knows its keys.".to_owned(),
        _ => format!("{wrong} keys are not known or could not be asked about: `undertone raida check` shows which."),
    };
    let text = format!(
        "Enrolled in the swarm {}: {} nodes, any {} of which make a secret. Coins: {}. {rest}\n\
         The files of keys are not needed any more: remove them.",
        view.id,
        view.nodes,
        view.threshold,
        view.coins.join(", ")
    );
    output.result(&object, &text);
}

fn looked(view: &SwarmView, seen: &[Looked], output: Output) {
    let lines: Vec<_> = seen
        .iter()
        .map(|at| json!({ "coin": at.coin.to_string(), "raida": at.raida, "said": at.said.word(), "text": at.said.to_string() }))
        .collect();
    let object = json!({ "swarm": view_object(view), "keys": lines });
    let mut text = format!("swarm {}: {} nodes, any {} make a secret\n", view.id, view.nodes, view.threshold);
    for coin in &view.coins {
        let of: Vec<_> = seen.iter().filter(|at| at.coin.to_string() == *coin).collect();
        let good = of.iter().filter(|at| at.said.is_good()).count();
        text.push_str(&format!("coin {coin}: right on {good} of {} nodes\n", of.len()));
        for at in of.iter().filter(|at| !at.said.is_good()) {
            text.push_str(&format!("  node {:>2}  {}\n", at.raida, at.said));
        }
    }
    output.result(&object, text.trim_end());
}

async fn heal(client: &Client, output: Output) -> Result<Done, ClientError> {
    let coins = client.coins()?;
    let mut seen = coins.look().await?;
    // A node that is down has no wrong key, as far as anybody knows.
    let wrong = |said: Said| matches!(said, Said::Refused(_) | Said::Unknown(_) | Said::Lied(_));
    let broken: Vec<_> = seen.iter().copied().filter(|at| wrong(at.said)).collect();
    let mut failed = 0;
    for at in &broken {
        let (coin, raida) = (at.coin.to_string(), at.raida);
        match coins.heal(*at, &seen).await {
            Ok(healed) => {
                let [first, second] = healed.helpers;
                output.event(
                    &json!({ "event": "healed", "coin": coin, "raida": raida, "helpers": [first, second] }),
                    &format!("node {raida}: coin {coin} has a new key, by tickets of nodes {first} and {second}"),
                );
                // What was healed can help to heal the next.
                seen = coins.look().await?;
            }
            Err(error) => {
                failed += 1;
                output.event(
                    &json!({ "event": "not_healed", "coin": coin, "raida": raida, "reason": error.to_string() }),
                    &format!("node {raida}: coin {coin}: {error}"),
                );
            }
        }
    }
    let healed = broken.len() - failed;
    let text = match (healed, failed) {
        (0, 0) => "There is nothing to heal: where nodes could be asked, they know the keys.".to_owned(),
        (healed, 0) => format!("{healed} keys are new."),
        (healed, failed) => format!("{healed} keys are new, {failed} could not be healed."),
    };
    output.result(&json!({ "healed": healed, "failed": failed }), &text);
    Ok(if failed == 0 { Done::Well } else { Done::Badly })
}

async fn send(client: &Client, to: &str, key: &Path, output: Output) -> Result<Done, ClientError> {
    let coins = client.coins()?;
    let io = |source| HomeError::Io { path: key.to_owned(), source };
    let bytes = Zeroizing::new(std::fs::read(key).map_err(io)?);
    let (report, told) = coins.send(to, &bytes).await?;
    let nodes: Vec<_> = report.nodes.iter().map(node_object).collect();
    let sent = report.is_enough();
    let object = json!({ "event": "sent", "sent": sent, "told": told, "good": report.good(), "nodes": nodes });
    let text = match (sent, told) {
        (true, true) => format!("{} parts are posted, and whoever listens for {to} is told.", report.good()),
        (true, false) => format!("{} parts are posted, and no node takes an alert: {to} is not told.", report.good()),
        (false, _) => {
            format!("{} of {} nodes take a part, and all of them have to.", report.good(), report.nodes.len())
        }
    };
    output.result(&object, &with_nodes(text, &report.nodes));
    Ok(if sent && told { Done::Well } else { Done::Badly })
}

async fn listen(client: &Client, out: Option<&Path>, output: Output) -> Result<Done, ClientError> {
    let coins = client.coins()?;
    let mut listener = coins.listen().await?;
    let coin = listener.coin();
    output.event(
        &json!({ "event": "listening", "coin": coin }),
        &format!("Listening for keys for {coin}. Ctrl-C ends it."),
    );
    let (mut interrupt, mut terminate) = (signal_stream(true), signal_stream(false));
    loop {
        let received = tokio::select! {
            received = listener.next() => received?,
            () = next_signal(&mut interrupt, &mut terminate) => return Ok(Done::Well),
        };
        let (sender, good) = (received.sender, received.report.good());
        let bytes = received.key.as_ref().map(|key| key.len());
        let object = json!({ "event": "received", "from": sender, "bytes": bytes, "parts": good });
        let text = match bytes {
            Some(bytes) => format!("A key of {bytes} bytes from {sender}."),
            None => format!("{sender} has sent a key, and only {good} of its parts could be fetched."),
        };
        output.event(&object, &with_nodes(text, &received.report.nodes));
        if let (Some(path), Some(key)) = (out, received.key) {
            let io = |source| HomeError::Io { path: path.to_owned(), source };
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.map_err(io)?.write_all(&key).map_err(io)?;
            return Ok(Done::Well);
        }
    }
}

/// A text, and a line for each node that did not do what it should.
fn with_nodes(mut text: String, nodes: &[NodeReport]) -> String {
    for node in nodes.iter().filter(|node| !node.said.is_good()) {
        text.push_str(&format!("\n  node {:>2}  {}", node.raida, node.said));
    }
    text
}

fn node_object(node: &NodeReport) -> Value {
    let ms = match node.said {
        Said::Good(after) => Some((after.as_secs_f64() * 10_000.0).round() / 10.0),
        _ => None,
    };
    json!({ "raida": node.raida, "said": node.said.word(), "ms": ms, "text": node.said.to_string() })
}

/// What nodes did with the shares of a secret: those that did not do what they should, or every one.
pub(crate) fn step(step: &QuorumStep, every: bool, output: Output) {
    let report = &step.report;
    let (good, all) = (report.good(), report.nodes.len());
    let nodes: Vec<_> = report.nodes.iter().map(node_object).collect();
    let object = json!({
        "event": "quorum", "step": step.part.as_str(), "good": good, "need": report.need,
        "nodes": nodes, "fault": step.fault,
    });
    let mut text = match (&step.fault, step.part) {
        (Some(fault), _) => format!("No quorum secret: {fault}."),
        (None, QuorumPart::Shared) => format!(
            "Split the room's secret for somebody who comes: {good} of {all} nodes say that they keep a share, and any {} make it.",
            report.need
        ),
        (None, QuorumPart::Drawn) => {
            format!(
                "Split a new secret: {good} of {all} nodes say that they keep a share, and any {} make it.",
                report.need
            )
        }
        (None, QuorumPart::Fetched) => {
            format!("Fetched shares of {good} of {all} nodes: {} make the secret, and they do.", report.need)
        }
    };
    let times = report.nodes.iter().filter_map(|node| match node.said {
        Said::Good(after) => Some(after.as_millis()),
        _ => None,
    });
    let times: Vec<_> = times.collect();
    if let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) {
        text.push_str(&format!(" They answered within {least} to {most} ms."));
    }
    for node in report.nodes.iter().filter(|node| every || !node.said.is_good()) {
        text.push_str(&format!("\n  node {:>2}  {}", node.raida, node.said));
    }
    output.event(&object, &text);
}
