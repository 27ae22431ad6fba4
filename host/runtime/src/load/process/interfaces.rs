//! The interfaces of a plugin in a child process. Each has one [`RemoteInterface`], which handles call through the trait
//! [`Remote`].

use super::{
    child::Child,
    lanes::{Late, NoLane},
};
use crate::{
    deadline::Deadline,
    registry::{Successor, Unsent, stack_left},
};
use replug_api::{
    CallError,
    abi::{Encoding, Refusal},
    describe::Interface,
    remote::{Remote, Reply},
};
use replug_model::id::{Generation, PluginId};
use replug_wire::{Answer, Call, MAX_FRAME, WireError};
use std::{sync::Arc, time::Duration};

/// The largest number of bytes of arguments in one frame. The rest of the frame needs fewer than 64 bytes.
const MAX_ARGUMENTS: usize = MAX_FRAME as usize - 64;

/// One interface of the plugin in a child.
pub(super) struct RemoteInterface {
    pub(super) child: Arc<Child>,
    pub(super) plugin: PluginId,
    pub(super) generation: Generation,
    /// The position of the interface in `export!`.
    pub(super) index: u16,
    pub(super) interface: Interface,
    pub(super) call_timeout: Option<Duration>,
    pub(super) cancel_grace: Duration,
    pub(super) successor: Option<Successor>,
}

impl Remote for RemoteInterface {
    fn plugin(&self) -> &str {
        self.plugin.as_str()
    }

    fn stack_left(&self) -> Option<usize> {
        stack_left()
    }

    fn invoke(&self, method: u32, encoding: Encoding, arguments: &[u8]) -> Result<Reply, CallError> {
        if arguments.len() > MAX_ARGUMENTS {
            return Err(CallError::BadArguments {
                plugin: self.plugin.to_string(),
                method: self.method(method),
                message: format!(
                    "{} bytes are more than the {MAX_ARGUMENTS} that can be passed to a process",
                    arguments.len()
                ),
            });
        }
        let deadline = Deadline::of(self.plugin.as_str()).or_else(|| self.call_timeout.map(Deadline::after));
        let call = Call { interface: self.index, method, encoding, arguments };
        let mut lane = match self.child.lane() {
            Ok(lane) => lane,
            Err(NoLane::Gone) => return self.unsent(call, deadline),
            Err(NoLane::Lacking(error)) => {
                return Err(CallError::NoConnection {
                    plugin: self.plugin.to_string(),
                    method: self.method(method),
                    reason: error.to_string(),
                });
            }
        };
        lane.wire.carrier_mut().stream_mut().until(deadline.map(|it| it.until));
        let answered = lane.wire.call(call).map(|answer| {
            // `Answer::Broken` means that the shim could not serve the lane, and has closed it.
            let is_over = matches!(answer, Answer::Broken(_));
            (self.read(method, answer), is_over)
        });
        match (answered, deadline) {
            (Ok((reply, is_over)), _) => {
                if !is_over {
                    self.child.give_back(lane);
                }
                reply
            }
            (Err(WireError::TimedOut), Some(deadline)) => {
                let late = Late { method: self.method(method), deadline, grace: self.cancel_grace };
                self.child.give_up(lane, late);
                Err(CallError::Timeout {
                    plugin: self.plugin.to_string(),
                    generation: self.generation.0,
                    method: self.method(method),
                    after_ms: deadline.after_ms(),
                })
            }
            (Err(_), _) if lane.wire.awaited().is_none() => self.unsent(call, deadline),
            (Err(_), _) => Err(self.crashed(method)),
        }
    }
}

impl RemoteInterface {
    /// Makes the call on the next generation. The call cannot have begun in this generation, because this generation's
    /// process has not received it.
    #[cold]
    fn unsent(&self, call: Call<'_>, deadline: Option<Deadline>) -> Result<Reply, CallError> {
        let crashed = self.crashed(call.method);
        let method = self.interface.methods.get(call.method as usize);
        let Some((successor, method)) = self.successor.as_ref().zip(method) else { return Err(crashed) };
        // The time limit counts from the first attempt, not from its repetition.
        let _noted = deadline.map(|deadline| deadline.note(&self.plugin));
        successor(&Unsent {
            generation: self.generation,
            interface: &self.interface,
            method,
            encoding: call.encoding,
            arguments: call.arguments,
        })
    }

    /// The error of a call during which the process terminated. Waits until the cause is known.
    #[cold]
    fn crashed(&self, method: u32) -> CallError {
        let (death, stderr_tail) = self.child.death();
        CallError::Crashed {
            plugin: self.plugin.to_string(),
            generation: self.generation.0,
            method: self.method(method),
            death,
            stderr_tail,
        }
    }

    fn read(&self, method: u32, answer: Answer<'_>) -> Result<Reply, CallError> {
        let plugin = || self.plugin.to_string();
        match answer {
            Answer::Returned(bytes) => Ok(Reply::Returned(bytes.to_vec())),
            Answer::Refused(bytes) => Ok(Reply::Refused(Refusal::Error(bytes.to_vec().into()))),
            Answer::BadArguments(text) => Ok(Reply::Refused(Refusal::BadArguments(text.into()))),
            Answer::BadResult(text) => Ok(Reply::Refused(Refusal::BadResult(text.into()))),
            Answer::Panicked { location, message } => Err(CallError::Panicked {
                plugin: plugin(),
                generation: self.generation.0,
                method: self.method(method),
                message: message.into(),
                location: location.into(),
            }),
            Answer::NoSuchMethod => Err(CallError::NotImplemented {
                plugin: plugin(),
                generation: self.generation.0,
                method: self.method(method),
            }),
            Answer::NotRunning => Err(CallError::NotRunning {
                plugin: plugin(),
                reason: "its instance no longer exists; run `replug start`".into(),
            }),
            Answer::Broken(text) => Err(CallError::NotRunning { plugin: plugin(), reason: text.to_owned() }),
        }
    }

    fn method(&self, index: u32) -> String {
        let method = self.interface.methods.get(index as usize);
        method.map_or_else(|| format!("method {index}"), |method| method.name.clone())
    }
}
