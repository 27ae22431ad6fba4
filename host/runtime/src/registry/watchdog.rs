//! Finds calls in this process that do not return. The host cannot abort such calls, but it reports them.
//!
//! A call records no start time, because reading a clock costs more than the call. So the watchdog reads the marks and
//! the call counts in all thread slots at intervals: if a thread still has the same mark, and no call of the thread
//! into that generation has ended since the last check, the thread is still in the same call.

use super::{
    mark::{Doing, MarkContents},
    record::Live,
    thread_slot::{self, Sighting, Tid},
};
use parking_lot::Mutex;
use replug_model::event::{EventKind, WeakEventSink};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How many times the thread slots are checked within the shortest `call_timeout` of the watched generations.
const CHECKS: u32 = 4;
/// The shortest time between two checks, however short the `call_timeout` is.
const SHORTEST: Duration = Duration::from_millis(1);

/// Watches the generations in this process whose calls have a time limit. Without such generations, it does nothing.
#[derive(Default)]
pub struct Watchdog {
    watched: Mutex<Vec<Watched>>,
    woken: Notify,
}

struct Watched {
    live: Weak<Live>,
    call_timeout: Duration,
}

/// A call that an earlier check has found.
struct Seen {
    sighting: Sighting,
    since: Instant,
    reported: bool,
}

impl Watchdog {
    /// Watches the calls of a generation until the generation is dropped.
    pub fn watch(&self, live: &Arc<Live>, call_timeout: Duration) {
        self.watched.lock().push(Watched { live: Arc::downgrade(live), call_timeout });
        self.woken.notify_one();
    }

    /// Watches until this future is dropped. Emits an event for each call that takes too long.
    pub async fn run(self: Arc<Self>, events: WeakEventSink) {
        let mut seen = BTreeMap::new();
        loop {
            match self.period() {
                Some(period) => tokio::select! {
                    () = tokio::time::sleep(period) => self.look(&mut seen, &events),
                    () = self.woken.notified() => {}
                },
                None => self.woken.notified().await,
            }
        }
    }

    fn period(&self) -> Option<Duration> {
        let mut watched = self.watched.lock();
        watched.retain(|it| it.live.strong_count() > 0);
        watched.iter().map(|it| (it.call_timeout / CHECKS).max(SHORTEST)).min()
    }

    fn look(&self, seen: &mut BTreeMap<(usize, usize), Seen>, events: &WeakEventSink) {
        let now = Instant::now();
        let mut before = std::mem::take(seen);
        for sighting in thread_slot::sightings() {
            let known = before.remove(&sighting.place).filter(|known| known.sighting == sighting);
            let mut call = known.unwrap_or(Seen { sighting, since: now, reported: false });
            if !call.reported {
                call.reported = self.judge(&call, now, events);
            }
            seen.insert(call.sighting.place, call);
        }
    }

    /// Reports the call if it has taken too long. Returns whether it has.
    fn judge(&self, call: &Seen, now: Instant, events: &WeakEventSink) -> bool {
        let Some(MarkContents { column, doing: Doing::Call { interface, method } }) =
            call.sighting.mark.read()
        else {
            return false;
        };
        let found = self.watched.lock().iter().find_map(|watched| {
            let live = watched.live.upgrade()?;
            (live.lease.column().number() == usize::from(column)).then_some((live, watched.call_timeout))
        });
        let Some((live, call_timeout)) = found else { return false };
        let duration = now.duration_since(call.since);
        if duration < call_timeout {
            return false;
        }
        let described = live.interfaces().nth(interface.into());
        let method = described.and_then(|it| it.methods.get(method as usize));
        let method = method.map_or_else(|| "unknown".to_owned(), |method| method.name.clone());
        if let Some(events) = events.upgrade() {
            let tid = call.sighting.tid;
            let for_ms = duration.as_millis().try_into().unwrap_or(u64::MAX);
            let kind = EventKind::PluginStuck { method, thread: name_of(tid), thread_id: tid, for_ms };
            events.generation((&live.plugin, live.generation, live.digest), kind);
        }
        true
    }
}

/// The name of a thread as the kernel stores it: the first 15 bytes.
fn name_of(tid: Tid) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}
