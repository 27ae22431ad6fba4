//! `replug call`: calls a method once, in the running host or, without a host, in this process.

use super::{
    args::{CallArgs, CallSpec, Place, PluginsFlag, State},
    client::Client,
    error::CliError,
    host_plugins::id_of,
    one::One,
    render::{bare, is_empty},
    shell,
    terminal::{self, DIM, escaped, harmless},
    trace,
};
use clap::Args;
use replug::control::{CallFailure, Code, Command, answer::Executed, command::Execute};
use serde_json::{Value, json, value::to_raw_value};
use std::time::{Duration, Instant};

/// How long to wait for a plugin that is starting.
const START: Duration = Duration::from_secs(10);
/// How long to wait between two attempts to call a plugin that is starting.
const RETRY: Duration = Duration::from_millis(50);

/// Call a method of a plugin in the running host; without a host, build and load the plugin for this call
///
/// Prints the result as JSON. If the method returns an error, prints it to the standard error and exits with status 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug call dev.replug.calculator add '[10,5]'
  replug call dev.replug.calculator divide '{\"a\":1,\"b\":0}'
  replug call dev.replug.calculator history --json | jq .result")]
pub(super) struct Call {
    #[command(flatten)]
    call: CallArgs,
    #[command(flatten)]
    plugins: PluginsFlag,
    /// Print one JSON object on one line, with `result` or `error`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: State,
}

impl Call {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let call = self.call.parse()?;
        trace::quietly();
        let folder = self.plugins.folder();
        let place = self.state.place(folder);
        let host = self.state.host_of(folder, &place)?;
        match self.of_running(&call, Client::at(host)).await {
            Err(CliError::NoHost { .. }) => {}
            done => {
                Place::note_wrong(&place);
                return done;
            }
        }
        let one = One::start(place?, &call.plugin).await?;
        let (id, generation) = (one.handle.id().clone(), one.handle.generation());
        let invocation = one.handle.invoke_json(call.method.clone(), call.arguments);
        let answer = one.finish(invocation.into_future()).await?.map_err(CallFailure::from);
        self.print_outcome(json!({ "plugin": id, "method": call.method, "generation": generation }), answer)
    }

    /// Prints the answer to the call. With `--json`, adds it to the object `known`, which describes the call, and
    /// prints the object.
    fn print_outcome(&self, mut known: Value, answer: Result<Value, CallFailure>) -> Result<(), CliError> {
        if self.json {
            let failed = answer.is_err();
            match answer {
                Ok(result) => known["result"] = result,
                Err(failure) => known["error"] = failure.to_json(),
            }
            terminal::print_json(&known)?;
            return if failed { Err(CliError::Printed) } else { Ok(()) };
        }
        match answer {
            Ok(result) => terminal::print(&escaped(&format!("{result:#}"))),
            Err(failure) => Err(failed(&failure)),
        }
    }

    /// Calls the method in the running host.
    async fn of_running(&self, call: &CallSpec, client: Client) -> Result<(), CliError> {
        let id = id_of(&call.plugin, &client).await?;
        let args = Some(&call.arguments).filter(|arguments| !arguments.is_null());
        let args = args.map(|args| to_raw_value(args).expect("a JSON value can be written"));
        let mut known = json!({ "plugin": id, "method": call.method });
        let mut waits_since = None;
        let answer = loop {
            let asked =
                Execute { id: id.clone(), method: call.method.clone(), args: args.clone(), payload: None };
            let answer = client.send(Command::execute(asked)).await;
            // The code `Restarting` means that the plugin is starting, and that the method has not been called, so a
            // retry is safe.
            if !matches!(&answer, Err(CliError::Answered { code, .. }) if *code == Code::Restarting.number())
            {
                break answer;
            }
            let began = *waits_since.get_or_insert_with(|| {
                terminal::note(&format!("{id} is starting: waiting for it"));
                Instant::now()
            });
            if began.elapsed() > START {
                break answer;
            }
            tokio::time::sleep(RETRY).await;
        };
        match answer {
            Ok(Executed { generation, result, .. }) => {
                known["generation"] = json!(generation);
                let result = serde_json::from_str(result.get()).map_err(|error| client.unreadable(&error))?;
                self.print_outcome(known, Ok(result))
            }
            Err(CliError::Answered { code, message, details, .. }) => {
                self.print_outcome(known, Err(CallFailure::answered(code, message, details)))
            }
            Err(CliError::BrokeOff { .. }) => {
                let replug = shell::invocation();
                let text = format!(
                    "the host exited during `{}` of {id}: see `{replug} events --recent` or `{replug} status`",
                    harmless(&call.method)
                );
                Err(CliError::Refused(text))
            }
            Err(error) => Err(error),
        }
    }
}

/// The error of a command whose call has failed.
pub(super) fn failed(failure: &CallFailure) -> CliError {
    CliError::Refused(match failure.own() {
        Some(own) => own_error(own),
        None => harmless(failure.message()),
    })
}

/// The text for a plugin's own error: its message, and below it the other fields.
fn own_error(error: &Value) -> String {
    let bare = |value: &Value| harmless(&bare(value));
    let Value::Object(fields) = error else { return bare(error) };
    let Some(message) = fields.get("message") else { return escaped(&format!("{error:#}")).into_owned() };
    // `code` comes first, then `details`, then all other fields.
    let rank = |key: &str| match key {
        "code" => 0,
        "details" => 1,
        _ => 2,
    };
    let mut rest: Vec<_> =
        fields.iter().filter(|(key, value)| *key != "message" && !is_empty(value)).collect();
    rest.sort_by_key(|(key, _)| rank(key));
    let width = rest.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines = rest.iter().map(|(key, value)| {
        let key = harmless(key);
        format!("\n  {DIM}{key:width$}{DIM:#}  {}", bare(value))
    });
    format!("{}{}", bare(message), lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(error: &Value) -> String {
        anstream::adapter::strip_str(&own_error(error)).to_string()
    }

    #[test]
    fn an_error_prints_its_message_then_its_code_and_details() {
        let error =
            json!({ "details": { "a": "1" }, "code": "divide_by_zero", "message": "cannot divide by zero" });
        assert_eq!(
            plain(&error),
            "cannot divide by zero\n  code     divide_by_zero\n  details  {\"a\":\"1\"}"
        );
    }

    #[test]
    fn an_error_without_a_message_prints_as_text_or_as_json() {
        assert_eq!(plain(&json!("too late")), "too late");
        assert_eq!(plain(&json!({ "TooLate": 3 })), "{\n  \"TooLate\": 3\n}");
        assert_eq!(own_error(&json!("\u{1b}[2Jx")), "[2Jx");
    }
}
