//! Formats events as lines of text with colours, for people. This module does not print.

mod shown_names;

use super::terminal::{ANSWER, BAD, DIM, GOOD, NAME, WARN, brief, brief_ms, relative, rendered};
use replug::{
    Event, EventKind, Generation, PluginId,
    event::{
        BuildWay, BuiltBy, ConfiguredHow, CrashSite, Diagnostic, LimitsInForce, RetireOutcome, Stage, Stages,
    },
};
use serde_json::Value;
use shown_names::ShownNames;
use std::collections::BTreeMap;

/// Whether the host watches the plugins' sources or only runs the plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    Watching,
    Running,
}

/// Formats events as lines, and keeps the state that this needs.
#[derive(Debug)]
pub(super) struct Renderer {
    what: Loop,
    /// The known plugins, with their serving generations.
    plugins: BTreeMap<PluginId, Option<Generation>>,
    names: ShownNames,
    started: bool,
    shutting_down: bool,
}

impl Renderer {
    pub(super) fn new(what: Loop) -> Self {
        Self {
            what,
            plugins: BTreeMap::new(),
            names: ShownNames::default(),
            started: false,
            shutting_down: false,
        }
    }

    /// Records that the host is about to stop. From now on, stopped plugins are not reported.
    pub(super) fn begin_shutdown(&mut self) {
        self.shutting_down = true;
    }

