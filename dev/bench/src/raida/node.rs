//! The node that is measured, and what hands everything back: processes of their own, each on a CPU of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_raida::frame::ReplyStream;
use undertone_raida::header::NodeName;
use undertone_raida::node::coins::Coins;
use undertone_raida::node::serve::{ListenOptions, Serving};
use undertone_raida::node::{AddressLimit, KeyOptions, Keys, Node, NodeOptions, OwnCoins, Profile};

use super::{COIN_ID, KEYS_CACHED, RAIDA, options};

/// How the node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Behaves {
    Strict,
    Compat,
}

/// Serves a folder for ever; its first line says where. One thread reads datagrams, and two wait for the disk.
pub(crate) fn serve(folder: &Path, behaves: Behaves, write_back: u64) -> anyhow::Result<()> {
    let (coins, _) = Coins::open(&folder.join("Data"), options(), &mut UnwrapErr(SysRng), |_| ())?;
    let cached = NonZeroUsize::MIN.saturating_add(KEYS_CACHED - 1);
    let keys = KeyOptions { shared: false, per_owner: 100_000, total: 100_000, life: None, one_shot: false, cached };
    let keys = Keys::open(&folder.join("Keys"), keys)?;
    let own = OwnCoins::new(&folder.join("coins"), COIN_ID);
    let profile = match behaves {
        Behaves::Strict => Profile::Strict,
        Behaves::Compat => Profile::Compat(ReplyStream::Continue),
    };
    // Every request comes from one address here.
    let addresses = AddressLimit { per_second: 0, burst: 0 };
    let node = NodeOptions { profile, addresses, ..NodeOptions::new(NodeName { raida: RAIDA, coin_id: COIN_ID }) };
    let listen = ListenOptions {
        readers: 1,
        workers: 2,
        connections: 256,
        of_one_address: 256,
        write_back: Duration::from_secs(write_back),
        ..ListenOptions::default()
    };
    let serving = Serving::start(Node::new(node, coins, keys, own, 0), SocketAddr::from(([127, 0, 0, 1], 0)), listen)?;
    say(serving.address())
}

/// Hands every datagram back, and what a connection says, a thread for each.
pub(crate) fn bare() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let socket = UdpSocket::bind(listener.local_addr()?)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _answered = stream.read_to_end(&mut bytes).and_then(|_| stream.write_all(&bytes));
            });
        }
    });
    std::thread::spawn(move || {
        let mut bytes = [0; 2_048];
        loop {
            if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let _sent = socket.send_to(bytes.get(..length).unwrap_or_default(), from);
            }
        }
    });
    say(address)
}

fn say(address: SocketAddr) -> anyhow::Result<()> {
    println!("{address}");
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
