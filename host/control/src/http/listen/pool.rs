//! A limit on the number of connections. If it is reached, a new connection replaces the oldest idle connection, so
//! idle connections cannot keep new clients out.

use super::Connection;
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

    /// A place for a new connection; `None` if all places are taken and no connection is idle.
    pub(super) fn admit(self: &Arc<Self>, connection: Arc<Connection>) -> Option<Place> {
        let mut taken = self.taken.lock();
        if taken.by_number.len() >= self.most {
            let idle = taken.by_number.iter().find(|(_, (connection, _))| connection.is_idle());
            let number = *idle?.0;
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
        assert!(admit().is_some());
        first.needed().await;
        drop(also_busy);
    }
}
