//! Hosts whose folders are on a FUSE file system or on an overlay.

use replug::manifest::Mode;
use replug_tests::{Lab, command::Dev, misbehave, mounts::Mount};
use std::{fs, path::Path};

/// Replaces the plugin's artifact in `plugins`, which may be another path of the plugins folder.
fn put(plugins: &Path, lab: &Lab, version: u64) {
    let folder = plugins.join(lab.path("").strip_prefix(lab.plugins_dir()).unwrap());
    fs::write(folder.join("plugin.tmp"), misbehave(&format!("version={version}"))).unwrap();
    fs::rename(folder.join("plugin.tmp"), folder.join("plugin.so")).unwrap();
}

#[test]
fn a_plugins_folder_on_fuse_is_watched_from_both_sides() {
    let mut lab = Lab::new("fuse-plugins");
    let behind = lab.dir().join("behind");
    let Some(_mount) = Mount::fuse(&behind, &lab.plugins_dir()) else { return };
    lab.install(misbehave("version=1"));
    lab.start_watching();
    lab.reloaded();
    // The first change is made in the mounted folder. The second change is made in the folder behind it, which causes
    // no event in the mounted folder.
    put(&lab.plugins_dir(), &lab, 2);
    lab.reloaded();
    assert_eq!(lab.probe().version(), Ok(2));
    put(&behind, &lab, 3);
    lab.reloaded();
    assert_eq!(lab.probe().version(), Ok(3));
    lab.shut_down();
}

/// A program that runs the lab's plugins. The test's own process must not map files of a file system that the test
/// unmounts.
fn started(lab: &Lab) -> Dev {
    let mut host = Dev::embedder(lab, env!("CARGO_BIN_EXE_embedder"));
    host.wait_for("host_started");
    host
}

#[test]
fn a_state_folder_on_fuse_keeps_everything_over_a_restart() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("fuse-state", mode);
        let Some(_mount) = Mount::fuse(&lab.dir().join("behind"), &lab.state_dir()) else { return };
        lab.install(misbehave("version=1"));
        let id = lab.id();
        let mut host = started(&lab);
        let serves = |host: &mut Dev, version: u64| {
            assert_eq!(host.ask(&format!("call {id} version null"))["result"], version, "{mode:?}");
            assert_eq!(host.ask(&format!("call {id} value null"))["result"], 5, "{mode:?}");
        };
        host.ask(&format!("call {id} increment [5]"));
        lab.install(misbehave("version=2"));
        host.ask(&format!("reload {id}"));
        serves(&mut host, 2);
        host.ask(&format!("rollback {id}"));
        serves(&mut host, 1);
        host.ask(&format!("reload {id}"));
        let runs = || -> Vec<_> {
            let runs = fs::read_dir(lab.state_dir().join("run")).unwrap();
            runs.map(|run| run.unwrap().path()).collect()
        };
        let first = runs();
        assert!(host.leave().success());
        let mut host = started(&lab);
        serves(&mut host, 2);
        // FUSE keeps mapped files until their process has exited, so the folder of the first host may have remained.
        assert!(runs().len() == 1 && runs() != first, "{mode:?}: {first:?}, {:?}", runs());
        assert!(host.leave().success());
    }
}

#[test]
fn a_crash_with_the_state_folder_on_fuse_is_attributed() {
    let mut lab = Lab::new("fuse-crash");
    let Some(_mount) = Mount::fuse(&lab.dir().join("behind"), &lab.state_dir()) else { return };
    lab.install(misbehave("version=1"));
    let mut host = started(&lab);
    host.send(&format!("call {} misbehave [\"write-to-null\"]", lab.id()));
    let demoted = host.wait_for("plugin_demoted");
    assert_eq!(demoted["plugin"], lab.id());
    assert_eq!((&demoted["method"], &demoted["signal"]), (&"misbehave".into(), &"SIGSEGV".into()));
    assert_eq!(host.ask(&format!("call {} version null", lab.id()))["result"], 1, "it runs in a process now");
    assert!(host.leave().success());
}

#[test]
fn folders_on_an_overlay_are_watched_and_keep_the_state() {
    let mut lab = Lab::new("overlay");
    lab.install(misbehave("version=1"));
    fs::create_dir(lab.state_dir()).unwrap();
    let mounts = [lab.plugins_dir(), lab.state_dir()].map(|folder| {
        let layers = lab.dir().join("layers").join(folder.file_name().unwrap());
        Mount::overlay(&folder, &layers)
    });
    if mounts.iter().any(Option::is_none) {
        return;
    }
    lab.start_watching();
    lab.reloaded();
    assert_eq!(lab.probe().increment(5), Ok(5));
    // The write copies the artifact from the lower layer to the upper one.
    fs::write(lab.path("plugin.so"), misbehave("version=2")).unwrap();
    lab.reloaded();
    assert_eq!((lab.probe().version(), lab.probe().value()), (Ok(2), Ok(5)));
    put(&lab.plugins_dir(), &lab, 3);
    lab.reloaded();
    lab.shut_down();
    lab.start();
    assert_eq!((lab.probe().version(), lab.probe().value()), (Ok(3), Ok(5)));
    lab.shut_down();
    lab.assert_clean();
}
