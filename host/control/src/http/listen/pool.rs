//! A limit on the number of connections. If it is reached, a new connection replaces the oldest idle connection, so
//! idle connections cannot keep new clients out. If no connection is idle, it replaces a connection whose client reads an
//! answer too slowly. Otherwise clients without a token could keep others out: the files of the page need no token.

use super::{Connection, Phase};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Notify;

/// The places for connections of one listener.
pub(super) struct Pool {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    by_number: BTreeMap<u64, (Arc<Connection>, Arc<Notify>)>,
}

/// The place of a connection. Dropping it frees the place.
pub(super) struct Place {
    pub(super) connection: Arc<Connection>,
    number: u64,
    needed: Arc<Notify>,
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A place for a new connection; `None` if all places are taken and the host produces an answer for each of them.
    pub(super) fn admit(self: &Arc<Self>, connection: Arc<Connection>) -> Option<Place> {
        let mut taken = self.taken.lock();
        if taken.by_number.len() >= self.most {
            let number = taken.replaceable()?;
            if let Some((_, needed)) = taken.by_number.remove(&number) {
                needed.notify_one();
            }
        }
        let number = taken.next;
        taken.next += 1;
        let needed = Arc::new(Notify::new());
        taken.by_number.insert(number, (connection.clone(), needed.clone()));
        Some(Place { connection, number, needed, pool: self.clone() })
    }
}

impl Taken {
    /// The connection that a new connection replaces: the oldest idle connection or else, of those whose client still has
    /// to read an answer, the one whose client has not read for the longest time.
    fn replaceable(&self) -> Option<u64> {
        let in_phase = |phase| self.by_number.iter().filter(move |(_, (it, _))| it.phase() == phase);
        let idle = in_phase(Phase::Idle).next();
        let found = idle.or_else(|| in_phase(Phase::Sending).max_by_key(|(_, (it, _))| it.quiet_for()));
        found.map(|(number, _)| *number)
    }
}

impl Place {
    /// Waits until another connection needs this place.
    pub(super) async fn needed(&self) {
        self.needed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.taken.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Busy, *};
    use crate::http::command::Who;
    use std::time::Duration;

    #[tokio::test]
    async fn a_new_connection_replaces_an_idle_connection_but_no_busy_one() {
        let pool = Pool::new(2);
        let admit = || pool.admit(Connection::new(Who::Program, None));
        let (first, second) = (admit().unwrap(), admit().unwrap());
        let busy = Busy::new(&first.connection);
        let third = admit().unwrap();
        second.needed().await;
        drop(second);
        let also_busy = Busy::new(&third.connection);
        assert!(admit().is_none(), "all connections are busy");
        drop(busy);
        first.connection.has_sent_all();
        assert!(admit().is_some());
        first.needed().await;
        drop(also_busy);
    }

    #[tokio::test]
    async fn an_unread_answer_keeps_its_place_until_no_connection_is_idle() {
        let pool = Pool::new(3);
        let admit = || pool.admit(Connection::new(Who::Program, None)).unwrap();
        let (first, second, third) = (admit(), admit(), admit());
        for unread in [&first, &second] {
            drop(Busy::new(&unread.connection));
        }
        let fourth = admit();
        third.needed().await;
        drop(third);
        let _busy = Busy::new(&fourth.connection);
        second.connection.skip(Duration::from_secs(600));
        let _fifth = admit();
        second.needed().await;
        drop((first, second));
    }
}
