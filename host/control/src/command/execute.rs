//! Executes a [`Command`], and returns its [`Answer`]. This module only resolves the parameters of a request, such as
//! the requested page. The [`Host`] does the work.

use super::{
    Answer, CallFailure, Command, Execute, Kind, List, Logs, OfPlugin, Payload, Who,
    answer::{Executed, Interface, Logged, Methods, Plugin, Plugins, Versions},
    audit::Audit,
    calls::{Calls, NoAnswer, Places},
    change, commands,
    error::{Code, ControlError},
    recent::Recent,
};
use replug_engine::{
    BoxFuture, CallError, Host, PluginId, WeakHost,
    manifest::{Manifest, Mode},
};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use std::{sync::Arc, time::Duration};
use tracing::{Instrument, Span};

/// The default number of plugins on a page.
const PAGE: u32 = 100;
/// The default number of log entries.
const LINES: u32 = 100;

/// How much longer than `call_timeout` to wait for a call into a child process, so that the runtime can report the
/// timeout.
const GRACE: Duration = Duration::from_secs(1);

pub(super) type Done<T> = Result<T, ControlError>;

/// Executes the requests that one host receives over all transports.
pub(crate) struct Executor {
    host: WeakHost,
    audit: Audit,
    recent: Arc<Recent>,
    /// The threads on which calls run.
    calls: Arc<Calls>,
    /// The limit on concurrent calls.
    places: Arc<Places>,
    call_deadline: Duration,
}

impl Executor {
    /// An executor for `host`. At most `calls` calls run at the same time. `call_deadline` applies to calls of plugins
    /// whose manifests set no `call_timeout`.
    pub(crate) fn new(
        host: WeakHost,
        recent: Arc<Recent>,
        (calls, call_deadline): (usize, Duration),
    ) -> Self {
        let (audit, places) = (Audit::new(host.clone()), Places::new(calls));
        Self { host, audit, recent, calls: Calls::new(calls), places, call_deadline }
    }

    /// The audit of the executed commands.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Executes a command, and audits it if it may change something. The command continues even if the client
    /// disconnects.
    pub(crate) async fn run(self: &Arc<Self>, who: Who, command: Command) -> Done<Answer> {
        let host = self.host()?;
        if let Some(plugin) = command.plugin() {
            // `plugin` is a field of the request's span.
            Span::current().record("plugin", tracing::field::display(plugin));
        }
        self.dispatch(host, who, command).await
    }

    /// Executes a command that changes something and is not a call.
    async fn change(
        self: &Arc<Self>,
        who: Who,
        (kind, plugin): (Kind, Option<PluginId>),
        changing: BoxFuture<'static, Done<Answer>>,
    ) -> Done<Answer> {
        let app = self.clone();
        let audited = async move {
            let done = changing.await;
            let outcome = done.as_ref().map_or_else(ControlError::outcome, |_| "ok".to_owned());
            app.audit.report(&who, plugin.as_ref(), (kind.declaration().name, &outcome));
            done
        };
        tokio::spawn(audited.in_current_span()).await.unwrap_or_else(|error| Err(bug(&error)))
    }

    /// The host, if it still exists.
    pub(crate) fn host(&self) -> Result<Host, ControlError> {
        self.host.upgrade().ok_or_else(|| ControlError::new(Code::ShutDown, "the host has shut down"))
    }

    fn list(&self, host: &Host, list: &List) -> Done<Plugins> {
        page(host, list)
    }

    fn get(&self, host: &Host, of: &OfPlugin) -> Done<Plugin> {
        Ok(host.info(of.id.as_str())?.into())
    }

    fn methods(&self, host: &Host, of: &OfPlugin) -> Done<Methods> {
        let handle = host.plugin(of.id.as_str())?;
        let interfaces = handle.interfaces();
        if interfaces.is_empty() {
            return Err(self.not_serving(host, &of.id));
        }
        Ok(Methods {
            id: of.id.to_string(),
            generation: handle.generation().map(|generation| generation.0),
            interfaces: interfaces.iter().map(Interface::of).collect(),
        })
    }

    fn generations(&self, host: &Host, of: &OfPlugin) -> Done<Versions> {
        Ok(Versions::new(of.id.to_string(), &host.versions(of.id.as_str())?))
    }

