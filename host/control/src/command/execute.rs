//! The one executor: from a [`Command`] to an [`Answer`]. It has no rules of its own but those that make a request
//! whole (which version `to` names, which page is asked for); what is done, the [`Host`] does.

use super::{
    Command, Execute, List, Register, Rollback, Stop, Who,
    answer::{Answer, Changed, ConfigTaken, Executed, Interface, Logged, Methods, Plugins, Versions},
    audit::Audit,
    calls::{Calls, NoAnswer},
    error::{Code, ControlError},
    recent::Recent,
};
use replug_engine::{
    CallError, Digest, Host, PluginId, Version, WeakHost,
    manifest::{Manifest, Mode},
};
use serde_json::{Value, json, value::RawValue};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};

/// A page holds so many plugins unless it is told.
const PAGE: u32 = 100;
/// So many log entries are told unless it is said how many.
const LINES: u32 = 100;

/// How much longer than its `call_timeout` to wait for the end of a call in another process.
const GRACE: Duration = Duration::from_secs(1);

type Done = Result<Answer, ControlError>;

/// What does all that is asked of one host, by whatever way it was asked.
pub(crate) struct Executor {
    host: WeakHost,
    audit: Audit,
    recent: Arc<Recent>,
    /// Where calls run.
    calls: Arc<Calls>,
    /// The calls that may yet begin.
    places: Arc<Semaphore>,
    call_deadline: Duration,
}

impl Executor {
    /// For the host that this holds, with so many calls at the same time that take as long as that if their plugins'
    /// manifests do not say.
    pub(crate) fn new(
        host: WeakHost,
        recent: Arc<Recent>,
        (calls, call_deadline): (usize, Duration),
    ) -> Self {
        let (audit, places) = (Audit::new(host.clone()), Arc::new(Semaphore::new(calls)));
        Self { host, audit, recent, calls: Arc::default(), places, call_deadline }
    }

    /// Who had what changed.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Does what is asked, and has it audited if it may change something. What has begun goes on even if nobody waits
    /// for the answer any more.
    pub(crate) async fn execute(self: &Arc<Self>, who: Who, command: Command) -> Done {
        let host = self.host()?;
        if let Some(plugin) = command.plugin() {
            // The span of whoever asks.
            Span::current().record("plugin", tracing::field::display(plugin));
        }
        match command {
            Command::Execute(call) => self.call(&host, who, call).await,
            command if command.changes() => {
                let app = self.clone();
                let changing = async move {
                    let done = change(&host, &command).await;
                    let outcome = done.as_ref().map_or_else(ControlError::outcome, |_| "ok".to_owned());
                    app.audit.tell(&who, command.plugin(), (command.name(), &outcome));
                    done
                };
                tokio::spawn(changing.in_current_span()).await.unwrap_or_else(|error| Err(bug(&error)))
            }
            command => self.look(&host, &command),
        }
    }

    /// The host, while it is there.
    pub(crate) fn host(&self) -> Result<Host, ControlError> {
        self.host.upgrade().ok_or_else(|| ControlError::new(Code::ShutDown, "the host has shut down"))
    }

    /// What changes nothing.
    fn look(&self, host: &Host, command: &Command) -> Done {
        Ok(match command {
            Command::List(list) => Answer::Plugins(page(host, list)?),
            Command::Get(of) => Answer::Plugin(Box::new(host.info(of.id.as_str())?.into())),
            Command::Methods(of) => {
                let handle = host.plugin(of.id.as_str())?;
                let interfaces = handle.interfaces();
                if interfaces.is_empty() {
                    return Err(self.not_serving(host, &of.id));
                }
                Answer::Methods(Methods {
                    id: of.id.to_string(),
                    generation: handle.generation().map(|generation| generation.0),
                    interfaces: interfaces.iter().map(Interface::of).collect(),
                })
            }
            Command::Generations(of) => {
                let versions = host.versions(of.id.as_str())?;
                Answer::Generations(Versions::new(of.id.to_string(), &versions))
            }
            Command::Logs(logs) => {
                if let Some(id) = &logs.id {
                    host.info(id.as_str())?;
                }
                let entries = self.recent.logs(logs.id.as_ref(), lines(logs.lines)?);
                Answer::Logs(Logged {
                    id: logs.id.as_ref().map(PluginId::to_string),
                    logs: entries.into_iter().map(|entry| entry.event).collect(),
                })
            }
            _ => return Err(ControlError::new(Code::Bug, format!("`{}` is no question", command.name()))),
        })
    }

