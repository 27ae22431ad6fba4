//! The loop behind `dev` and `run`: a host, its events on the standard output, and a graceful end.

use super::{
    args::{CallSpec, Folder, Place},
    building::Building,
    client::defused,
    error::CliError,
    http,
    otel::Export,
    output::{Captured, Line, Writer},
    render::{Loop, Renderer},
    signals::Signals,
    terminal::{self, DIM},
    trace,
};
use replug::{
    CallError, Digest, Event, EventKind, Generation, Host, Layers, PluginId, control::Control, parent,
};
use serde_json::{Value, json};
use std::{collections::VecDeque, pin::pin, process, time::Duration};
use tokio::time::sleep;

/// Who reads the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Person,
    Program,
}

impl Reader {
    /// What `--json` asks for.
    pub(super) fn of(json: bool) -> Self {
        if json { Self::Program } else { Self::Person }
    }
}

/// How to serve.
pub(super) struct Serve {
    pub(super) reader: Reader,
    pub(super) call: Option<CallSpec>,
    pub(super) layers: Layers,
}

/// What a log event of a line of the standard error has as its target.
const STDERR: &str = "stderr";

/// What takes less than this needs no word of it.
const PATIENCE: Duration = Duration::from_millis(300);

impl Serve {
    /// Runs the host until a signal, or until no one reads any more.
    pub(super) async fn run(self, folder: Folder<'_>) -> Result<(), CliError> {
        let Place { config, .. } = Place::read(&self.layers, folder)?;
        let export = Export::begin(&config.otel).map_err(|error| CliError::Export(error.to_string()))?;
        let (export, spans) = export.unzip();
        let listening = trace::listen(&config.log, spans);
        let what = if config.watch { Loop::Watching } else { Loop::Running };
        let mut signals = Signals::listen()?;
        let mut captured = Captured::begin()?;
        let control = Control::new(http::control(&config.http));
        let listens = control.listening();
        let builder = Host::builder().config(config).attach(control);
        let mut events = builder.events();
        let host = builder.launch().await?;
        if let Err(error) = host.follow(self.layers.clone(), move |config| listening.adopt(&config.log)) {
            terminal::warn(&format!("edits of the configuration are not noticed: {error}"));
        }
        http::tell(&listens);
        let mut screen = Screen::new(what, self.reader);
        // If this process was started in the place of one that crashed, what that one has called last.
        let mut called_last = parent::carried();
        let mut unread = pin!(terminal::unread());
        let told = loop {
            tokio::select! {
                biased;
                () = signals.next() => break Ok(()),
                () = &mut unread => break Ok(()),
                event = events.next() => {
                    let Some(event) = event else { break Ok(()) };
                    if let Err(error) = screen.show(&event) {
                        break Err(error);
                    }
                    self.call_again(&host, &event, &mut called_last);
                }
                (lines, writer) = captured.next(&host) => screen.log(&host, lines, writer.as_ref()),
                () = screen.building.due() => if let Err(error) = screen.say_what_is_built() {
                    break Err(error);
                },
            }
        };
        screen.leave();
        let mut stopped = host.shutdown();
        let mut patience = pin!(sleep(PATIENCE));
        loop {
            tokio::select! {
                biased;
                // Asked twice, it does not wait for plugins that do not end.
                () = signals.next() => process::exit(130),
                () = &mut stopped => break,
                (lines, writer) = captured.next(&host) => screen.log(&host, lines, writer.as_ref()),
                () = &mut patience, if !patience.is_elapsed() => {
                    terminal::note("waiting for what still runs; Ctrl-C again ends at once");
                }
                event = events.next() => if let (Some(event), Ok(())) = (event, &told) {
                    // Whoever does not read the end has read what they wanted.
                    let _ = screen.show(&event);
                },
            }
        }
        if let Some(export) = export {
            export.end();
        }
        let (lines, writer) = captured.end(&host).await;
        screen.log(&host, lines, writer.as_ref());
        while let (Some(event), Ok(())) = (events.try_next(), &told) {
            screen.show(&event)?;
        }
        screen.end();
        told
    }

    /// Calls the plugin that is to be called whenever another artifact of it serves, and tells the answer as an event. An artifact
    /// that is started again is not called again: if it was the call that crashed it, it would crash until it is quarantined.
    fn call_again(&self, host: &Host, event: &Event, last: &mut Option<String>) {
        let Some(call) = &self.call else { return };
        match &event.kind {
            EventKind::Reloaded { .. } => {}
            EventKind::HostStarted { .. } => {
                let found = called(host, call).and_then(|id| Ok(host.plugin(id.as_str())?));
                if let Err(error) = found {
                    terminal::complain(&format!("--call: {error}"));
                }
                return;
            }
            _ => return,
        }
        let (Some(plugin), Some(generation), Some(digest)) = (&event.plugin, event.generation, event.digest)
        else {
            return;
        };
        let artifact = digest.to_string();
        if called(host, call).is_ok_and(|id| id == *plugin) && last.as_ref() != Some(&artifact) {
            // Before the call, which may be the end of this process.
            parent::carry(&artifact);
            *last = Some(artifact);
            tokio::spawn(call_once(host.clone(), call.clone(), (plugin.clone(), generation, digest)));
        }
    }
}

