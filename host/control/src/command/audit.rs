//! The audit: an event for each request that may change the host, with the client and the outcome of the request.
//!
//! Clients may call methods tens of thousands of times a second, and an event for each call would displace all other
//! events in every reader's backlog. So calls with the same client, plugin, method and outcome form a *kind*. The first
//! call of a kind is reported immediately. Later calls of the kind are counted, and the count is reported once a
//! second.

use super::{Kind, Who};
use parking_lot::Mutex;
use replug_engine::{EventKind, PluginId, WeakHost};
use std::{borrow::Cow, time::Duration};

/// The interval at which the counts are reported.
const EVERY: Duration = Duration::from_secs(1);
/// The maximum number of kinds that are counted separately between two reports. The limit bounds the memory if a client
/// calls many methods that do not exist.
const KINDS: usize = 256;
/// The maximum number of characters of a method's name in a report.
const NAME: usize = 64;

/// The calls of one kind.
struct Counted {
    who: Who,
    /// `None` if these are calls of several kinds, which are counted together because there are too many kinds.
    plugin: Option<PluginId>,
    method: String,
    outcome: Cow<'static, str>,
    /// The number of calls that are not reported yet.
    count: u64,
}

/// The outcome of a call whose caller closed the connection before the answer. The call itself still runs.
const HUNG_UP: &str = "the caller closed the connection before the call had ended";

/// Emits the audit events.
pub(crate) struct Audit {
    host: WeakHost,
    /// The counted kinds. The list is short, so searching it costs less than building a key for a map.
    calls: Mutex<Vec<Counted>>,
}

impl Audit {
    pub(crate) fn new(host: WeakHost) -> Self {
        Self { host, calls: Mutex::default() }
    }

    /// Reports one command.
    pub(crate) fn report(&self, who: &Who, plugin: Option<&PluginId>, (command, outcome): (&str, &str)) {
        self.write(
            plugin,
            EventKind::Audit {
                who: who.to_string(),
                command: command.into(),
                outcome: outcome.into(),
                count: None,
            },
        );
    }

    /// Counts a call. Reports it immediately if no call of its kind was counted recently.
    fn count(&self, who: &Who, plugin: &PluginId, (method, outcome): (&str, &Cow<'static, str>)) {
        let who = who.whatever_port();
        let method = method.char_indices().nth(NAME).map_or(method, |(end, _)| &method[..end]);
        let mut calls = self.calls.lock();
        let known = calls.iter_mut().find(|it| {
            it.who == who
                && it.plugin.as_ref() == Some(plugin)
                && it.method == method
                && it.outcome == *outcome
        });
        if let Some(known) = known {
            known.count += 1;
            return;
        }
        let (plugin, method, outcome) = match calls.len() < KINDS {
            true => (Some(plugin.clone()), method.to_owned(), outcome.clone()),
            false => (None, String::new(), "various".into()),
        };
        if let Some(known) =
            calls.iter_mut().find(|it| it.who == who && it.plugin.is_none() && plugin.is_none())
        {
            known.count += 1;
            return;
        }
        let counted = Counted { who, plugin, method, outcome, count: 1 };
        self.sum(&counted);
        calls.push(Counted { count: 0, ..counted });
    }

    /// Returns a guard that counts the call when it is dropped: after the answer, or when the client has disconnected.
    pub(crate) fn counted<'a>(&'a self, who: &'a Who, plugin: &'a PluginId, method: &'a str) -> Call<'a> {
        Call { audit: self, of: (who, plugin, method), outcome: HUNG_UP.into() }
    }

    /// Runs [`Self::sum_up`] once a second, forever.
    pub(crate) async fn write_batches(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.sum_up();
        }
    }

    /// Reports the calls that were counted since the last report.
    pub(crate) fn sum_up(&self) {
        // The lock is held until all counts are reported. The control plane also calls this function when it closes,
        // and then has to wait for a report that is in progress.
        let mut calls = self.calls.lock();
        // If a kind had no calls since the last report, its next call is reported immediately.
        calls.retain(|kind| kind.count > 0);
        for kind in &mut *calls {
            self.sum(kind);
            kind.count = 0;
        }
    }

    fn sum(&self, Counted { who, plugin, method, outcome, count }: &Counted) {
        // The port is left out, because a client over TCP may use a different port for each call.
        let who = match who {
            Who::Remote(address) => address.ip().to_string(),
            other => other.to_string(),
        };
        let name = Kind::Execute.declaration().name;
        let command = if plugin.is_some() { format!("{name} {method}") } else { name.into() };
        let outcome = outcome.clone().into_owned();
        self.write(plugin.as_ref(), EventKind::Audit { who, command, outcome, count: Some(*count) });
    }

    fn write(&self, plugin: Option<&PluginId>, kind: EventKind) {
        let Some(host) = self.host.upgrade() else { return };
        match plugin {
            Some(plugin) => host.event_sink().plugin(plugin, kind),
            None => host.event_sink().host(kind),
        }
    }
}

/// A guard that counts a call when it is dropped.
pub(crate) struct Call<'a> {
    audit: &'a Audit,
    of: (&'a Who, &'a PluginId, &'a str),
    /// The outcome of the call, for the report.
    pub(crate) outcome: Cow<'static, str>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let (who, plugin, method) = self.of;
        self.audit.count(who, plugin, (method, &self.outcome));
    }
}
