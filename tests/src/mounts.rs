//! File systems that a test mounts on one of its folders.

use crate::{needs, own_process::once_in_run, wait::poll_until};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// The program that serves the FUSE file system.
const BINDFS: &str = "bindfs";

/// A mounted file system. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct Mount {
    folder: PathBuf,
    /// The process that serves the file system, if the kernel does not.
    server: Option<Child>,
}

impl Mount {
    /// Mounts a FUSE file system on `folder` that shows the content of the folder `behind`. A change that is made in
    /// `behind` causes no event in `folder`. Returns `None`, and reports that, if this machine lacks what is needed.
    ///
    /// # Panics
    ///
    /// If the mount fails although nothing is missing.
    pub fn fuse(behind: &Path, folder: &Path) -> Option<Self> {
        if !is_root("a FUSE file system") {
            return None;
        }
        // The program is installed once for all tests.
        static FOUND: OnceLock<bool> = OnceLock::new();
        let find = || (is_there() || (install() && is_there())).to_string();
        if !FOUND.get_or_init(|| once_in_run(BINDFS, find) == "true") {
            needs::skipped("bindfs is not installed; `REPLUG_INSTALL=1` installs it on Debian");
            return None;
        }
        if !Path::new("/dev/fuse").exists() {
            needs::skipped("there is no /dev/fuse");
            return None;
        }
        [behind, folder].iter().for_each(|folder| fs::create_dir_all(folder).expect("the folder"));
        let before = device(folder);
        let mut server = Command::new(BINDFS);
        // The working directory of the process must not be a folder of the test: the process would count as left behind
        // by the test.
        let server = server.arg("-f").args([behind, folder]).current_dir("/").stdin(Stdio::null());
        let mut server = server.spawn().expect("bindfs starts");
        poll_until(|| {
            let ended = server.try_wait().expect("bindfs can be waited for");
            assert!(ended.is_none(), "bindfs has ended: {ended:?}");
            device(folder) != before
        });
        Some(Self { folder: folder.to_owned(), server: Some(server) })
    }

    /// Mounts an overlay file system on `folder`. Its lower layer is the present content of the folder, and its upper
    /// layer is in `layers`. Returns `None`, and reports that, if it cannot be mounted.
    ///
    /// # Panics
    ///
    /// If a folder of a layer cannot be created.
    pub fn overlay(folder: &Path, layers: &Path) -> Option<Self> {
        if !is_root("an overlay") {
            return None;
        }
        let [upper, work] = ["upper", "work"].map(|name| {
            let layer = layers.join(name);
            fs::create_dir_all(&layer).expect("the folder of a layer");
            layer
        });
        let options =
            format!("lowerdir={},upperdir={},workdir={}", folder.display(), upper.display(), work.display());
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(folder);
        let output = mount.output().expect("mount can be run");
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            needs::skipped(&format!("an overlay cannot be mounted here: {error}"));
            return None;
        }
        Some(Self { folder: folder.to_owned(), server: None })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn is_root(to_mount: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        needs::skipped(&format!("only root can mount {to_mount}"));
    }
    is_root
}

fn device(folder: &Path) -> Option<u64> {
    fs::metadata(folder).ok().map(|it| it.dev())
}

fn is_there() -> bool {
    let asked = Command::new(BINDFS).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Installs Debian's bindfs, if that is allowed.
fn install() -> bool {
    needs::may_install() && needs::apt_install(&[BINDFS, "fuse3"])
}