    fn logs(&self, host: &Host, logs: &Logs) -> Done<Logged> {
        if let Some(id) = &logs.id {
            host.info(id.as_str())?;
        }
        let entries = self.recent.logs(logs.id.as_ref(), lines(logs.lines)?);
        Ok(Logged {
            id: logs.id.as_ref().map(PluginId::to_string),
            logs: entries.into_iter().map(|entry| entry.event).collect(),
        })
    }

    /// Calls a method, and audits the call even if the client disconnects.
    async fn execute(&self, host: &Host, who: &Who, call: Execute) -> Done<Executed> {
        let Execute { id, method, args, payload } = call;
        let arguments = arguments(args, payload)?;
        let answer = {
            let mut audited = self.audit.counted(who, &id, &method);
            let answer = self.answer(host, (&id, &method), arguments).await;
            audited.outcome = answer.as_ref().map_or_else(|error| error.outcome().into(), |_| "ok".into());
            answer
        };
        let (generation, result) = answer?;
        Ok(Executed { id: id.to_string(), method, generation, result })
    }

    /// Runs a call on a thread that may block. Returns the generation that served when the call began, and the result.
    /// When the deadline passes, the client gets an error. A call in process cannot be cancelled: it continues, and
    /// keeps its place until it ends.
    async fn answer(
        &self,
        host: &Host,
        (id, method): (&PluginId, &str),
        arguments: Box<RawValue>,
    ) -> Result<(Option<u64>, Box<RawValue>), ControlError> {
        let handle = host.plugin(id.as_str())?;
        let permit = self.places.take().ok_or_else(|| {
            let text = "the maximum number of concurrent calls is reached: retry later";
            ControlError::new(Code::Busy, text).retry(Duration::from_secs(1))
        })?;
        let deadline = deadline(&*host.manifest(id.as_str())?, self.call_deadline);
        let generation = handle.generation().map(|generation| generation.0);
        let invocation = handle.invoke_raw(method, arguments);
        let span = Span::current();
        let running = self.calls.run(deadline, move || {
            // A plugin in this process logs on this thread, so its log entries are in the request's span.
            let answer = span.in_scope(|| invocation.wait_raw());
            drop(permit);
            answer
        });
        match running.await {
            Ok(Ok(result)) => Ok((generation, result)),
            Ok(Err(error)) => Err(self.failed_call(host, id, error)),
            Err(NoAnswer::Broken) => Err(ControlError::new(
                Code::Bug,
                "internal error: the call failed in the host; see the host's log",
            )),
            Err(NoAnswer::Late) => {
                let text = format!(
                    "`{method}` of {id} did not answer within {} ms: make the method faster, or raise `call_timeout` in the plugin's manifest; the call may still be running",
                    deadline.as_millis()
                );
                let details = json!({ "after_ms": u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX) });
                Err(ControlError::new(Code::Deadline, text).with(details))
            }
        }
    }

    fn failed_call(&self, host: &Host, id: &PluginId, error: CallError<Value>) -> ControlError {
        match error {
            CallError::NotRunning { .. } if is_coming_up(host, id) => self.not_serving(host, id),
            error => CallFailure::from(error).into(),
        }
    }

    /// The error if no generation serves. If the plugin is starting, the error asks the client to retry. Otherwise, it
    /// states why the plugin does not run.
    fn not_serving(&self, host: &Host, id: &PluginId) -> ControlError {
        if is_coming_up(host, id) {
            let text = format!("{id} is starting: retry in a moment");
            return ControlError::new(Code::Restarting, text).retry(Duration::from_secs(1));
        }
        let detail = host.info(id.as_str()).map(|info| info.detail).unwrap_or_default();
        ControlError::new(Code::WrongState, format!("{id} does not run: {detail}"))
    }
}

/// How long to wait for a call to the plugin. `default` applies if its manifest sets no limit.
fn deadline(manifest: &Manifest, default: Duration) -> Duration {
    match (manifest.mode, manifest.process.call_timeout) {
        // The runtime itself applies this timeout. The wait is longer, because the runtime's error has more details.
        (Mode::Process, Some(timeout)) => timeout + GRACE,
        (_, Some(timeout)) => timeout,
        (_, None) => default,
    }
}

/// Whether the plugin is starting.
fn is_coming_up(host: &Host, id: &PluginId) -> bool {
    host.info(id.as_str()).is_ok_and(|info| info.coming_up)
}

