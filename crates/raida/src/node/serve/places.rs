//! Places of connections: how many there are, and who gives way when they are all taken.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All places of a node.
#[derive(Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    open: usize,
    /// Of each address, or network of IPv6.
    by: HashMap<IpAddr, usize>,
    /// Those whose request is not there yet, and those that have their answer and do not go, by the order in which they came.
    idle: BTreeMap<u64, Arc<TcpStream>>,
    came: u64,
}

/// A connection's place, given back when it goes, however that is.
pub(super) struct Place {
    places: Arc<Places>,
    stream: Arc<TcpStream>,
    of: IpAddr,
    number: u64,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.taken().open
    }

    /// A place for one more: one of `most`, and of `of_one_address`. Where all are taken, whoever has come first and is idle gives way: a
    /// request takes a moment to arrive. `None` where nobody does, or where twice as many have not ended yet.
    pub(super) fn take(
        self: &Arc<Self>,
        stream: TcpStream,
        of: IpAddr,
        (most, of_one_address): (usize, usize),
    ) -> Option<Place> {
        let stream = Arc::new(stream);
        let mut taken = self.taken();
        if taken.by.get(&of).is_some_and(|count| *count >= of_one_address) {
            return None;
        }
        if taken.open >= most.saturating_mul(2) {
            return None;
        }
        if taken.open >= most {
            let (_, oldest) = taken.idle.pop_first()?;
            // Its thread finds the end, and gives the place back.
            let _gone = oldest.shutdown(Shutdown::Both);
        }
        taken.open += 1;
        *taken.by.entry(of).or_default() += 1;
        taken.came += 1;
        let number = taken.came;
        taken.idle.insert(number, Arc::clone(&stream));
        Some(Place { places: Arc::clone(self), stream, of, number })
    }
}

impl Place {
    /// The connection.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Its request is there: it is answered, whoever comes. `false` where it has given way before.
    pub(super) fn has_asked(&self) -> bool {
        self.places.taken().idle.remove(&self.number).is_some()
    }

    /// It has its answer, and is to go.
    pub(super) fn is_answered(&self) {
        self.places.taken().idle.insert(self.number, Arc::clone(&self.stream));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.idle.remove(&self.number);
        taken.open = taken.open.saturating_sub(1);
        if let Some(count) = taken.by.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by.remove(&self.of);
            }
        }
    }
}
