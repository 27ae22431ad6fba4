//! A plugin that is called without pause while another plugin misbehaves.

use crate::{Lab, Probe, misbehave};
use replug::{Handle, manifest::Mode};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

/// A plugin in a child process, next to the lab's plugin, and a thread that calls it without pause.
#[derive(Debug)]
pub struct Neighbour {
    done: Arc<AtomicBool>,
    caller: JoinHandle<u64>,
}

impl Neighbour {
    /// The id of the neighbour.
    pub fn id(lab: &Lab) -> String {
        format!("{}.neighbour", lab.id())
    }

    /// Installs the neighbour next to the lab's plugin, before the host starts.
    pub fn install(lab: &Lab) {
        let manifest = format!("id = \"{}\"\nmode = \"process\"\nbinary = \"plugin.so\"", Self::id(lab));
        lab.neighbour("neighbour", manifest, misbehave("version=100"));
    }

    /// Calls the neighbour from now on. Each call must return the correct answer.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn call(lab: &Lab) -> Self {
        let probe: Handle<dyn Probe> = lab.host().get(&Self::id(lab)).expect("the neighbour runs");
        let done = Arc::new(AtomicBool::new(false));
        let until = done.clone();
        let (begin, begun) = mpsc::channel();
        let caller = thread::spawn(move || {
            let mut calls = 0;
            while calls == 0 || !until.load(Ordering::Relaxed) {
                assert_eq!(probe.increment(1), Ok(calls + 1), "the neighbour's call");
                calls += 1;
                if calls == 1 {
                    let _ = begin.send(());
                }
                // There may be fewer CPUs than callers.
                thread::yield_now();
            }
            calls
        });
        // An error means that the first call has failed. `assert_unharmed` reports it.
        let _ = begun.recv();
        Self { done, caller }
    }

    /// Installs the neighbour, starts the host, and calls the neighbour from then on.
    ///
    /// # Panics
    ///
    /// If they do not start.
    pub fn start(lab: &mut Lab) -> Self {
        Self::install(lab);
        lab.start();
        Self::call(lab)
    }

    /// Checks that the neighbour was called, and that no call has failed.
    ///
    /// # Panics
    ///
    /// If a call has failed, or none was made.
    pub fn assert_unharmed(self) {
        self.done.store(true, Ordering::Relaxed);
        assert!(self.caller.join().expect("no call of the neighbour fails") > 0);
    }
}

/// Starts a host with two plugins, both in child processes: the lab's plugin in version 1, which misbehaves as
/// `directives` say (see [`misbehave`]), with `tables` added to its manifest; and its neighbour, which is called from
/// then on.
///
/// # Panics
///
/// If they do not start.
pub fn running(name: &str, directives: &str, tables: &str) -> (Lab, Neighbour) {
    let mut lab = Lab::in_mode(name, Mode::Process);
    lab.install_with(misbehave(&format!("version=1 {directives}")), tables);
    let neighbour = Neighbour::start(&mut lab);
    (lab, neighbour)
}
