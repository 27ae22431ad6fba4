//! The environment of a host: missing, unreadable or full folders, and broken plugins next to working ones.

use replug::{EventKind, Host, Status, manifest};
use replug_builder::{artifact::inspect, build::Builder};
use replug_tests::{Lab, Source, misbehave, skipped};
use std::{
    env, fs,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

#[test]
fn a_missing_plugins_folder_or_a_file_in_its_place_is_an_error() {
    let lab = Lab::new("no-folder");
    let missing = lab.dir().join("nowhere");
    let error = Host::builder().plugins(&missing).build().wait().unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}: no such folder; create it, or pass the folder that holds your plugins",
            missing.display()
        )
    );
    let file = lab.dir().join("file");
    fs::write(&file, "").unwrap();
    let error = Host::builder().plugins(&file).build().wait().unwrap_err().to_string();
    assert!(error.contains("not a folder; pass the folder that holds your plugins"), "{error}");
}

/// Runs `test` of this program again with `command`, and returns the output. Returns `None` if the command does not
/// work on this machine.
fn again(test: &str, mut command: Command, variable: (&str, &Path)) -> Option<String> {
    let output = command.args(["--exact", test, "--nocapture"]).env(variable.0, variable.1).output().ok()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    text.contains("running 1 test").then(|| {
        assert!(output.status.success(), "{text}");
        text
    })
}

#[test]
fn an_unreadable_plugins_folder_is_an_error_that_names_the_cause() {
    const DIR: &str = "REPLUG_TEST_UNREADABLE";
    if let Some(dir) = env::var_os(DIR) {
        let error = Host::builder().plugins(&dir).build().wait().unwrap_err().to_string();
        assert!(error.contains("cannot be read: Permission denied"), "{error}");
        assert!(error.contains("give this user access to it"), "{error}");
        return;
    }
    let lab = Lab::new("unreadable");
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(lab.plugins_dir(), fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    if fs::read_dir(lab.plugins_dir()).is_ok() {
        // Root can read everything, so another user runs the test.
        command.uid(65534).gid(65534);
    }
    let test = "world::an_unreadable_plugins_folder_is_an_error_that_names_the_cause";
    if again(test, command, (DIR, &lab.plugins_dir())).is_none() {
        skipped("root can read every folder, and other users cannot run this program");
    }
}

#[test]
fn an_unreadable_folder_is_reported_and_used_once_readable() {
    const NOBODY: &str = "REPLUG_TEST_NOBODY";
    if env::var_os(NOBODY).is_none() && rustix::process::geteuid().is_root() {
        // Root can read everything, so another user runs the test.
        let mut command = Command::new(env::current_exe().unwrap());
        command.uid(65534).gid(65534).current_dir("/");
        let test = "world::an_unreadable_folder_is_reported_and_used_once_readable";
        if again(test, command, (NOBODY, Path::new("/"))).is_none() {
            skipped("root can read every folder, and other users cannot run this program");
        }
        return;
    }
    let lab = Lab::new("closed");
    let folder = lab.plugins_dir().join("closed");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plugin.toml"), "id = \"dev.test.closed\"\nauto_start = false\n").unwrap();
    let open_to = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    open_to(0o000);
    let builder = Host::builder().plugins(lab.plugins_dir()).state_dir(lab.state_dir());
    let mut events = builder.events();
    let host = builder.watch(true).build().wait().expect("an unreadable folder does not affect the host");
    let mut next = |wanted: fn(&EventKind) -> bool| {
        let mut all = std::iter::from_fn(|| events.next_blocking());
        all.find(|event| wanted(&event.kind)).expect("the host keeps running").kind.clone()
    };
    let EventKind::DiscoveryFailed { path, error } =
        next(|kind| matches!(kind, EventKind::DiscoveryFailed { .. }))
    else {
        unreachable!()
    };
    assert!(path == folder && error.contains("cannot be read: Permission denied"), "{error}");
    // A folder that is added later is reported, too.
    let late = lab.plugins_dir().join("late");
    fs::DirBuilder::new().mode(0o000).create(&late).unwrap();
    next(|kind| matches!(kind, EventKind::DiscoveryFailed { path, .. } if path.ends_with("late")));
    fs::remove_dir(late).unwrap();
    open_to(0o755);
    next(|kind| matches!(kind, EventKind::PluginDiscovered { .. }));
    host.shutdown().wait();
}