/// Which plugin is to be called.
fn called(host: &Host, call: &CallSpec) -> Result<PluginId, CliError> {
    call.plugin.among(host.plugins().iter().map(|plugin| plugin.id.as_str()))
}

async fn call_once(host: Host, call: CallSpec, of: (PluginId, Generation, Digest)) {
    // A plugin that was removed meanwhile has no answer.
    let Ok(handle) = host.plugin(of.0.as_str()) else { return };
    let (result, error) = match handle.invoke_json(call.method.clone(), call.arguments).await {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error_value(error))),
    };
    let (plugin, generation, digest) = of;
    host.event_sink().generation(
        (&plugin, generation, digest),
        EventKind::CallResult { method: call.method, result, error },
    );
}

/// An error as a program reads it: the method's own as it is, any other with a code of its kind.
pub(super) fn error_value(error: CallError<Value>) -> Value {
    let code = match &error {
        CallError::Plugin(own) => return own.clone(),
        CallError::Panicked { .. } => "panicked",
        CallError::NotImplemented { .. } => "not_implemented",
        CallError::NotRunning { .. } => "not_running",
        CallError::Unknown(_) => "unknown",
        CallError::BadArguments { .. } => "bad_arguments",
        CallError::BadResult { .. } => "bad_result",
        CallError::TooDeep { .. } => "too_deep",
        CallError::NoConnection { .. } => "no_connection",
        _ => "failed",
    };
    json!({ "code": code, "message": error.to_string() })
}

/// What is seen: lines for a person, with a spinner while a build takes its time, or JSON for a program.
struct Screen {
    reader: Reader,
    renderer: Renderer,
    building: Building,
    reloads: usize,
    /// Lines of the standard error that are logged, and were shown as they came.
    shown: VecDeque<String>,
}

impl Screen {
    fn new(what: Loop, reader: Reader) -> Self {
        let (renderer, building) = (Renderer::new(what), Building::default());
        Self { reader, renderer, building, reloads: 0, shown: VecDeque::new() }
    }

    /// Logs what was written in this process by others than the command.
    fn log(&mut self, host: &Host, lines: Vec<Line>, writer: Option<&Writer>) {
        for Line { stream, text } in lines {
            if stream == STDERR && self.reader == Reader::Person {
                self.shown.push_back(text.clone());
            }
            let (level, target, fields) = ("INFO".into(), stream.into(), json!({}));
            let line = EventKind::Log { level, target, message: text, fields, spans: Vec::new() };
            match writer {
                Some((plugin, generation, digest)) => {
                    host.event_sink().generation((plugin, *generation, *digest), line);
                }
                None => host.event_sink().host(line),
            }
        }
    }

    /// Whether the event is of a line that was shown as it came.
    fn was_shown(&mut self, event: &Event) -> bool {
        let EventKind::Log { target, message, .. } = &event.kind else { return false };
        let was_shown = target == STDERR && self.shown.front() == Some(message);
        if was_shown {
            self.shown.pop_front();
        }
        was_shown
    }

    fn show(&mut self, event: &Event) -> Result<(), CliError> {
        if self.was_shown(event) {
            return Ok(());
        }
        if self.reader == Reader::Program {
            return terminal::print_json(event);
        }
        self.note_builds(event);
        let Some(event) = defused(event) else { return Ok(()) };
        let Some(lines) = self.renderer.lines(&event) else { return Ok(()) };
        self.building.aside(|| terminal::print(&lines))
    }

    fn note_builds(&mut self, event: &Event) {
        let Some(id) = &event.plugin else { return };
        match &event.kind {
            EventKind::BuildStarted { .. } => self.building.started(id, self.renderer.name(id)),
            EventKind::BuildProgress(progress) => self.building.progressed(id, progress),
            EventKind::Reloaded { .. } => {
                self.reloads += usize::from(event.generation.is_some_and(|generation| generation.0 > 1));
                self.building.ended(id);
            }
            EventKind::BuildFailed { .. }
            | EventKind::BuildUnchanged { .. }
            | EventKind::ReloadFailed { .. }
            | EventKind::PluginStopped { .. } => self.building.ended(id),
            _ => {}
        }
    }

    fn say_what_is_built(&mut self) -> Result<(), CliError> {
        self.building.line().map_or(Ok(()), |line| terminal::print(&line))
    }

    fn leave(&mut self) {
        self.renderer.leave();
        self.building.clear();
        if self.reader == Reader::Person {
            // The terminal has written ^C where the next line begins.
            terminal::back_to_line_start();
        }
    }

    /// The last line.
    fn end(&self) {
        if self.reader == Reader::Person {
            let reloads = match self.reloads {
                0 => String::new(),
                1 => " after 1 reload".into(),
                many => format!(" after {many} reloads"),
            };
            terminal::note(&format!("{DIM}stopped{reloads}{DIM:#}"));
        }
    }
}