    /// The lines for an event, or `None` if the event is not shown.
    pub(super) fn lines(&mut self, event: &Event) -> Option<String> {
        let Some(id) = &event.plugin else { return self.of_host(&event.kind) };
        let generation = event.generation.map(|generation| generation.to_string()).unwrap_or_default();
        let line = match &event.kind {
            EventKind::PluginDiscovered { path } => {
                self.know(id, None);
                if !self.started {
                    return None;
                }
                self.line(id, format!("found in {}", relative(path)))
            }
            EventKind::Reloaded { stages, total_ms, gap_ms, warnings, way } => {
                self.know(id, event.generation);
                let of_an_edit = stages.detect > 0.0;
                let (took, stages) = (brief(*total_ms), summary(stages, *total_ms));
                let live = format!(
                    "{GOOD}{generation} live{GOOD:#} in {took} {DIM}({stages}){DIM:#}{}{}",
                    waited(*gap_ms),
                    slowly(way.as_ref(), of_an_edit)
                );
                below(warnings, self.line(id, live))
            }
            EventKind::BuildFailed { error, diagnostics } => {
                let failed = self.failure(id, "build failed", self.serving(id));
                if diagnostics.is_empty() { format!("{failed}: {error}") } else { below(diagnostics, failed) }
            }
            EventKind::ReloadFailed { stage, error, kept_generation, gap_ms } => {
                let what = match stage {
                    // Before the build, only the manifest is read.
                    Stage::Detect => "manifest rejected".to_owned(),
                    stage => format!("{} failed", stage.name()),
                };
                format!("{}{}: {error}", self.failure(id, &what, *kept_generation), waited(*gap_ms))
            }
            EventKind::ConfigureFailed { error, kept_generation, .. } => {
                format!("{}: {error}", self.failure(id, "configuration rejected", *kept_generation))
            }
            EventKind::BuildUnchanged { rolled_back, warnings, .. } => {
                let serving = self.serving(id).map(|generation| generation.to_string()).unwrap_or_default();
                let what = match rolled_back {
                    true => format!(
                        "{WARN}{serving} still serves after a rollback{WARN:#}: edit or `reload` the source to go forward"
                    ),
                    false => format!("{DIM}{serving} unchanged{DIM:#}"),
                };
                below(warnings, self.line(id, what))
            }
            EventKind::RolledBack { from, reason } => {
                self.line(id, format!("{WARN}rolled back{WARN:#} from {from}: {reason}"))
            }
            EventKind::Configured { how: ConfiguredHow::Live } => {
                self.line(id, "new configuration applied".into())
            }
            EventKind::GenerationRetired { outcome } => return self.retired(id, &generation, *outcome),
            EventKind::PluginStopped { reason } => {
                if self.shutting_down {
                    return None;
                }
                let line = self.line(id, format!("{WARN}stopped{WARN:#}: {reason}"));
                self.plugins.remove(id);
                self.names.remove(id);
                line
            }
            EventKind::PluginCrashed { signal, exit, stderr_tail, restart_in_ms } => {
                let how = match (signal, exit) {
                    (Some(signal), _) => format!("was killed by {signal}"),
                    (None, Some(status)) => format!("exited with status {status}"),
                    (None, None) => "ended".to_owned(),
                };
                let next = match restart_in_ms {
                    Some(pause) => format!("starting it again in {pause} ms"),
                    None => "not starting it again".to_owned(),
                };
                let tail: String =
                    stderr_tail.lines().map(|line| format!("\n  {DIM}{line}{DIM:#}")).collect();
                self.line(id, format!("{BAD}{generation} {how}{BAD:#}, {next}{tail}"))
            }
            EventKind::LimitsApplied(limits) => self.line(id, limited(limits)),
            EventKind::PluginRestarted { deaths } => {
                let times = if *deaths == 1 { "once".to_owned() } else { format!("{deaths} times") };
                self.line(id, format!("{DIM}restarted; it has died {times}{DIM:#}"))
            }
            EventKind::PluginStuck { method, thread, thread_id, for_ms } => {
                let text = format!("`{method}` has not returned for {for_ms} ms");
                let whose =
                    format!("{DIM}(thread {thread}, {thread_id}; nothing in this process can end it){DIM:#}");
                self.line(id, format!("{WARN}{generation} stuck{WARN:#}: {text} {whose}"))
            }
            EventKind::PluginDemoted { crash: CrashSite { method: Some(method), line, signal }, .. } => {
                let crashed = crashed_the_host(method, line.as_deref(), signal.as_deref());
                self.line(id, format!("{crashed}: it runs in a child process now"))
            }
            EventKind::PluginDemoted { reason, .. } => {
                self.line(id, format!("{WARN}runs in a child process{WARN:#}: {reason}"))
            }
            EventKind::PluginQuarantined {
                crash: CrashSite { method: Some(method), line, signal }, ..
            } => {
                let crashed = crashed_the_host(method, line.as_deref(), signal.as_deref());
                let until = "it is quarantined; rebuild it, or `start` it to try again";
                self.line(id, format!("{crashed}: {until}"))
            }
            EventKind::PluginQuarantined { reason, .. } => {
                self.line(id, format!("{BAD}quarantined{BAD:#}: {reason}"))
            }
            EventKind::CheckpointLost { reason } => {
                self.line(id, format!("{WARN}lost its checkpoint{WARN:#}: {reason}"))
            }
            EventKind::PluginPanicked { message, location, thread, backtrace } => {
                let mut text = format!(
                    "{BAD}{generation} panicked{BAD:#}: {message} {DIM}({location}, thread {thread}){DIM:#}"
                );
                if !backtrace.is_empty() {
                    text = format!("{text}\n{DIM}{}{DIM:#}", backtrace.trim_end());
                }
                self.line(id, text)
            }
            EventKind::CallResult { method, result, error } => self.answer(id, method, (result, error)),
            EventKind::Log { level, message, fields, .. } => {
                self.log(id, level, &format!("{message}{}", listed(fields)))
            }
            _ => return None,
        };
        Some(line)
    }

    fn know(&mut self, id: &PluginId, serving: Option<Generation>) {
        self.plugins.insert(id.clone(), serving);
        self.names.insert(id);
    }

