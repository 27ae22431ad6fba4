//! The plugin in a child as handles see it: one [`Remote`] for each of its interfaces.

use super::child::Child;
use crate::wire::{Answer, Call, MAX_FRAME, WireError};
use replug_api::{
    CallError,
    abi::{Encoding, Refusal},
    describe::Interface,
    remote::{Remote, Reply},
};
use std::{sync::Arc, time::Duration};

/// A frame without its header, generously counted.
const MAX_ARGUMENTS: usize = MAX_FRAME as usize - 64;

/// One interface of the plugin in a child.
pub(super) struct Face {
    pub(super) child: Arc<Child>,
    pub(super) plugin: String,
    pub(super) generation: u64,
    /// Its place in `export!`.
    pub(super) index: u16,
    pub(super) interface: Interface,
    pub(super) call_timeout: Option<Duration>,
}

impl Remote for Face {
    fn plugin(&self) -> &str {
        &self.plugin
    }

    fn invoke(&self, method: u32, encoding: Encoding, arguments: &[u8]) -> Result<Reply, CallError> {
        if arguments.len() > MAX_ARGUMENTS {
            return Err(CallError::BadArguments {
                plugin: self.plugin.clone(),
                method: self.method(method),
                message: format!(
                    "{} bytes are more than the {MAX_ARGUMENTS} that can be passed to a process",
                    arguments.len()
                ),
            });
        }
        let call = Call { interface: self.index, method, encoding, arguments };
        let answered = self.child.on_lane(self.call_timeout, |lane| {
            let answer = lane.call(call)?;
            Ok(self.read(method, answer))
        });
        match answered {
            Ok(reply) => reply,
            Err(WireError::TimedOut) => {
                // The plugin cannot be stopped in the middle of a method; its process can.
                self.child.kill();
                Err(CallError::Timeout {
                    plugin: self.plugin.clone(),
                    generation: self.generation,
                    method: self.method(method),
                    after_ms: self.call_timeout.map_or(0, |it| it.as_millis().try_into().unwrap_or(u64::MAX)),
                })
            }
            Err(_) => {
                let (death, stderr_tail) = self.child.death();
                Err(CallError::Crashed {
                    plugin: self.plugin.clone(),
                    generation: self.generation,
                    method: self.method(method),
                    death,
                    stderr_tail,
                })
            }
        }
    }
}

impl Face {
    fn read(&self, method: u32, answer: Answer<'_>) -> Result<Reply, CallError> {
        let plugin = self.plugin.clone();
        match answer {
            Answer::Returned(bytes) => Ok(Reply::Returned(bytes.to_vec())),
            Answer::Refused(bytes) => Ok(Reply::Refused(Refusal::Error(bytes.to_vec().into()))),
            Answer::BadArguments(text) => Ok(Reply::Refused(Refusal::BadArguments(text.into()))),
            Answer::BadResult(text) => Ok(Reply::Refused(Refusal::BadResult(text.into()))),
            Answer::Panicked { location, message } => Err(CallError::Panicked {
                plugin,
                generation: self.generation,
                method: self.method(method),
                message: message.into(),
                location: location.into(),
            }),
            Answer::NoSuchMethod => Err(CallError::NotImplemented {
                plugin,
                generation: self.generation,
                method: self.method(method),
            }),
            Answer::NotRunning => {
                Err(CallError::NotRunning { plugin, reason: "its instance is gone; `start` it".into() })
            }
            Answer::Broken(text) => {
                Err(CallError::NotRunning { plugin, reason: format!("its process: {text}") })
            }
        }
    }

    fn method(&self, index: u32) -> String {
        let method = self.interface.methods.get(index as usize);
        method.map_or_else(|| format!("method {index}"), |method| method.name.clone())
    }
}
