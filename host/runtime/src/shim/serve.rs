//! The control connection: executes the host's requests one by one, and answers each.

use super::{ShimError, limits, reporter::Reporter, service::Service};
use crate::{
    load::in_process::{self, Instance, Opened},
    registry::body::{Body as _, LifecycleError},
};
use parking_lot::RwLock;
use replug_api::abi::CreateParams;
use replug_wire::{
    Channel, Create, DescriptorReceiver, Failure, Health, Hello, Kind, Load, Message, Reply, Request,
    RequestId, State, WireError,
};
use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The instance, while there is one. A call holds the read lock. Dropping the instance takes the write lock, and so
/// waits for all calls.
pub(super) type SharedInstance = Arc<RwLock<Option<Instance>>>;

/// Why the shim no longer serves the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The host requested the exit.
    Asked,
    /// The host closed the connection.
    HungUp,
}

/// A shim that has completed the handshake with its host.
pub(super) struct Shim {
    control: Channel<DescriptorReceiver>,
    reporter: Reporter,
    /// The library, until an instance is made from it.
    opened: Option<Opened>,
    /// Whether a library was loaded. One process opens only one.
    loaded: bool,
    instance: SharedInstance,
}

impl Shim {
    /// Exchanges greetings with the host. Returns the shim, its lifeline, and the service, which is not running yet.
    pub(super) fn meet(control: UnixStream) -> Result<(Self, OwnedFd, Service), ShimError> {
        let mut control = Channel::new(DescriptorReceiver::new(control));
        let greeting = Hello::decode(control.receive()?.of_kind(Kind::Hello)?)?;
        // The shim answers before it checks the host's greeting, so that the host can report a difference of the
        // protocol versions.
        control.send(Kind::Hello, RequestId::default(), [&Hello::own().encode()?, &[]])?;
        greeting.check()?;
        let mut take = || control.stream_mut().take().ok_or(WireError::NoDescriptor("hello"));
        let (events, lifeline, service) = (take()?, take()?, take()?);
        let reporter = Reporter::new(UnixStream::from(events));
        let instance = SharedInstance::default();
        let service = Service::new(UnixStream::from(service), instance.clone(), reporter.clone());
        let shim = Self { control, reporter, opened: None, loaded: false, instance };
        Ok((shim, lifeline, service))
    }

    /// Serves the host until the host requests the exit, or closes the connection.
    pub(super) fn serve(&mut self) -> Result<Ended, ShimError> {
        loop {
            let frame = match self.control.receive() {
                Ok(frame) => frame,
                Err(WireError::Closed | WireError::Unread) => return Ok(Ended::HungUp),
                Err(error) => return Err(error.into()),
            };
            let id = frame.id;
            let request = Request::decode(frame.of_kind(Kind::Request)?)?;
            // The plugin's own panics are contained. A panic that is caught here comes from the shim itself.
            let done = catch_unwind(AssertUnwindSafe(|| self.execute(&request)));
            let broken = |_| {
                Err(Failure::Broken {
                    message: format!("the plugin's process panicked in `{}`", request.name()),
                })
            };
            self.reply(id, done.unwrap_or_else(broken).unwrap_or_else(Reply::Failed))?;
            if request == Request::Exit {
                return Ok(Ended::Asked);
            }
        }
    }

    fn reply(&mut self, id: RequestId, reply: Reply) -> Result<(), WireError> {
        match self.control.send(Kind::Reply, id, [&reply.encode()?, &[]]) {
            Err(error @ WireError::TooLarge { .. }) => {
                let failure = Failure::Broken { message: error.to_string() };
                self.control.send(Kind::Reply, id, [&Reply::Failed(failure).encode()?, &[]])
            }
            other => other,
        }
    }

    fn execute(&mut self, request: &Request) -> Result<Reply, Failure> {
        match request {
            Request::Load(load) => self.load(load),
            Request::Create(create) => self.create(create),
            Request::Start => self.step(request, Instance::start).map(done),
            Request::Stop => self.step(request, Instance::stop).map(done),
            Request::Health => {
                let (healthy, message) = self.step(request, Instance::health)?;
                Ok(Reply::Health(Health { healthy, message }))
            }
            Request::Configure { config } => self.step(request, |it| it.configure(config)).map(done),
            Request::Save => self.step(request, Instance::save).map(|state| Reply::Saved(State(state))),
            Request::Restore { from_version, state } => {
                self.step(request, |it| it.restore(*from_version, &state.0)).map(done)
            }
            Request::Destroy => self.destroy(),
            Request::Exit => Ok(Reply::Done),
        }
    }

    fn load(&mut self, load: &Load) -> Result<Reply, Failure> {
        if std::mem::replace(&mut self.loaded, true) {
            return Err(out_of_turn("load", "this process has already opened a library: start another"));
        }
        limits::apply(&load.limits)?;
        let opened = in_process::open(&load.path, load.shared_std.as_deref())?;
        let loaded = opened.describe();
        self.opened = Some(opened);
        Ok(Reply::Loaded(loaded))
    }

    fn create(&mut self, create: &Create) -> Result<Reply, Failure> {
        let opened = self.opened.take();
        let opened = opened
            .ok_or_else(|| out_of_turn("create", "there is no library, or its instance exists already"))?;
        self.reporter.set_max_level(create.max_level);
        let params = CreateParams {
            id: create.id.as_str().into(),
            generation: create.generation.0,
            data_dir: create.data_dir.to_string_lossy().as_ref().into(),
            config: create.config.as_str().into(),
            trial: create.trial,
        };
        let instance = opened.create(params, self.reporter.clone())?;
        *self.instance.write() = Some(instance);
        Ok(Reply::Done)
    }

    fn step<T>(
        &self,
        request: &Request,
        step: impl FnOnce(&Instance) -> Result<T, LifecycleError>,
    ) -> Result<T, Failure> {
        let instance = self.instance.read();
        let instance = instance.as_ref().ok_or_else(|| out_of_turn(request.name(), NO_INSTANCE))?;
        Ok(step(instance)?)
    }

    fn destroy(&mut self) -> Result<Reply, Failure> {
        let instance = self.instance.write().take();
        let instance = instance.ok_or_else(|| out_of_turn("destroy", NO_INSTANCE))?;
        // The library stays mapped, because the process exits soon.
        let (_mapped, outcome) = instance.destroy();
        outcome?;
        Ok(Reply::Done)
    }
}

const NO_INSTANCE: &str = "there is no instance: none has been created, or it has been dropped";

fn done(_: ()) -> Reply {
    Reply::Done
}

fn out_of_turn(request: &str, reason: &str) -> Failure {
    Failure::OutOfTurn { request: request.into(), reason: reason.into() }
}