#[test]
fn a_full_disk_leaves_the_old_version_serving() {
    const DIR: &str = "REPLUG_TEST_FULL_DISK";
    if let Some(dir) = env::var_os(DIR) {
        let mut lab = Lab::new("full-disk");
        let artifact = misbehave("version=1");
        fs::create_dir_all(lab.state_dir()).unwrap();
        let file = lab.dir().join("it.so");
        fs::write(&file, &artifact).unwrap();
        let std = fs::metadata(inspect(&file).unwrap().shared_std().unwrap()).unwrap().len() as usize;
        let kibibytes = (artifact.len() * 3 / 2 + std) / 1024;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "none"]).arg(&dir);
        assert!(mount.status().unwrap().success(), "the small file system is mounted");
        std::os::unix::fs::symlink(&dir, lab.state_dir().join("artifacts")).unwrap();
        lab.install(artifact);
        lab.start();
        lab.probe().increment(5).unwrap();
        let error = lab.refused(misbehave("version=2"));
        assert!(error.contains("store failed: no space for"), "{error}");
        assert!(
            error.contains("free some space, or keep fewer artifacts; the content of the store is unchanged"),
            "{error}"
        );
        assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 5));
        return;
    }
    let mut probe = Command::new("unshare");
    let allowed = probe.args(["--map-root-user", "--mount", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        skipped("a small disk cannot be mounted here without a user namespace");
        return;
    }
    // This call builds the fixture, because the child process below cannot build it in its user namespace.
    misbehave("");
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount"]).arg(env::current_exe().unwrap());
    let test = "world::a_full_disk_leaves_the_old_version_serving";
    assert!(again(test, command, (DIR, dir.path())).is_some(), "the test did not run in its namespace");
}

#[test]
fn an_error_names_a_state_folder_that_is_mounted_noexec() {
    const DIR: &str = "REPLUG_TEST_NOEXEC";
    if let Some(dir) = env::var_os(DIR) {
        let lab = Lab::new("noexec");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "noexec", "none"]).arg(&dir);
        assert!(mount.status().unwrap().success(), "the file system is mounted");
        let state = Path::new(&dir).join("state");
        let builder = Host::builder().plugins(lab.plugins_dir()).state_dir(&state);
        let error = builder.build().wait().unwrap_err().to_string();
        assert!(error.contains(state.to_str().unwrap()), "{error}");
        assert!(error.contains("is mounted `noexec`") && error.contains("`state_dir`"), "{error}");

        let source = lab.dir().join("source");
        for (path, content) in Source::new(1).files("noexec") {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::write(source.join("plugin.toml"), "id = \"dev.test.noexec\"").unwrap();
        let manifest = manifest::read(&source).unwrap();
        let target = Path::new(&dir).join("target");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let built = runtime.block_on(Builder::new(target.clone()).build(&manifest));
        let error = built.unwrap_err().to_string();
        assert!(error.contains(target.to_str().unwrap()) && error.contains("is mounted `noexec`"), "{error}");
        assert!(error.contains("CARGO_TARGET_DIR"), "{error}");
        return;
    }
    let mut probe = Command::new("unshare");
    let allowed = probe.args(["--map-root-user", "--mount", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        skipped("a file system cannot be mounted here without a user namespace");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount"]).arg(env::current_exe().unwrap());
    let test = "world::an_error_names_a_state_folder_that_is_mounted_noexec";
    assert!(again(test, command, (DIR, dir.path())).is_some(), "the test did not run in its namespace");
}

#[test]
fn a_moved_plugins_folder_is_reported_and_stops_no_plugin() {
    let mut lab = Lab::new("folder-removed");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    lab.probe().increment(5).unwrap();
    fs::rename(lab.plugins_dir(), lab.dir().join("away")).unwrap();
    let error = lab.discovery_failed();
    assert!(error.contains("no such folder; create it"), "{error}");
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 5));
    fs::rename(lab.dir().join("away"), lab.plugins_dir()).unwrap();
    lab.install(misbehave("version=2"));
    while lab.probe().version().unwrap() != 2 {
        lab.reloaded();
    }
    assert_eq!(lab.probe().value().unwrap(), 5);
}

