//! The loop of `dev` and `run`: runs a host, prints its events on the standard output, and stops it gracefully.

use super::{
    args::{CallSpec, Folder, Place, Plugins},
    building::Building,
    client::defused,
    error::CliError,
    http::{self, Http},
    otel::Export,
    output::{Captured, Line, Writer},
    render::{Loop, Renderer},
    signals::Signals,
    terminal::{self, DIM},
    trace::{self, Log},
};
use clap::Args;
use replug::{
    Digest, Event, EventKind, Generation, Host, Layers, PluginId,
    control::{CallFailure, Control},
};
use replug_runtime::parent;
use serde_json::json;
use std::{collections::VecDeque, pin::pin, process, time::Duration};
use tokio::time::sleep;

/// The reader of the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Person,
    Program,
}

impl Reader {
    /// The reader for this value of `--json`.
    pub(super) fn of(json: bool) -> Self {
        if json { Self::Program } else { Self::Person }
    }
}

/// The arguments that `dev` and `run` share.
#[derive(Debug, Args)]
pub(super) struct Served {
    #[command(flatten)]
    plugins: Plugins,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    log: Log,
}

impl Served {
    /// The plugins folder that the user specified.
    pub(super) fn folder(&self) -> Folder<'_> {
        self.plugins.folder()
    }

    /// The layers of the configuration, including these arguments.
    pub(super) fn layers(&self) -> Result<Layers, CliError> {
        self.http.over(self.log.over(self.plugins.state.layers(self.folder())?))
    }
}

/// The settings of the loop.
pub(super) struct Serve {
    pub(super) reader: Reader,
    pub(super) call: Option<CallSpec>,
    pub(super) layers: Layers,
}

/// The target of log events for captured lines of the standard error.
const STDERR: &str = "stderr";

/// How long a shutdown may take before the user is informed that it waits for running calls.
const PATIENCE: Duration = Duration::from_millis(300);

impl Serve {
    /// Runs the host until a signal arrives or the output is closed.
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
            terminal::warn(&format!("cannot watch the configuration, so edits have no effect: {error}"));
        }
        http::print_address(&listens);
        let mut screen = Screen::new(what, self.reader);
        // The artifact that was called last. If the previous host crashed, its parent process has passed this value on.
        let mut called_last = parent::carried();
        let mut unread = pin!(terminal::unread());
        let outcome = loop {
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
                () = screen.building.due() => if let Err(error) = screen.print_progress() {
                    break Err(error);
                },
            }
        };
        screen.begin_shutdown();
        let mut stopped = host.shutdown();
        let mut patience = pin!(sleep(PATIENCE));
        loop {
            tokio::select! {
                biased;
                // At a second signal, the command exits without waiting for the plugins.
                () = signals.next() => process::exit(130),
                () = &mut stopped => break,
                (lines, writer) = captured.next(&host) => screen.log(&host, lines, writer.as_ref()),
                () = &mut patience, if !patience.is_elapsed() => {
                    terminal::note("waiting for running calls; press Ctrl-C again to exit immediately");
                }
                event = events.next() => if let (Some(event), Ok(())) = (event, &outcome) {
                    // An error means that the reader has closed the output.
                    let _ = screen.show(&event);
                },
            }
        }
        if let Some(export) = export {
            export.end();
        }
        let (lines, writer) = captured.end(&host).await;
        screen.log(&host, lines, writer.as_ref());
        while let (Some(event), Ok(())) = (events.try_next(), &outcome) {
            screen.show(&event)?;
        }
        screen.end();
        outcome
    }

    /// Calls the method of `--call` whenever a new artifact of its plugin serves, and emits the answer as an event.
    /// When the same artifact is started again, the call is not repeated. Otherwise, a call that crashes the plugin
    /// would crash it repeatedly until the artifact is quarantined.
    fn call_again(&self, host: &Host, event: &Event, last: &mut Option<String>) {
        let Some(call) = &self.call else { return };
        match &event.kind {
            EventKind::Reloaded { .. } => {}
            EventKind::HostStarted { .. } => {
                let found = called(host, call).and_then(|id| Ok(host.plugin(id.as_str())?));
                if let Err(error) = found {
                    terminal::error(&format!("--call: {error}"));
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
            // The artifact is recorded before the call, because the call may crash this process.
            parent::carry(&artifact);
            *last = Some(artifact);
            tokio::spawn(call_once(host.clone(), call.clone(), (plugin.clone(), generation, digest)));
        }
    }
}

/// The id of the plugin to call.
fn called(host: &Host, call: &CallSpec) -> Result<PluginId, CliError> {
    call.plugin.among(host.plugins().iter().map(|plugin| plugin.id.as_str()))
}

async fn call_once(host: Host, call: CallSpec, of: (PluginId, Generation, Digest)) {
    // The plugin may have been removed in the meantime.
    let Ok(handle) = host.plugin(of.0.as_str()) else { return };
    let (result, error) = match handle.invoke_json(call.method.clone(), call.arguments).await {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(CallFailure::from(error).to_json())),
    };
    let (plugin, generation, digest) = of;
    host.event_sink().generation(
        (&plugin, generation, digest),
        EventKind::CallResult { method: call.method, result, error },
    );
}

/// The output: lines for a person, with a spinner during long builds, or JSON for a program.
struct Screen {
    reader: Reader,
    renderer: Renderer,
    building: Building,
    reloads: usize,
    /// The captured lines of the standard error whose log events have not arrived yet. These events are not shown,
    /// because the lines were shown when they were written.
    shown: VecDeque<String>,
}

impl Screen {
    fn new(what: Loop, reader: Reader) -> Self {
        let (renderer, building) = (Renderer::new(what), Building::default());
        Self { reader, renderer, building, reloads: 0, shown: VecDeque::new() }
    }

    /// Logs captured lines, which plugins or libraries in this process have written.
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

    /// Whether the event logs a line of the standard error that was already shown.
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

    fn print_progress(&mut self) -> Result<(), CliError> {
        self.building.line().map_or(Ok(()), |line| terminal::print(&line))
    }

    fn begin_shutdown(&mut self) {
        self.renderer.begin_shutdown();
        self.building.clear();
        if self.reader == Reader::Person {
            // The terminal has printed `^C` at the beginning of the line.
            terminal::back_to_line_start();
        }
    }

    /// Prints the summary line.
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
