//! The open spans of one plugin, and the spans that each thread has entered.

use super::fields::Fields;
use serde_json::{Map, Value, json};
use std::{
    cell::Cell,
    collections::HashMap,
    num::NonZeroU64,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tracing::{
    Event, Metadata,
    span::{Attributes, Id, Record},
};
use tracing_core::span::Current;

/// How many nested spans are tracked for each thread. An event in more spans than that names only the outermost ones.
const DEPTH: usize = 32;

/// The spans that a thread has entered, the outermost first. `Copy`, so that the thread-local needs no destructor.
#[derive(Clone, Copy)]
struct Stack {
    ids: [u64; DEPTH],
    len: usize,
}

thread_local! {
    static ENTERED: Cell<Stack> = const { Cell::new(Stack { ids: [0; DEPTH], len: 0 }) };
}

struct Span {
    metadata: &'static Metadata<'static>,
    parent: Option<u64>,
    fields: Fields,
    handles: usize,
}

#[derive(Default)]
struct Open {
    last: u64,
    spans: HashMap<u64, Span>,
}

/// The open spans.
#[derive(Default)]
pub(super) struct Spans(Mutex<Open>);

impl Spans {
    fn open_spans(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        // The fields are recorded before the lock is taken, because recording them may run the author's `Debug`.
        attributes.record(&mut fields);
        let parent =
            if attributes.is_contextual() { innermost() } else { attributes.parent().map(Id::into_u64) };
        let mut open = self.open_spans();
        open.last += 1;
        let id = open.last;
        if let Some(parent) = parent.and_then(|parent| open.spans.get_mut(&parent)) {
            parent.handles += 1;
        }
        open.spans.insert(id, Span { metadata: attributes.metadata(), parent, fields, handles: 1 });
        NonZeroU64::new(id).map_or_else(|| Id::from_u64(1), Id::from_non_zero_u64)
    }

    pub(super) fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = self.open_spans().spans.get_mut(&span.into_u64()) {
            span.fields.0.extend(fields.0);
        }
    }

    pub(super) fn keep(&self, span: &Id) {
        if let Some(span) = self.open_spans().spans.get_mut(&span.into_u64()) {
            span.handles += 1;
        }
    }

    /// Drops one reference to the span. When the last one is dropped, the span closes and drops one reference to its
    /// parent. Returns whether the span is closed.
    pub(super) fn close(&self, span: &Id) -> bool {
        let mut open = self.open_spans();
        let mut next = Some(span.into_u64());
        while let Some(id) = next {
            let Some(span) = open.spans.get_mut(&id) else { break };
            span.handles -= 1;
            if span.handles > 0 {
                break;
            }
            next = open.spans.remove(&id).and_then(|span| span.parent);
        }
        !open.spans.contains_key(&span.into_u64())
    }

    pub(super) fn enter(&self, span: &Id) {
        let mut stack = ENTERED.get();
        if let Some(free) = stack.ids.get_mut(stack.len) {
            *free = span.into_u64();
        }
        stack.len += 1;
        ENTERED.set(stack);
    }

    pub(super) fn exit(&self, span: &Id) {
        let mut stack = ENTERED.get();
        let known = stack.len.min(DEPTH);
        // Spans may be exited in another order than they were entered.
        match stack.ids[..known].iter().rposition(|id| *id == span.into_u64()) {
            Some(at) if stack.len <= DEPTH => {
                stack.ids.copy_within(at + 1..known, at);
                stack.len -= 1;
            }
            _ => stack.len = stack.len.saturating_sub(1),
        }
        ENTERED.set(stack);
    }

    pub(super) fn current(&self) -> Current {
        let Some(id) = innermost() else { return Current::none() };
        match self.open_spans().spans.get(&id) {
            Some(span) => Current::new(Id::from_u64(id), span.metadata),
            None => Current::none(),
        }
    }

    /// The spans around an event, the outermost first, as JSON.
    pub(super) fn around(&self, event: &Event<'_>) -> String {
        let mut next = if event.is_contextual() { innermost() } else { event.parent().map(Id::into_u64) };
        if next.is_none() {
            return "[]".to_owned();
        }
        let open = self.open_spans();
        let mut spans = Vec::new();
        while let Some(span) = next.and_then(|id| open.spans.get(&id)) {
            let fields: &Map<String, Value> = &span.fields.0;
            spans.push(json!({ "name": span.metadata.name(), "fields": fields }));
            next = span.parent;
        }
        spans.reverse();
        Value::Array(spans).to_string()
    }
}

fn innermost() -> Option<u64> {
    let stack = ENTERED.get();
    stack.ids[..stack.len.min(DEPTH)].last().copied()
}