/// Dispatches each command to the function with its name: a method of [`Executor`] or, if the command changes
/// something, a function in `change.rs`.
macro_rules! dispatch {
    ($(
        $(#[doc = $doc:literal])+
        $effect:ident $variant:ident as $name:ident($payload:ty) -> $answer:ty, $done:literal, [$($failures:ident),*];
    )+) => {
        impl Executor {
            async fn dispatch(self: &Arc<Self>, host: Host, who: Who, command: Command) -> Done<Answer> {
                match command {
                    $(Command::$variant(it) => dispatch!(@$effect self, host, who, it, $variant $name),)+
                }
            }
        }
    };
    (@follows $($asked:tt)+) => { dispatch!(@reads $($asked)+) };
    (@reads $self:ident, $host:ident, $who:ident, $it:ident, $variant:ident $name:ident) => {
        $self.$name(&$host, &$it).map(Answer::$variant)
    };
    (@calls $self:ident, $host:ident, $who:ident, $it:ident, $variant:ident $name:ident) => {
        $self.$name(&$host, &$who, $it).await.map(Answer::$variant)
    };
    (@sets $($asked:tt)+) => { dispatch!(@changes $($asked)+) };
    (@changes $self:ident, $host:ident, $who:ident, $it:ident, $variant:ident $name:ident) => {{
        let of = (Kind::$variant, $it.plugin().cloned());
        let changing = async move { change::$name(&$host, $it).await.map(Answer::$variant) };
        $self.change($who, of, Box::pin(changing)).await
    }};
}

commands!(dispatch);

fn bug(error: &tokio::task::JoinError) -> ControlError {
    ControlError::new(Code::Bug, format!("internal error: {error}"))
}

fn page(host: &Host, list: &List) -> Done<Plugins> {
    let page_no = within("page_no", list.page_no.unwrap_or(1), (1, u32::MAX))?;
    let page_size = within("page_size", list.page_size.unwrap_or(PAGE), (1, PAGE))?;
    let mut plugins = host.plugins();
    plugins.retain(|plugin| list.status.is_none_or(|status| plugin.status == status));
    // The host's list is sorted by id, and this sort is stable. So each of the two groups stays sorted by id.
    plugins.sort_by_key(|plugin| !plugin.status.is_registered());
    let total = plugins.len();
    let skipped = (page_no as usize - 1).saturating_mul(page_size as usize);
    let (registered, unregistered): (Vec<_>, Vec<_>) = plugins
        .into_iter()
        .skip(skipped)
        .take(page_size as usize)
        .partition(|plugin| plugin.status.is_registered());
    Ok(Plugins {
        registered: registered.into_iter().map(Into::into).collect(),
        unregistered: unregistered.into_iter().map(Into::into).collect(),
        total,
        page_no,
        page_size,
        configuration: host.pending_config().into(),
    })
}

/// The requested number of log entries, or the default. An error if the number is out of range.
pub(crate) fn lines(asked: Option<u32>) -> Result<usize, ControlError> {
    let most = super::recent::KEPT_LOGS as u32;
    within("lines", asked.unwrap_or(LINES), (0, most)).map(|lines| lines as usize)
}

fn within(key: &str, value: u32, (least, most): (u32, u32)) -> Result<u32, ControlError> {
    match (least..=most).contains(&value) {
        true => Ok(value),
        false => {
            let range =
                if most == u32::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
            Err(ControlError::new(Code::BadInput, format!("`{key}` is {value}, but must be {range}")))
        }
    }
}

/// The arguments of the call. They stay text: only the plugin parses them.
fn arguments(args: Option<Box<RawValue>>, payload: Option<String>) -> Result<Box<RawValue>, ControlError> {
    let bad = |text: &str| Err(ControlError::new(Code::BadInput, text));
    match (args, payload) {
        (Some(_), Some(_)) => {
            bad("give either `args` or `payload`: `payload` is short for `args` with one string")
        }
        (None, Some(text)) => Ok(to_raw_value(&[text]).expect("a text can be written as JSON")),
        (None, None) => Ok(RawValue::NULL.to_owned()),
        // The text is valid JSON without white space around it, so its first byte shows its type.
        (Some(args), None) => match args.get().as_bytes().first() {
            Some(b'{' | b'[' | b'n') => Ok(args),
            _ => bad("`args` is a single value, but must be an object by name or an array by position"),
        },
    }
}