    /// The short name: the last part of the id, unless the id of another plugin has the same last part.
    pub(super) fn name<'a>(&self, id: &'a PluginId) -> &'a str {
        self.names.name(id)
    }

    fn of_host(&mut self, kind: &EventKind) -> Option<String> {
        match kind {
            EventKind::HostStarted { plugins_dir, running } => {
                self.started = true;
                let doing = match self.what {
                    Loop::Watching => "watching",
                    Loop::Running => "running",
                };
                let count = match (self.plugins.len(), *running) {
                    (0, _) => "no plugins yet".to_owned(),
                    (1, 1) => "1 plugin".to_owned(),
                    (found, running) if found == running => format!("{found} plugins"),
                    (found, running) => format!("{running} of {found} plugins live"),
                };
                Some(format!("{doing} {} {DIM}({count}, ctrl-c to stop){DIM:#}", relative(plugins_dir)))
            }
            EventKind::ConfigChanged { applied, restart_needed } => Some(changed(applied, restart_needed)),
            EventKind::ConfigRefused { error } => {
                Some(format!("{BAD}configuration rejected{BAD:#}, keeping the previous one: {error}"))
            }
            // The message begins with the path.
            EventKind::DiscoveryFailed { error, .. } => Some(format!("{BAD}error:{BAD:#} {error}")),
            EventKind::HostCrashed { reason, .. } => Some(format!("{WARN}warning:{WARN:#} {reason}")),
            // A captured line of output, if it is unknown which plugin has written it.
            EventKind::Log { target, message, .. } => Some(format!("{DIM}{target}{DIM:#} {message}")),
            EventKind::EventsLost { count } => Some(format!(
                "{WARN}{count} events are missing here{WARN:#}: they came faster than they could be shown"
            )),
            _ => None,
        }
    }

    fn retired(&self, id: &PluginId, generation: &str, outcome: RetireOutcome) -> Option<String> {
        let text = match outcome {
            RetireOutcome::Kept | RetireOutcome::Ended => return None,
            RetireOutcome::Unloaded => format!("{DIM}{generation} unloaded{DIM:#}"),
            RetireOutcome::Threads => format!(
                "{WARN}{generation} not unloaded{WARN:#}: a thread may still run its code; end it in `stop`"
            ),
            RetireOutcome::PinnedTls => format!(
                "{WARN}{generation} not unloaded{WARN:#}: a thread of the program has its thread-locals"
            ),
            RetireOutcome::Nodelete => format!(
                "{WARN}{generation} not unloaded{WARN:#}: it is linked with `-z nodelete`, or has unique symbols"
            ),
            RetireOutcome::DropPanicked => format!("{WARN}{generation} panicked as it was dropped{WARN:#}"),
        };
        Some(self.line(id, text))
    }

    fn answer(&self, id: &PluginId, method: &str, answer: (&Option<Value>, &Option<Value>)) -> String {
        let call = format!("{}.{method} {DIM}->{DIM:#}", self.name(id));
        match answer {
            (_, Some(error)) => format!("{call} {BAD}error:{BAD:#} {}", error_in_one_line(error)),
            (Some(result), _) => format!("{call} {ANSWER}{result}{ANSWER:#}"),
            (None, None) => format!("{call} {ANSWER}null{ANSWER:#}"),
        }
    }

    fn log(&self, id: &PluginId, level: &str, text: &str) -> String {
        let style = match level {
            "ERROR" => BAD,
            "WARN" => WARN,
            _ => DIM,
        };
        self.line(id, format!("{style}{level:<5}{style:#} {text}"))
    }

    /// The line for a failure that changed nothing. It names the version that still serves.
    fn failure(&self, id: &PluginId, what: &str, kept: Option<Generation>) -> String {
        let kept = match (kept, self.what) {
            (Some(generation), _) => format!(", still serving {generation}"),
            (None, Loop::Watching) => ", nothing serves until it is fixed".to_owned(),
            (None, Loop::Running) => ", nothing serves".to_owned(),
        };
        format!("{NAME}{}{NAME:#}: {BAD}{what}{BAD:#}{kept}", self.name(id))
    }

    fn serving(&self, id: &PluginId) -> Option<Generation> {
        self.plugins.get(id).copied().flatten()
    }

    /// A line about a plugin. The text after the name begins in the same column for all plugins.
    fn line(&self, id: &PluginId, text: String) -> String {
        const WIDEST: usize = 24;
        let width = self.names.widest().min(WIDEST);
        let name = self.name(id);
        format!("{NAME}{name}{NAME:#}{:1$} {text}", "", width.saturating_sub(name.len()))
    }
}

/// The method and the line at which the plugin crashed the host, and how.
fn crashed_the_host(method: &str, line: Option<&str>, signal: Option<&str>) -> String {
    let at = line.map(|line| format!(" at {line}")).unwrap_or_default();
    format!("{BAD}crashed the host in {method}{at} ({}){BAD:#}", signal.unwrap_or("exit"))
}

