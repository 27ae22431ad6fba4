//! Tests with plugin folders and manifests that appear, change and disappear.

use super::*;

#[test]
fn an_edited_manifest_is_reported_with_the_kind_manifest() {
    let mut bench = bench();
    bench.write("one/x.tmp", "id = 'dev.example.one'\nname = 'New'");
    fs::rename(bench.path("one/x.tmp"), bench.path("one/plugin.toml")).unwrap();
    let change = bench.next_change();
    assert_eq!((change.what, change.path), (What::Manifest, bench.path("one/plugin.toml")));
}

#[test]
fn an_edit_of_a_manifest_without_a_plugin_is_reported() {
    let mut bench = bench();
    bench.write("one/plugin.json", "broken");
    assert_eq!(bench.next(), Notice::PluginsChanged);
    bench.until_marker();
    bench.write("one/plugin.json", "less broken");
    assert_eq!(bench.next(), Notice::PluginsChanged);
    bench.until_marker();
    fs::remove_file(bench.path("one/plugin.json")).unwrap();
    assert_eq!(bench.next(), Notice::PluginsChanged);
}

#[test]
fn a_new_or_removed_plugin_folder_is_reported() {
    let mut bench = bench();
    fs::create_dir(bench.path("two")).unwrap();
    assert_eq!(bench.next(), Notice::PluginsChanged);
    bench.until_marker();
    bench.write("two/plugin.toml", "id = 'dev.example.two'");
    assert_eq!(bench.next(), Notice::PluginsChanged);
    bench.until_marker();
    fs::remove_dir_all(bench.path("two")).unwrap();
    assert_eq!(bench.next(), Notice::PluginsChanged);
    bench.until_marker();
    fs::rename(bench.path("one"), bench.path("elsewhere")).unwrap();
    assert_eq!(bench.next(), Notice::PluginsChanged);
}

#[test]
fn a_removed_plugin_is_no_longer_reported() {
    let mut bench = bench();
    let other: PluginId = "dev.example.two".parse().unwrap();
    fs::create_dir_all(bench.path("one/other")).unwrap();
    bench.until_marker();
    let inputs = Inputs { dirs: [bench.path("one/other")].into(), ..Inputs::default() };
    bench.watcher.set_inputs(&other, inputs).unwrap();
    bench.watcher.remove(&other);
    bench.write("one/other/lib.rs", "x");
    assert_eq!(bench.until_marker(), []);
}

#[test]
fn the_plugins_folder_is_watched_again_after_a_removal() {
    let mut bench = bench();
    let away = bench.root.with_extension("away");
    fs::rename(&bench.root, &away).unwrap();
    assert_eq!(bench.next(), Notice::PluginsChanged);
    fs::rename(&away, &bench.root).unwrap();
    bench.until_plugins_changed();
    bench.until_marker();
    bench.write("one/src/lib.rs", "fn later() {}");
    bench.until_change_of("one/src/lib.rs");
}