#[test]
fn a_call_into_a_deleted_plugins_folder_succeeds_or_names_the_cause() {
    let mut lab = Lab::new("folder-deleted");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    lab.probe().increment(5).unwrap();
    let probe = lab.probe();
    fs::remove_dir_all(lab.plugins_dir()).unwrap();
    lab.wait_for(|event| match &event.kind {
        EventKind::DiscoveryFailed { .. } | EventKind::PluginStopped { .. } => Some(()),
        _ => None,
    });
    match probe.value() {
        Ok(value) => assert_eq!(value, 5),
        // The host has noticed the removal of the plugin's folder before that of the plugins folder.
        Err(error) => assert!(error.to_string().contains("its folder or manifest is gone"), "{error}"),
    }
}

#[test]
fn broken_manifests_do_not_prevent_other_plugins_from_starting() {
    let mut lab = Lab::new("neighbours");
    lab.install(misbehave("version=1"));
    lab.neighbour("a-empty", b"", b"");
    lab.neighbour("b-outside", b"id = \"dev.test.outside\"\nbinary = \"../../secret.so\"", b"");
    lab.neighbour("z-duplicate", b"id = \"dev.test.neighbours\"", b"");
    lab.neighbour("c-illegal", b"id = \"Nonsense\"", b"");
    fs::create_dir(lab.plugins_dir().join("d-no-plugin")).unwrap();
    lab.start();
    let mut errors: Vec<_> = (0..4).map(|_| lab.discovery_failed()).collect();
    errors.sort();
    assert!(
        errors[0].contains("a-empty/plugin.toml: the manifest is empty; it needs at least `id ="),
        "{errors:?}"
    );
    assert!(errors[1].contains("b-outside/plugin.toml:2: `binary`"), "{errors:?}");
    assert!(errors[2].contains("c-illegal/plugin.toml:1: illegal plugin id \"Nonsense\""), "{errors:?}");
    assert!(
        errors[3].contains("z-duplicate/plugin.toml: duplicate id `dev.test.neighbours`, already used by"),
        "{errors:?}"
    );
    assert_eq!(lab.probe().version().unwrap(), 1);
    assert_eq!(lab.host().plugins().len(), 1);
    assert_eq!(lab.host().info(&lab.id()).unwrap().status, Status::Ready);
}

#[test]
fn a_copy_of_a_running_plugin_is_reported_and_ignored() {
    let mut lab = Lab::new("original");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    let manifest = format!("id = \"{}\"\nbinary = \"plugin.so\"", lab.id());
    // The path of the copy sorts before that of the running plugin.
    lab.neighbour("a-copy", manifest, misbehave("version=2"));
    let error = lab.discovery_failed();
    assert!(
        error.contains("plugins/a-copy/plugin.toml: duplicate id `dev.test.original`, already used by"),
        "{error}"
    );
    assert!(error.contains("plugins/original/plugin.toml; this plugin is ignored"), "{error}");
    assert_eq!(lab.probe().version().unwrap(), 1);
    fs::remove_dir_all(lab.path("")).unwrap();
    // For a moment, there may be no plugin with this id.
    lab.reloaded();
    assert_eq!(lab.probe().version(), Ok(2));
}

#[test]
fn a_shutdown_stops_the_plugins_in_reverse_order() {
    let mut lab = Lab::new("b-second");
    lab.install(misbehave("version=1"));
    lab.neighbour("a", "id = \"dev.test.a-first\"\nbinary = \"plugin.so\"", misbehave("version=2"));
    lab.neighbour(
        "c",
        "id = \"dev.test.c-third\"\nbinary = \"plugin.so\"",
        misbehave("version=3 panic=stop"),
    );
    lab.start();
    lab.host().shutdown().wait();
    let stopped = |lab: &mut Lab| {
        lab.wait_for(|event| match event.kind {
            EventKind::PluginStopped { .. } => event.plugin.as_ref().map(|plugin| plugin.short().to_owned()),
            EventKind::HostStopped => Some("the host".into()),
            _ => None,
        })
    };
    assert_eq!([(); 4].map(|()| stopped(&mut lab)), ["c-third", "b-second", "a-first", "the host"]);
}
