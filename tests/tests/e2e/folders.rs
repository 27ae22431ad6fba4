//! Plugin folders that are added piece by piece, removed, moved or replaced while the host runs.

use replug::{Event, EventKind};
use replug_tests::{Hold, Lab, misbehave};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    cell::RefCell,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Waits until the plugin is stopped, and returns the reason. No build may fail before that.
fn stopped(lab: &mut Lab) -> String {
    lab.wait_for(|event| match &event.kind {
        EventKind::BuildFailed { error, .. } => panic!("the host has built a removed plugin: {error}"),
        EventKind::PluginStopped { reason } => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn a_plugin_is_stopped_without_a_build_when_its_folder_is_deleted() {
    let mut lab = Lab::new("folder-deleted-under-it");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    // The manifest is removed first. Otherwise, a build could begin before the host notices that the manifest is
    // missing.
    fs::remove_file(lab.path("plugin.toml")).unwrap();
    fs::remove_dir_all(lab.path("")).unwrap();
    assert_eq!(stopped(&mut lab), "its folder or manifest is gone");
}

#[test]
fn a_plugin_is_stopped_without_a_build_when_its_folder_is_moved_away() {
    let mut lab = Lab::new("folder-moved-out");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    fs::rename(lab.path(""), lab.dir().join("elsewhere")).unwrap();
    assert_eq!(stopped(&mut lab), "its folder or manifest is gone");
}

#[test]
fn a_plugin_keeps_its_state_and_is_watched_when_its_folder_is_renamed() {
    let mut lab = Lab::new("folder-renamed");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    lab.probe().increment(3).unwrap();
    lab.told_since();
    let renamed = lab.plugins_dir().join("renamed");
    fs::rename(lab.path(""), &renamed).unwrap();
    let is_as_before = lab.wait_for(|event| match &event.kind {
        EventKind::PluginStopped { .. } | EventKind::Reloaded { .. } => Some(false),
        EventKind::BuildUnchanged { .. } => Some(true),
        _ => None,
    });
    assert!(is_as_before, "the same generation keeps serving");
    assert_eq!(lab.host().info(&lab.id()).unwrap().path, fs::canonicalize(&renamed).unwrap());

    fs::write(renamed.join("plugin.tmp"), misbehave("version=2")).unwrap();
    fs::rename(renamed.join("plugin.tmp"), renamed.join("plugin.so")).unwrap();
    lab.reloaded();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 3));
    fs::rename(renamed, lab.dir().join("elsewhere")).unwrap();
    assert_eq!(stopped(&mut lab), "its folder or manifest is gone");
}

/// Changes the target of a link atomically.
fn lead(link: &Path, to: &Path) {
    let next = link.with_extension("next");
    symlink(to, &next).unwrap();
    fs::rename(&next, link).unwrap();
}

/// Waits until the plugin serves this version with the state of the previous version. The plugin must not be stopped
/// before that.
fn moved_to(lab: &mut Lab, version: u64) {
    lab.wait_for(|event| match &event.kind {
        EventKind::PluginStopped { reason } => panic!("{reason}"),
        EventKind::Reloaded { .. } => Some(()),
        _ => None,
    });
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (version, 3));
}

#[test]
fn a_plugin_behind_a_link_keeps_its_state_when_the_link_changes() {
    let mut lab = Lab::new("release-linked");
    let (first, second) = (lab.dir().join("releases/1"), lab.dir().join("releases/2"));
    let link = lab.plugins_dir().join("release-linked");
    for release in [&second, &first] {
        fs::create_dir_all(release).unwrap();
        lead(&link, release);
        lab.set_manifest("binary = \"plugin.so\"");
        lab.write("plugin.so", misbehave(if *release == first { "version=1" } else { "version=2" }));
    }
    lab.start_watching();
    lab.probe().increment(3).unwrap();
    lab.told_since();
    lead(&link, &second);
    moved_to(&mut lab, 2);
    assert_eq!(lab.host().info(&lab.id()).unwrap().path, fs::canonicalize(&second).unwrap());
    // The new folder is watched.
    lab.write("plugin.so", misbehave("version=4"));
    moved_to(&mut lab, 4);
}

#[test]
fn a_plugins_folder_behind_a_link_follows_the_link_to_a_new_release() {
    let mut lab = Lab::new("releases-linked");
    let (link, releases) = (lab.plugins_dir(), lab.dir().join("releases"));
    fs::remove_dir(&link).unwrap();
    for version in [2, 1] {
        fs::create_dir_all(releases.join(format!("{version}/plugins"))).unwrap();
        lead(&link, &releases.join(format!("{version}/plugins")));
        lab.set_manifest("binary = \"plugin.so\"");
        lab.write("plugin.so", misbehave(&format!("version={version}")));
    }
    lab.start_watching();
    lab.probe().increment(3).unwrap();
    lab.told_since();
    lead(&link, &releases.join("2/plugins"));
    moved_to(&mut lab, 2);
}

#[test]
fn two_plugins_can_exchange_the_names_of_their_folders() {
    let mut lab = Lab::new("exchanged");
    lab.install(misbehave("version=1"));
    lab.neighbour("other", "id = \"dev.test.other\"\nbinary = \"plugin.so\"", misbehave("version=7"));
    lab.start_watching();
    lab.probe().increment(3).unwrap();
    lab.told_since();
    let (own, other) = (lab.path(""), lab.plugins_dir().join("other"));
    renameat_with(CWD, &own, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    for _ in 0..2 {
        lab.wait_for(|event| match &event.kind {
            EventKind::PluginStopped { reason } => panic!("{reason}"),
            EventKind::PluginDiscovered { .. } => Some(()),
            _ => None,
        });
    }
    // The host executes this reload after all earlier commands for the plugin.
    lab.host().reload(&lab.id()).wait().unwrap();
    let path = |id: &str| lab.host().info(id).unwrap().path;
    assert_eq!((path(&lab.id()), path("dev.test.other")), (other, own.components().collect()));
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 3));
}

