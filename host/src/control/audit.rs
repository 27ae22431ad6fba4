//! Who had the host change what, and what came of it: an event for each.
//!
//! Calls of methods may come by the ten thousand in a second, and would push all other events out of every reader's
//! backlog. So the first of a kind is told at once, and those that follow are counted and told once a second.

use super::guard::Who;
use crate::{EventKind, PluginId, host::WeakHost};
use parking_lot::Mutex;
use std::{collections::BTreeMap, time::Duration};

/// How often calls are summed up.
const EVERY: Duration = Duration::from_secs(1);
/// How many kinds of calls are told apart between two sums: whoever asks for ever new methods does not fill the memory.
const KINDS: usize = 256;

/// Who, of which plugin, what, and what came of it.
type Kind = (String, Option<PluginId>, String, String);

/// Writes the audit.
pub(super) struct Audit {
    host: WeakHost,
    /// The calls since the last sum, beside the first.
    calls: Mutex<BTreeMap<Kind, u64>>,
}

impl Audit {
    pub(super) fn new(host: WeakHost) -> Self {
        Self { host, calls: Mutex::default() }
    }

    /// Tells of one command.
    pub(super) fn tell(&self, who: &Who, plugin: Option<&PluginId>, (command, outcome): (&str, &str)) {
        self.write((who.to_string(), plugin.cloned(), command.into(), outcome.into()), None);
    }

    /// Counts a call; tells of it if it is the first of its kind in a while.
    pub(super) fn count(&self, who: &Who, plugin: &PluginId, (method, outcome): (&str, &str)) {
        // A caller over TCP may use another port for each call.
        let who = match who {
            Who::Remote(address) => address.ip().to_string(),
            other => other.to_string(),
        };
        let method: String = method.chars().take(64).collect();
        let mut kind = (who, Some(plugin.clone()), format!("execute {method}"), outcome.to_owned());
        let mut calls = self.calls.lock();
        if calls.len() >= KINDS && !calls.contains_key(&kind) {
            kind = (kind.0, None, "execute".into(), "various".into());
        }
        if let Some(count) = calls.get_mut(&kind) {
            *count += 1;
            return;
        }
        calls.insert(kind.clone(), 0);
        drop(calls);
        self.write(kind, Some(1));
    }

    /// Tells of the calls that were only counted, once a second.
    pub(super) async fn sum_up(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let counted: Vec<_> = {
                let mut calls = self.calls.lock();
                // What has paused for so long is told at once when it comes again.
                calls.retain(|_, count| *count > 0);
                calls.iter_mut().map(|(kind, count)| (kind.clone(), std::mem::take(count))).collect()
            };
            for (kind, count) in counted {
                self.write(kind, Some(count));
            }
        }
    }

    fn write(&self, (who, plugin, command, outcome): Kind, count: Option<u64>) {
        let Some(host) = self.host.upgrade() else { return };
        let kind = EventKind::Audit { who, command, outcome, count };
        match plugin {
            Some(plugin) => host.event_sink().plugin(&plugin, kind),
            None => host.event_sink().host(kind),
        }
    }
}
