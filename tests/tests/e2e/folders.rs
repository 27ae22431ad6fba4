//! Folders of plugins that go while the host runs.

use replug::EventKind;
use replug_tests::{Lab, misbehave};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;

/// Waits until the plugin was stopped, and says why; a build that fails on the way is none of its own making.
fn stopped(lab: &mut Lab) -> String {
    lab.wait_for(|event| match &event.kind {
        EventKind::BuildFailed { error, .. } => panic!("a plugin that is gone was built: {error}"),
        EventKind::PluginStopped { reason } => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn a_plugin_whose_folder_is_deleted_is_stopped_and_nothing_is_said_of_a_build() {
    let mut lab = Lab::new("folder-deleted-under-it");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    // In this order: what goes before the manifest may be built before that is missed.
    fs::remove_file(lab.path("plugin.toml")).unwrap();
    fs::remove_dir_all(lab.path("")).unwrap();
    assert_eq!(stopped(&mut lab), "its folder or manifest is gone");
    lab.finish();
}

#[test]
fn a_plugin_whose_folder_is_moved_out_is_stopped_and_nothing_is_said_of_a_build() {
    let mut lab = Lab::new("folder-moved-out");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    fs::rename(lab.path(""), lab.dir().join("elsewhere")).unwrap();
    assert_eq!(stopped(&mut lab), "its folder or manifest is gone");
    lab.finish();
}

#[test]
fn a_plugin_whose_folder_gets_another_name_goes_on_with_its_state_and_is_followed_there() {
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
    assert!(is_as_before, "the generation that serves is the same");
    assert_eq!(lab.host().info(&lab.id()).unwrap().path, fs::canonicalize(&renamed).unwrap());

    fs::write(renamed.join("plugin.tmp"), misbehave("version=2")).unwrap();
    fs::rename(renamed.join("plugin.tmp"), renamed.join("plugin.so")).unwrap();
    lab.reloaded();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 3));
    fs::rename(renamed, lab.dir().join("elsewhere")).unwrap();
    assert_eq!(stopped(&mut lab), "its folder or manifest is gone");
    lab.finish();
}

#[test]
fn two_plugins_may_exchange_the_names_of_their_folders() {
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
    // After all else that is to be done with it.
    lab.host().reload(&lab.id()).wait().unwrap();
    let path = |id: &str| lab.host().info(id).unwrap().path;
    assert_eq!((path(&lab.id()), path("dev.test.other")), (other, own.components().collect()));
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 3));
    lab.finish();
}

#[test]
fn what_changes_while_the_manifest_is_missing_is_built_when_it_is_back() {
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
    lab.finish();
}
