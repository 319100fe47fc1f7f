//! A server that goes away under a room of three, killed or stopped in order, and comes back on its data and its port.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use undertone_client::native::{Client, Invitee, KeyChoice, Online, Registration, Sound};
use undertone_client::secret::SecretBytes;
use undertone_client::{Event, Protection, Rights, RoomEvent, Terms};
use undertone_testkit::ServerProcess;
use undertone_testkit::tones::{Hum, Listener};

const PATIENCE: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["ada", "bob", "carol"];

struct Guest {
    online: Online,
    ear: Listener,
}

async fn register(server: &ServerProcess, name: &str) -> anyhow::Result<Client> {
    let client = Client::open(&server.join(name))?;
    let (address, passphrase) = (server.address(), SecretBytes::new(b"a long passphrase".to_vec()));
    let registration = Registration {
        server: &address,
        name,
        passphrase: &passphrase,
        label: "test",
        invite: None,
        anew: None,
        key: KeyChoice::P256,
    };
    client.register(registration).await?;
    Ok(client)
}

/// Waits for such an event; that the room is over ends the wait.
async fn wait_for(guest: &mut Guest, mut wanted: impl FnMut(&Event) -> bool) {
    let search = async {
        loop {
            let event = guest.online.next_event().await.unwrap();
            assert!(!matches!(event, Event::Over { .. } | Event::Refused { .. }), "{event:?}");
            if wanted(&event) {
                return;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("the event did not come");
}

/// Everybody hears the others' tones and not their own; what is remembered is two seconds long.
async fn all_hear(guests: &[Guest], when: &str) {
    sleep(Duration::from_secs(4)).await;
    for (listener, guest) in guests.iter().enumerate() {
        for voice in 0..guests.len() {
            let heard = guest.ear.heard(voice);
            let expected = voice != listener;
            let right = if expected { heard > 0.5 } else { heard < 0.15 };
            assert!(right, "{when}: {listener} hears {voice} at {heard:.2}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_room_of_three_resumes() -> anyhow::Result<()> {
    let mut server = ServerProcess::start("killed-room")?;
    let mut clients = Vec::new();
    for name in NAMES {
        clients.push(register(&server, name).await?);
    }
    let rights = Rights { speak: true, moderate: false };
    let invited: Vec<Invitee> = NAMES[1..].iter().map(|name| Invitee { name: (*name).into(), rights }).collect();
    for protection in [Protection::Blind, Protection::Hop] {
        let room = protection.as_str();
        clients[0].rooms().await?.create(room, Terms::room(protection), &invited).await?;
        let mut guests = Vec::new();
        for (voice, client) in clients.iter().enumerate() {
            let (online, ear) = (client.connect().await?, Listener::default());
            online.join_room(room, Sound::new(Hum::new(voice), ear.clone())).await?;
            guests.push(Guest { online, ear });
        }
        for guest in &mut guests {
            let mut others = 0;
            wait_for(guest, |event| {
                others += usize::from(matches!(event, Event::Room { event: RoomEvent::In { .. }, .. }));
                others + 1 == NAMES.len()
            })
            .await;
        }
        all_hear(&guests, "at first").await;
        // Killed, and stopped in order; gone for a moment, and for as long as a person needs to look up the command.
        for (killed, away) in [(true, 0), (true, 3), (false, 2)] {
            if killed {
                server.kill()?
            } else {
                server.end()?
            }
            sleep(Duration::from_secs(away)).await;
            server.start_again()?;
            for guest in &mut guests {
                wait_for(guest, |event| matches!(event, Event::Interrupted { .. })).await;
                wait_for(guest, |event| matches!(event, Event::Connected { again: true, .. })).await;
            }
            all_hear(&guests, &format!("{room}, killed: {killed}, away {away} s")).await;
        }
        for guest in guests {
            guest.online.stop().await;
        }
    }
    Ok(())
}
