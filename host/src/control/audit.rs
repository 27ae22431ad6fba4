//! Who had the host change what, and what came of it: an event for each.
//!
//! Calls of methods may come by the ten thousand in a second, and would push all other events out of every reader's
//! backlog. So the first of a kind is told at once, and those that follow are counted and told once a second.

use super::guard::Who;
use crate::{EventKind, PluginId, host::WeakHost};
use parking_lot::Mutex;
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// How often calls are summed up.
const EVERY: Duration = Duration::from_secs(1);
/// How many kinds of calls are told apart between two sums: whoever asks for ever new methods does not fill the memory.
const KINDS: usize = 256;

/// Who, of which plugin, what, and what came of it.
type Kind = (String, Option<PluginId>, String, String);

/// What came of a call whose caller hung up before there was an answer. Nothing ends the call itself.
const HUNG_UP: &str = "the caller hung up before the call had ended";

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
    fn count(&self, who: &Who, plugin: &PluginId, (method, outcome): (&str, &str)) {
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

    /// Counts a call when what is returned is dropped, be that because there is an answer or because nobody waits for one.
    pub(super) fn counted<'a>(&'a self, who: &'a Who, plugin: &'a PluginId, method: &'a str) -> Counted<'a> {
        Counted { audit: self, of: (who, plugin, method), outcome: HUNG_UP.into() }
    }

    /// Tells of the calls that were only counted, once a second.
    pub(super) async fn keep_up(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.sum_up();
        }
    }

    /// Tells of the calls that were only counted.
    pub(super) fn sum_up(&self) {
        // Held to the end, so that all is told when a second one, at the end of the host, returns.
        let mut calls = self.calls.lock();
        // What has paused for so long is told at once when it comes again.
        calls.retain(|_, count| *count > 0);
        for (kind, count) in calls.iter_mut() {
            self.write(kind.clone(), Some(std::mem::take(count)));
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

/// A call that is counted when this is dropped.
pub(super) struct Counted<'a> {
    audit: &'a Audit,
    of: (&'a Who, &'a PluginId, &'a str),
    /// What came of it.
    pub(super) outcome: Cow<'static, str>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let (who, plugin, method) = self.of;
        self.audit.count(who, plugin, (method, &self.outcome));
    }
}