/// The effect of a new configuration of the host.
fn changed(applied: &[String], restart_needed: &[String]) -> String {
    let now = match applied {
        [] => String::new(),
        keys => format!(" {GOOD}applied{GOOD:#}: {}", keys.join(", ")),
    };
    let later = match restart_needed {
        [] => String::new(),
        keys => format!(" {WARN}needs a restart{WARN:#}: {}", keys.join(", ")),
    };
    match (applied, restart_needed) {
        ([], []) => "configuration matches the running host again".to_owned(),
        ([_, ..], [_, ..]) => format!("configuration{now};{later}"),
        _ => format!("configuration{now}{later}"),
    }
}

/// The line with the compiler's messages above it.
fn below(diagnostics: &[Diagnostic], line: String) -> String {
    if diagnostics.is_empty() { line } else { format!("\n{}\n{line}", rendered(diagnostics)) }
}

/// How long calls waited, if the previous version was stopped first.
fn waited(gap_ms: Option<f64>) -> String {
    gap_ms.map_or_else(String::new, |gap| format!(", calls waited {}", brief(gap)))
}

/// If cargo has built an edit, the reason: a build of an edit without cargo is faster.
fn slowly(way: Option<&BuildWay>, of_an_edit: bool) -> String {
    let by_cargo = way.filter(|way| of_an_edit && way.by == BuiltBy::Cargo);
    by_cargo.map_or_else(String::new, |way| format!(", {DIM}by cargo: {}{DIM:#}", way.reason))
}

/// The durations of the stages: load and swap, build and migrate if they took place, and each other stage that took at
/// least 5 ms and a tenth of the total time.
fn summary(stages: &Stages, total_ms: f64) -> String {
    let &Stages { detect, build, store, preflight, load, migrate, swap } = stages;
    let notable = |ms: f64| ms >= 5.0 && ms >= total_ms / 10.0;
    let all = [
        ("detect", detect, notable(detect)),
        ("build", build, build > 0.0),
        ("store", store, notable(store)),
        ("preflight", preflight, notable(preflight)),
        ("load", load, true),
        ("migrate", migrate, migrate >= 0.005),
        ("swap", swap, true),
    ];
    let shown =
        all.iter().filter(|(.., shown)| *shown).map(|(name, ms, _)| format!("{name} {}", brief_ms(*ms)));
    shown.collect::<Vec<_>>().join(", ")
}

/// The limits of a process, and below them those that are not in force.
fn limited(limits: &LimitsInForce) -> String {
    let bounds = limits.bounds.iter().map(|it| format!("{} {} by {}", it.of.name(), it.value, it.by.name()));
    let bounds = bounds.collect::<Vec<_>>().join(", ");
    let bounds = match (bounds.is_empty(), &limits.cgroup) {
        (false, _) => bounds,
        (true, Some(_)) => "none but its cgroup".to_owned(),
        (true, None) => "none".to_owned(),
    };
    let lacking: String = limits.lacking.iter().map(|it| format!("\n  {WARN}{it}{WARN:#}")).collect();
    format!("{DIM}limits: {bounds}{DIM:#}{lacking}")
}

/// The fields of a log event, as ` key=value`.
fn listed(fields: &Value) -> String {
    let Value::Object(fields) = fields else { return String::new() };
    fields.iter().map(|(key, value)| format!(" {DIM}{key}={DIM:#}{}", bare(value))).collect()
}

/// A value without JSON syntax: text without quotes.
pub(super) fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A plugin's own error as one line. The error is usually an object with `code`, `message` and `details`, but may be
/// any JSON value.
fn error_in_one_line(error: &Value) -> String {
    let Some(message) = error.get("message") else { return error.to_string() };
    let message = bare(message);
    // The host's own errors contain the code in the message already.
    let code = error.get("code").map(bare).filter(|code| !message.contains(code));
    let code = code.map(|code| format!(" {DIM}[{code}]{DIM:#}")).unwrap_or_default();
    let details = error.get("details").filter(|details| !is_empty(details));
    let details = details.map(|details| format!(" {DIM}{details}{DIM:#}")).unwrap_or_default();
    format!("{message}{code}{details}")
}

/// Whether a value is empty.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
