//! Events as they happen: server-sent events, at the pace of whoever reads them.
//!
//! An event's id lets a reader that was cut off go on where it was (`Last-Event-ID`). A reader that is too slow finds an
//! `events_lost` where something is missing.

use super::{
    App,
    error::{Code, ControlError},
    recent::{From, Numbered, Reader, is_log},
};
use crate::{Event, EventKind, id::PluginId};
use axum::{
    body::{Body, Bytes},
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
    },
    response::Response,
};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use std::{convert::Infallible, fmt::Write, sync::Arc, time::Duration};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// After such a silence, a comment says that the stream is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// Which events a reader wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) plugin: Option<PluginId>,
    /// Kinds by their names in JSON; all if empty.
    pub(super) kinds: Vec<String>,
}

impl Filter {
    /// Reads a list of kinds with commas between them.
    pub(super) fn kinds(list: &str) -> Result<Vec<String>, ControlError> {
        let kinds: Vec<_> = list.split(',').map(str::trim).filter(|kind| !kind.is_empty()).collect();
        match kinds.iter().find_map(|kind| unknown(kind)) {
            Some(error) => Err(ControlError::new(Code::BadInput, format!("`kind`: {error}"))),
            None => Ok(kinds.into_iter().map(str::to_owned).collect()),
        }
    }

    fn wants(&self, event: &Event) -> bool {
        if matches!(event.kind, EventKind::HostStopped | EventKind::EventsLost { .. }) {
            return true;
        }
        if self.plugin.is_some() && self.plugin != event.plugin {
            return false;
        }
        self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == event.kind.name())
    }
}

/// What is said of a kind that there is not. The one list of kinds is the enum, and this is how it tells: by the error
/// that names them all.
fn unknown(kind: &str) -> Option<String> {
    let error = serde_json::from_value::<EventKind>(json!({ "event": kind })).err()?.to_string();
    error.starts_with("unknown variant").then_some(error)
}

/// The names of all kinds.
pub(super) fn all_kinds() -> Vec<String> {
    let told = unknown("").unwrap_or_default();
    // The first name that is quoted is the one that is not known.
    told.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// A stream that is being read.
struct Stream {
    app: Arc<App>,
    reader: Reader,
    filter: Filter,
    /// What comes before what happens from now on.
    before: Vec<Numbered>,
    begun: bool,
    ended: bool,
    permit: Held,
}

/// A stream's place, which its connection keeps until all of it is sent: a host that ends waits for that.
#[derive(Clone, Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] Arc<OwnedSemaphorePermit>);

/// The events that pass the filter, as a response that does not end before the host does.
pub(super) fn stream(
    app: &Arc<App>,
    filter: Filter,
    last_id: Option<&str>,
) -> Result<Response, ControlError> {
    let from = last_id.map_or(From::Now, |id| app.recent.resume(id));
    Ok(respond(begin(app, filter, from)?))
}

/// The last log entries of a plugin, and those that come.
pub(super) fn logs(app: &Arc<App>, plugin: PluginId, lines: usize) -> Result<Response, ControlError> {
    let kinds = ["log", "plugin_panicked", "plugin_crashed"].map(str::to_owned).to_vec();
    let mut stream = begin(app, Filter { plugin: Some(plugin.clone()), kinds }, From::Now)?;
    let entries = app.recent.logs(&plugin, lines).into_iter();
    // What came in between is still to be read.
    let seen = stream.reader.seen();
    stream.before = entries.filter(|entry| entry.number <= seen && is_log(&entry.event.kind)).collect();
    Ok(respond(stream))
}

fn begin(app: &Arc<App>, filter: Filter, from: From) -> Result<Stream, ControlError> {
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        let text = "as many streams as there may be are being read already: end one of them";
        ControlError::new(Code::Busy, text).retry(Duration::from_secs(5))
    })?;
    let reader = app.recent.reader(from);
    let (app, before) = (app.clone(), Vec::new());
    Ok(Stream { app, reader, filter, before, begun: false, ended: false, permit: Held(Arc::new(permit)) })
}

fn respond(stream: Stream) -> Response {
    let permit = stream.permit.clone();
    let chunks = unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), stream))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    response.extensions_mut().insert(permit);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // It ends with the host, and with it the connection, which then has nothing more to send.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // A proxy that collects what it passes on would hold the events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Stream {
    /// The next piece of text; none at the end.
    async fn next(&mut self) -> Option<String> {
        if !self.begun {
            // At once, so that whoever reads knows that they are connected.
            self.begun = true;
            let mut text = String::from(": connected\n\n");
            for entry in std::mem::take(&mut self.before) {
                self.write(&mut text, &entry);
            }
            return Some(text);
        }
        if self.ended {
            return None;
        }
        // Counted over what this reader does not want, too: to them, that is silence.
        let silent = Instant::now() + SILENCE;
        loop {
            let Ok(batch) = tokio::time::timeout_at(silent, self.reader.next()).await else {
                return Some(": still here\n\n".to_owned());
            };
            let mut text = String::new();
            if batch.missed > 0 {
                if let Ok(host) = self.app.host() {
                    host.event_sink().tally().lost(batch.missed);
                }
                let lost = json!({ "event": "events_lost", "count": batch.missed });
                put(&mut text, None, &lost);
            }
            for entry in &batch.events {
                if self.filter.wants(&entry.event) {
                    self.write(&mut text, entry);
                }
                self.ended |= matches!(entry.event.kind, EventKind::HostStopped);
            }
            if !text.is_empty() || self.ended {
                return Some(text);
            }
        }
    }

    fn write(&self, text: &mut String, entry: &Numbered) {
        // An event is data, which can be written.
        let json = serde_json::to_value(&*entry.event).unwrap_or_default();
        put(text, Some(&self.app.recent.id(entry.number)), &json);
    }
}

/// One event. JSON has no line breaks of its own, so that it is one line.
fn put(text: &mut String, id: Option<&str>, json: &Value) {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // A string can be written to.
    let _ = write!(text, "{id}data: {json}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_is_refused_with_those_that_there_are() {
        assert_eq!(Filter::kinds("reloaded, log").unwrap(), ["reloaded", "log"]);
        assert!(Filter::kinds("").unwrap().is_empty());
        let error = Filter::kinds("relaoded").unwrap_err().message;
        assert!(error.contains("`relaoded`") && error.contains("`reloaded`"), "{error}");
        let all = all_kinds();
        assert_eq!(Filter::kinds(&all.join(",")).unwrap(), all);
        assert!(all.len() > 20 && all.contains(&"host_stopped".to_owned()), "{all:?}");
    }
}
