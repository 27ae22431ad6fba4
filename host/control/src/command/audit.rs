//! Who had the host change what, and what came of it: an event for each.
//!
//! Calls of methods may come by the ten thousand in a second, and would push all other events out of every reader's
//! backlog. So the first of a kind is told at once, and those that follow are counted and told once a second.

use super::Who;
use parking_lot::Mutex;
use replug_engine::{EventKind, PluginId, WeakHost};
use std::{borrow::Cow, time::Duration};

/// How often calls are summed up.
const EVERY: Duration = Duration::from_secs(1);
/// How many kinds of calls are told apart between two sums: whoever asks for ever new methods does not fill the memory.
const KINDS: usize = 256;
/// How many characters of a method's name are told.
const NAME: usize = 64;

/// Calls of one kind.
struct Counted {
    who: Who,
    /// None of kinds that are not told apart.
    plugin: Option<PluginId>,
    method: String,
    outcome: Cow<'static, str>,
    /// Those since the last sum, beside the first.
    count: u64,
}

/// What came of a call whose caller hung up before there was an answer. Nothing ends the call itself.
const HUNG_UP: &str = "the caller hung up before the call had ended";

/// Writes the audit.
pub(crate) struct Audit {
    host: WeakHost,
    /// Few, so that to look through them costs less than to write down what to look for.
    calls: Mutex<Vec<Counted>>,
}

impl Audit {
    pub(crate) fn new(host: WeakHost) -> Self {
        Self { host, calls: Mutex::default() }
    }

    /// Tells of one command.
    pub(crate) fn tell(&self, who: &Who, plugin: Option<&PluginId>, (command, outcome): (&str, &str)) {
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

    /// Counts a call; tells of it if it is the first of its kind in a while.
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

    /// Counts a call when what is returned is dropped, be that because there is an answer or because nobody waits for one.
    pub(crate) fn counted<'a>(&'a self, who: &'a Who, plugin: &'a PluginId, method: &'a str) -> Call<'a> {
        Call { audit: self, of: (who, plugin, method), outcome: HUNG_UP.into() }
    }

    /// Tells of the calls that were only counted, once a second.
    pub(crate) async fn keep_up(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.sum_up();
        }
    }

    /// Tells of the calls that were only counted.
    pub(crate) fn sum_up(&self) {
        // Held to the end, so that all is told when a second one, at the end of the host, returns.
        let mut calls = self.calls.lock();
        // What has paused for so long is told at once when it comes again.
        calls.retain(|kind| kind.count > 0);
        for kind in &mut *calls {
            self.sum(kind);
            kind.count = 0;
        }
    }

    fn sum(&self, Counted { who, plugin, method, outcome, count }: &Counted) {
        // A caller over TCP may use another port for each call.
        let who = match who {
            Who::Remote(address) => address.ip().to_string(),
            other => other.to_string(),
        };
        let command = if plugin.is_some() { format!("execute {method}") } else { "execute".into() };
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

/// A call that is counted when this is dropped.
pub(crate) struct Call<'a> {
    audit: &'a Audit,
    of: (&'a Who, &'a PluginId, &'a str),
    /// What came of it.
    pub(crate) outcome: Cow<'static, str>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let (who, plugin, method) = self.of;
        self.audit.count(who, plugin, (method, &self.outcome));
    }
}
