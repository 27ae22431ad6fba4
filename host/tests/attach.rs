//! Tests of attachments: the host calls their methods in the documented order.

use replug::{
    Attachment, BoxError, BoxFuture, Event, EventKind, Host, HostBuilder, HostError, Starting, WeakHost,
};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

/// The calls of attachments, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn write(&self, line: impl Into<String>) {
        self.0.lock().expect("no thread panics here").push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no thread panics here").clone()
    }
}

/// An attachment that records the calls of its methods.
struct Scribe {
    name: &'static str,
    journal: Journal,
    /// The error of `bind`, if it is to fail.
    refuses: Option<&'static str>,
    events: Option<replug::Events>,
}

impl Scribe {
    fn new(name: &'static str, journal: &Journal) -> Self {
        Self { name, journal: journal.clone(), refuses: None, events: None }
    }

    fn write(&self, what: &str) {
        self.journal.write(format!("{} {what}", self.name));
    }
}

impl Attachment for Scribe {
    fn bind<'a>(&'a mut self, at: Starting<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            assert!(at.plugins_dir.is_absolute() && at.state_dir.is_dir());
            self.events = Some(at.events());
            self.write("bind");
            self.refuses.map_or(Ok(()), |reason| Err(reason.into()))
        })
    }

    fn serve(&mut self, host: WeakHost) {
        assert!(host.upgrade().is_some());
        self.write("serve");
    }

    fn close(&mut self) {
        self.write("close");
    }

    fn drained(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let stopped = |event: &Event| matches!(event.kind, EventKind::HostStopped);
            while let Some(event) = self.events.as_mut().expect("`bind` was called").next().await {
                if stopped(&event) {
                    break;
                }
            }
            self.write("drained");
        })
    }
}

fn builder(dir: &Path) -> HostBuilder {
    fs::create_dir_all(dir.join("plugins")).expect("a plugins folder");
    Host::builder().plugins(dir.join("plugins")).state_dir(dir.join("state")).crash_record(false)
}

fn scene() -> (TempDir, Journal) {
    (tempfile::tempdir().expect("a temporary folder"), Journal::default())
}

#[test]
fn attachments_serve_after_all_bind_and_drain_after_the_host_stops() {
    let (dir, journal) = scene();
    let builder =
        builder(dir.path()).attach(Scribe::new("one", &journal)).attach(Scribe::new("two", &journal));
    let host = builder.build().wait().unwrap();
    assert_eq!(journal.lines(), ["one bind", "two bind", "one serve", "two serve"]);
    host.shutdown().wait();
    assert_eq!(journal.lines()[4..], ["one close", "two close", "one drained", "two drained"]);
    drop(host);
    assert_eq!(journal.lines().last().map(String::as_str), Some("two close"), "close is the last call");
}

#[test]
fn an_attachment_that_cannot_bind_keeps_the_host_from_starting() {
    let (dir, journal) = scene();
    let refusing = Scribe { refuses: Some("the port is taken"), ..Scribe::new("two", &journal) };
    let builder = builder(dir.path()).attach(Scribe::new("one", &journal)).attach(refusing);
    let error = builder.build().wait().unwrap_err();
    assert!(matches!(error, HostError::Attachment(_)));
    assert_eq!(error.to_string(), "the port is taken");
    assert_eq!(journal.lines(), ["one bind", "two bind", "one close", "two close"]);
    let runs = fs::read_dir(dir.path().join("state/run")).unwrap();
    assert_eq!(runs.count(), 0, "the host has removed its run folder");
}

#[test]
fn a_host_that_is_dropped_closes_its_attachments() {
    let (dir, journal) = scene();
    let host = builder(dir.path()).attach(Scribe::new("one", &journal)).build().wait().unwrap();
    let weak = host.downgrade();
    drop(host);
    assert!(weak.upgrade().is_none());
    assert_eq!(journal.lines()[2], "one close");
}