    /// Calls a method, and has that audited, whether the caller waits for the answer or not.
    async fn call(&self, host: &Host, who: Who, call: Execute) -> Done {
        let arguments = arguments(&call)?;
        let Execute { id, method, .. } = call;
        let answer = {
            let mut audited = self.audit.counted(&who, &id, &method);
            let answer = self.answer(host, (&id, &method), arguments).await;
            audited.outcome = answer.as_ref().map_or_else(|error| error.outcome().into(), |_| "ok".into());
            answer
        };
        let (generation, result) = answer?;
        Ok(Answer::Executed(Executed { id: id.to_string(), method, generation, result }))
    }

    /// The generation that a call reached, and what it gave. It runs on a thread that may block. In process, it cannot be
    /// broken off: when its deadline passes, whoever asked is released, and the call keeps its place among those that may
    /// run until it ends.
    async fn answer(
        &self,
        host: &Host,
        (id, method): (&PluginId, &str),
        arguments: Value,
    ) -> Result<(Option<u64>, Box<RawValue>), ControlError> {
        let handle = host.plugin(id.as_str())?;
        let permit = self.places.clone().try_acquire_owned().map_err(|_| {
            let text = "as many calls as may run at the same time do so already: call again later";
            ControlError::new(Code::Busy, text).retry(Duration::from_secs(1))
        })?;
        let deadline = deadline(&*host.manifest(id.as_str())?, self.call_deadline);
        let generation = handle.generation().map(|generation| generation.0);
        let invocation = handle.invoke_json(method, arguments);
        let span = Span::current();
        let running = self.calls.run(deadline, move || {
            // What a plugin says in this process, it says on this thread.
            let answer = span.in_scope(|| invocation.wait_raw());
            drop(permit);
            answer
        });
        match running.await {
            Ok(Ok(result)) => Ok((generation, result)),
            Ok(Err(error)) => Err(self.failed_call(host, id, error)),
            Err(NoAnswer::Broken) => {
                Err(ControlError::new(Code::Bug, "the host failed on the way: its log says how"))
            }
            Err(NoAnswer::Late) => {
                let text = format!(
                    "`{method}` of {id} did not answer within {} ms: make it shorter, or raise `call_timeout` in the plugin's manifest; the call itself may go on",
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
            error => error.into(),
        }
    }

    /// Nothing serves: that passes if the plugin is coming up, and is for someone to mend if not.
    fn not_serving(&self, host: &Host, id: &PluginId) -> ControlError {
        if is_coming_up(host, id) {
            let text = format!("{id} is coming up: ask again in a moment");
            return ControlError::new(Code::Restarting, text).retry(Duration::from_secs(1));
        }
        let detail = host.info(id.as_str()).map(|info| info.detail).unwrap_or_default();
        ControlError::new(Code::WrongState, format!("{id} does not run: {detail}"))
    }
}

/// How long to wait for a call of the plugin's, if its manifest does not say.
fn deadline(manifest: &Manifest, unsaid: Duration) -> Duration {
    match (manifest.mode, manifest.process.call_timeout) {
        // It is ended by others, who know better what happened.
        (Mode::Process, Some(timeout)) => timeout + GRACE,
        (_, Some(timeout)) => timeout,
        (_, None) => unsaid,
    }
}

/// Whether the plugin is on its way to serve.
fn is_coming_up(host: &Host, id: &PluginId) -> bool {
    host.info(id.as_str()).is_ok_and(|info| info.coming_up)
}

/// What changes something, but is no call.
async fn change(host: &Host, command: &Command) -> Done {
    match command {
        Command::Register(Register { id, rebuild }) => {
            let info = host.info(id.as_str())?;
            match (info.status.is_registered(), rebuild) {
                (true, false) => {
                    let text =
                        format!("{id} is registered already: `reload` it, or `start` it if it was stopped");
                    return Err(ControlError::new(Code::WrongState, text));
                }
                (_, true) => host.reload(id.as_str()).await?,
                (false, false) => host.start(id.as_str()).await?,
            };
        }
        Command::Unregister(of) => {
            if !host.info(of.id.as_str())?.status.is_registered() {
                let text = format!("{} is not registered: there is nothing to stop", of.id);
                return Err(ControlError::new(Code::WrongState, text));
            }
            host.unregister(of.id.as_str()).await?;
        }
        Command::Reload(of) => drop(host.reload(of.id.as_str()).await?),
        Command::Rollback(Rollback { id, to }) => {
            let versions = host.versions(id.as_str())?;
            let to = to.as_deref().map(|to| version(id, &versions, to)).transpose()?;
            host.rollback(id.as_str(), to).await?;
        }
        Command::Start(of) => drop(host.start(of.id.as_str()).await?),
        Command::Stop(Stop { id, discard: false }) => host.stop(id.as_str()).await?,
        Command::Stop(Stop { id, discard: true }) => host.stop_and_discard(id.as_str()).await?,
        Command::Configure(configure) => {
            let how = host.configure(configure.id.as_str(), configure.config.clone()).await?;
            return Ok(Answer::Configured(ConfigTaken::new(configure.id.to_string(), how)));
        }
        _ => return Err(ControlError::new(Code::Bug, format!("`{}` changes nothing", command.name()))),
    }
    let id = command.plugin().map(PluginId::as_str).unwrap_or_default();
    let info = host.info(id)?;
    let generation = info.generation.map(|generation| generation.0);
    Ok(Answer::Changed(Changed { id: info.id.to_string(), generation, status: info.status }))
}

fn bug(error: &tokio::task::JoinError) -> ControlError {
    ControlError::new(Code::Bug, format!("the host failed on the way: {error}"))
}

fn page(host: &Host, list: &List) -> Result<Plugins, ControlError> {
    let page_no = within("page_no", list.page_no.unwrap_or(1), (1, u32::MAX))?;
    let page_size = within("page_size", list.page_size.unwrap_or(PAGE), (1, PAGE))?;
    let mut plugins = host.plugins();
    plugins.retain(|plugin| list.status.is_none_or(|status| plugin.status == status));
    // Those that run first; each by id.
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

/// How many log entries are asked for.
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

fn arguments(call: &Execute) -> Result<Value, ControlError> {
    let bad = |text: String| Err(ControlError::new(Code::BadInput, text));
    match (&call.args, &call.payload) {
        (Some(_), Some(_)) => {
            bad("give either `args` or `payload`: `payload` is short for `args` with one text".into())
        }
        (None, Some(text)) => Ok(json!([text])),
        (None, None) => Ok(Value::Null),
        (Some(args @ (Value::Object(_) | Value::Array(_) | Value::Null)), None) => Ok(args.clone()),
        (Some(_), None) => {
            bad("`args` is a single value, but must be an object by name or an array by position".into())
        }
    }
}

/// The version that `to` names: a generation, a digest, or the beginning of one that is no other's.
fn version(id: &PluginId, versions: &[Version], to: &str) -> Result<Digest, ControlError> {
    let generation = to.strip_prefix('g').and_then(|number| number.parse::<u64>().ok());
    let fits = |version: &&Version| match generation {
        Some(number) => {
            version.generation.0 == number || version.serves_as.is_some_and(|now| now.0 == number)
        }
        None => to.len() >= 4 && version.digest.to_string().starts_with(&to.to_ascii_lowercase()),
    };
    let found: Vec<_> = versions.iter().filter(fits).collect();
    if let [version] = found[..] {
        return Ok(version.digest);
    }
    let known: Vec<_> = versions
        .iter()
        .map(|version| format!("{} ({})", version.generation, version.digest.short()))
        .collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let to: String = to.chars().take(80).collect();
    let text = format!("{id} has no version {to:?} to go back to: there is {known}");
    Err(ControlError::new(Code::UnknownVersion, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use replug_engine::Generation;

    #[test]
    fn a_version_is_named_by_its_generation_or_by_enough_of_its_digest() {
        let id: PluginId = "dev.example.x".parse().unwrap();
        let at = |number, byte, serves_as| Version {
            generation: Generation(number),
            digest: Digest([byte; 32]),
            serves_as,
        };
        let versions = [at(1, 0xab, Some(Generation(3))), at(2, 0xcd, None)];
        for to in ["g1", "g3", "abab", "ABABab"] {
            assert_eq!(version(&id, &versions, to).unwrap(), Digest([0xab; 32]), "{to}");
        }
        for to in ["g4", "ab", "", "../x", "abcd"] {
            let error = version(&id, &versions, to).unwrap_err();
            assert_eq!(error.code, Code::UnknownVersion);
            assert!(error.message.contains("g1 (abababababab), g2"), "{error}");
        }
    }
}
