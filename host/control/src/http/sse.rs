//! Events as they happen: server-sent events, at the pace of whoever reads them.
//!
//! An event's id lets a reader that was cut off go on where it was (`Last-Event-ID`). A reader that is too slow, or was away
//! for too long, finds an `events_lost` where something is missing.

use super::{
    App,
    error::{Code, ControlError},
    filter::Filter,
    recent::{From, LOGS, Numbered, Reader},
};
use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
    },
    response::Response,
};
use futures_util::stream::unfold;
use replug_engine::{EventKind, PluginId};
use serde_json::{Value, json};
use std::{convert::Infallible, fmt::Write, sync::Arc, time::Duration};
use tokio::sync::OwnedSemaphorePermit;

/// After such a silence, a comment says that the stream is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// A stream that is being read.
struct Stream {
    app: Arc<App>,
    reader: Reader,
    /// What comes before what happens from now on.
    before: Vec<Numbered>,
    begun: bool,
    ended: bool,
    permit: Held,
}

/// A stream's place, which its connection keeps until all of it is sent: a host that ends waits for that.
#[derive(Clone, Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] Arc<OwnedSemaphorePermit>);

/// The id of the last event that a reader has read.
pub(super) fn last_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id").and_then(|value| value.to_str().ok())
}

/// The events that pass the filter, as a response that does not end before the host does.
pub(super) fn stream(
    app: &Arc<App>,
    filter: Filter,
    last_id: Option<&str>,
) -> Result<Response, ControlError> {
    let from = last_id.map_or(From::Now, |id| app.recent.resume(id));
    Ok(respond(begin(app, filter, from)?))
}

/// The last log entries of a plugin, or of each, and those that come; or those after the one of that id.
pub(super) fn logs(
    app: &Arc<App>,
    plugin: Option<PluginId>,
    (lines, last_id): (usize, Option<&str>),
) -> Result<Response, ControlError> {
    let filter = Filter { plugin: plugin.clone(), kinds: LOGS.map(str::to_owned).to_vec() };
    if last_id.is_some() {
        return stream(app, filter, last_id);
    }
    let mut stream = begin(app, filter, From::Now)?;
    let entries = app.recent.logs(plugin.as_ref(), lines).into_iter();
    // What came in between is still to be read.
    let seen = stream.reader.seen();
    stream.before = entries.filter(|entry| entry.number <= seen).collect();
    Ok(respond(stream))
}

fn begin(app: &Arc<App>, filter: Filter, from: From) -> Result<Stream, ControlError> {
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        let text = "as many streams as there may be are being read already: end one of them";
        ControlError::new(Code::Busy, text).retry(Duration::from_secs(5))
    })?;
    let reader = app.recent.reader(from, filter);
    let (app, before) = (app.clone(), Vec::new());
    Ok(Stream { app, reader, before, begun: false, ended: false, permit: Held(Arc::new(permit)) })
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
        let Ok(batch) = tokio::time::timeout(SILENCE, self.reader.next()).await else {
            return Some(": still here\n\n".to_owned());
        };
        let mut text = String::new();
        if batch.too_slow > 0
            && let Ok(host) = self.app.executor.host()
        {
            host.event_sink().tally().lost(batch.too_slow);
        }
        let missed = batch.too_slow + batch.away;
        if missed > 0 {
            put(&mut text, None, &json!({ "event": "events_lost", "count": missed }));
        }
        for entry in &batch.events {
            self.write(&mut text, entry);
            self.ended |= matches!(entry.event.kind, EventKind::HostStopped);
        }
        Some(text)
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