#[test]
fn an_edit_without_a_manifest_is_built_when_the_manifest_is_back() {
    let mut lab = Lab::new("manifest-back");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    lab.told_since();
    let next = misbehave("version=2");
    fs::rename(lab.path("plugin.toml"), lab.dir().join("aside")).unwrap();
    lab.write("plugin.so", next);
    fs::rename(lab.dir().join("aside"), lab.path("plugin.toml")).unwrap();
    lab.reloaded();
    assert_eq!(lab.probe().version(), Ok(2));
}

/// An invalid plugin, whose versions are all rejected immediately. The host processes changes in order, so a rejection
/// shows that it has processed all earlier changes.
struct Barrier(u32);

impl Barrier {
    const ID: &str = "dev.test.barrier";

    fn is_own(event: &Event) -> bool {
        event.plugin.as_ref().is_some_and(|plugin| plugin.as_str() == Self::ID)
    }

    /// Saves a new version, and waits until it is rejected. Returns the failures of other plugins that were reported
    /// before that.
    fn pass(&mut self, lab: &mut Lab) -> Vec<String> {
        self.0 += 1;
        let file = lab.plugins_dir().join("barrier/plugin.so");
        fs::write(file.with_extension("tmp"), format!("{:0>99}", self.0)).unwrap();
        fs::rename(file.with_extension("tmp"), file).unwrap();
        let mut failures = Vec::new();
        loop {
            let (is_own, error) = lab.wait_for(|event| Some((Self::is_own(event), failure(&event.kind)?)));
            if is_own {
                return failures;
            }
            failures.push(error);
        }
    }
}

fn failure(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::DiscoveryFailed { error, .. }
        | EventKind::BuildFailed { error, .. }
        | EventKind::ReloadFailed { error, .. } => Some(error.clone()),
        _ => None,
    }
}

#[test]
fn a_plugin_that_is_copied_piece_by_piece_causes_no_error() {
    let mut lab = Lab::new("copied");
    lab.neighbour("barrier", "id = \"dev.test.barrier\"\nbinary = \"plugin.so\"", "0".repeat(99));
    lab.start_watching();
    let (mut barrier, artifact) = (Barrier(0), misbehave("version=7"));
    for attempt in 1.. {
        let manifest = format!("id = \"dev.test.copied-{attempt}\"\nbinary = \"plugin.so\"\n");
        let folder = lab.plugins_dir().join(format!("copied-{attempt}"));
        fs::create_dir(&folder).unwrap();
        let (mut longest, mut failures) = (Duration::ZERO, Vec::new());
        for (name, content, half) in
            [("plugin.toml", manifest.as_bytes(), 10), ("plugin.so", &artifact, artifact.len() / 2)]
        {
            let mut file = File::create(folder.join(name)).unwrap();
            for piece in [&content[..half], &content[half..]] {
                let began = Instant::now();
                failures.extend(barrier.pass(&mut lab));
                file.write_all(piece).unwrap();
                longest = longest.max(began.elapsed());
            }
        }
        let failures = RefCell::new(failures);
        lab.wait_for(|event| {
            // Failures of the barrier's plugin are expected. One may be left to read: the plugin also fails at the start
            // of the host, and `pass` may have waited for that failure instead of its own.
            failures.borrow_mut().extend(failure(&event.kind).filter(|_| !Barrier::is_own(event)));
            matches!(event.kind, EventKind::Reloaded { .. }).then_some(())
        });
        // If a file stays incomplete for longer than this, the host may report it. Then the test tries again.
        if longest < Duration::from_millis(200) {
            assert_eq!(*failures.borrow(), Vec::<String>::new());
            break;
        }
    }
}

#[test]
fn a_manifest_that_is_edited_while_the_plugin_starts_is_read_again() {
    let mut lab = Lab::new("edited-at-start");
    let hold = Hold::new(lab.dir());
    // A plugin with a build script starts from the store. At that time, the host does not know the inputs of the build
    // yet.
    lab.write_script("scripts/build.sh", "#!/bin/sh\nset -e\nmkdir -p out\ncp src/plugin.so out/plugin.so\n");
    lab.write("src/plugin.so", misbehave(&format!("do=start:say@{}", hold.path())));
    lab.set_manifest("binary = \"out/plugin.so\"\n[config]\nword = \"one\"");
    let (manifest, new) = (lab.path("plugin.toml"), lab.dir().join("new"));
    let edited = fs::read_to_string(&manifest).unwrap().replace("one", "two");
    thread::scope(|scope| {
        scope.spawn(|| drop(hold.entered()));
        lab.start();
    });
    lab.shut_down();
    thread::scope(|scope| {
        scope.spawn(|| {
            let inside = hold.entered();
            fs::write(&new, edited).unwrap();
            fs::rename(&new, &manifest).unwrap();
            drop(inside);
        });
        lab.start_watching();
    });
    lab.wait_for(|event| matches!(event.kind, EventKind::Configured { .. }).then_some(()));
    assert_eq!(lab.probe().word().unwrap(), "two");
}
