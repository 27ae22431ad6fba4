//! Calls and builds that last until the test ends them: a call that waits at a socket, and a build that never ends by
//! itself.

use crate::Lab;
use std::{
    fs::File,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
};

/// A socket to which a plugin connects.
#[derive(Debug)]
pub struct Hold {
    listener: UnixListener,
    path: PathBuf,
}

impl Hold {
    /// A socket in `dir`.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    pub fn new(dir: &Path) -> Self {
        let path = dir.join("hold.sock");
        Self { listener: UnixListener::bind(&path).expect("a socket"), path }
    }

    /// The path of the socket, for the plugin.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("temporary folders have plain names")
    }

    /// Waits until the plugin has connected. The plugin's call lasts until the returned connection is dropped.
    ///
    /// # Panics
    ///
    /// If the socket fails.
    #[must_use = "the call ends when this is dropped"]
    pub fn entered(&self) -> UnixStream {
        self.listener.accept().expect("a connection").0
    }
}

/// A build script that never ends. It starts a process that never ends either.
#[derive(Debug)]
pub struct Hang {
    pipe: PathBuf,
}

impl Hang {
    /// Saves the script as the plugin's build script.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn save(lab: &Lab) -> Self {
        // The process that the script starts opens this pipe as soon as it runs.
        let pipe = lab.dir().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()), "a pipe");
        lab.write_script("scripts/build.sh", &format!("#!/bin/sh\n(exec >{pipe:?}; sleep 100000) & wait\n"));
        Self { pipe }
    }

    /// Waits until the script and the process that it starts run.
    ///
    /// # Panics
    ///
    /// If the pipe fails.
    pub fn started(&self, lab: &Lab) {
        // Opening one end of a pipe waits until the other end is opened.
        drop(File::open(&self.pipe).expect("the pipe"));
        assert!(!lab.children().is_empty(), "the script is running");
    }
}
