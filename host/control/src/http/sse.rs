//! Streams of server-sent events. Each reader determines the speed of its stream.
//!
//! With the id of the last event (`Last-Event-ID`), a disconnected reader can continue its stream. A reader that is too
//! slow, or that was disconnected for too long, gets an event `events_lost` in place of the missing events.

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

/// The time without events after which a comment is sent, which shows that the stream is still open.
const SILENCE: Duration = Duration::from_secs(15);

/// A stream that is being read.
struct Stream {
    app: Arc<App>,
    reader: Reader,
    /// The recent entries to send before the events of `reader`.
    before: Vec<Numbered>,
    begun: bool,
    ended: bool,
    permit: Held,
}

/// The permit of a stream. The connection holds it until all data is sent, and a host that shuts down waits until all
/// permits are returned.
#[derive(Clone, Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] Arc<OwnedSemaphorePermit>);

/// The id of the last event that a reader has read.
pub(super) fn last_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id").and_then(|value| value.to_str().ok())
}

/// A response that streams the events that the filter selects, until the host has stopped.
pub(super) fn stream(
    app: &Arc<App>,
    filter: Filter,
    last_id: Option<&str>,
) -> Result<Response, ControlError> {
    let from = last_id.map_or(From::Now, |id| app.recent.resume(id));
    Ok(respond(begin(app, filter, from)?))
}

/// A response that streams the last log entries of a plugin, or of each plugin, and then new entries. With `last_id`,
/// the stream begins after the entry with this id instead.
pub(super) fn logs(
    app: &Arc<App>,
    plugin: Option<PluginId>,
    (lines, last_id): (usize, Option<&str>),
) -> Result<Response, ControlError> {
    let filter = Filter { plugin: plugin.clone(), kinds: LOGS.to_vec() };
    if last_id.is_some() {
        return stream(app, filter, last_id);
    }
    let mut stream = begin(app, filter, From::Now)?;
    let entries = app.recent.logs(plugin.as_ref(), lines).into_iter();
    // The reader returns the entries that arrived after it was created.
    let seen = stream.reader.seen();
    stream.before = entries.filter(|entry| entry.number <= seen).collect();
    Ok(respond(stream))
}

fn begin(app: &Arc<App>, filter: Filter, from: From) -> Result<Stream, ControlError> {
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        let text = "too many streams are open already: close one of them";
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
    // The stream ends when the host stops, so the connection cannot serve another request.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // A proxy that buffers responses would delay the events.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Stream {
    /// The next text to send, or `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        if !self.begun {
            // A comment is sent immediately, so that the reader knows that it is connected.
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
        // An event is plain data, so writing it as JSON cannot fail.
        let json = serde_json::to_value(&*entry.event).unwrap_or_default();
        put(text, Some(&self.app.recent.id(entry.number)), &json);
    }
}

/// Appends one event to `text`. The JSON contains no line breaks, so it is one line of data.
fn put(text: &mut String, id: Option<&str>, json: &Value) {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = write!(text, "{id}data: {json}\n\n");
}
