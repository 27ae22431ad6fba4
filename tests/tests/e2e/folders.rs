//! Folders of plugins that go while the host runs.

use replug::EventKind;
use replug_tests::{Lab, misbehave};
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
fn what_changes_while_the_manifest_is_missing_is_built_when_it_is_back() {
    let mut lab = Lab::new("manifest-back");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    fs::rename(lab.path("plugin.toml"), lab.dir().join("aside")).unwrap();
    lab.write("plugin.so", misbehave("version=2"));
    fs::rename(lab.dir().join("aside"), lab.path("plugin.toml")).unwrap();
    while lab.probe().version().unwrap() != 2 {
        lab.reloaded();
    }
    lab.finish();
}
