//! Tests with cargo workspaces, plugins folders in them, and state folders that earlier versions of replug have created.

use super::*;
use crate::workspace::BuildDir;

/// Creates a temporary folder with these files, given as names and contents. A name that ends in `/` becomes a folder.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        if !name.ends_with('/') {
            fs::write(&path, text).unwrap();
        }
    }
    (dir, root)
}

const PACKAGE: &str = "[package]\nname = \"x\"\n";

#[test]
fn the_default_is_below_the_target_folder_and_outside_the_plugins_folder() {
    let (_dir, root) =
        tree(&[("ws/Cargo.toml", "[workspace]\n"), ("ws/plugins/a/", ""), ("bare/plugins/", "")]);
    let plugins = root.join("ws/plugins");
    let place = default_state_dir(&plugins);
    let states = Workspace::around(&plugins).unwrap().states();
    assert_eq!(place.parent(), Some(&*states));
    assert!(place.file_name().unwrap().to_str().unwrap().starts_with("plugins-"), "{}", place.display());
    assert_eq!(default_state_dir(&root.join("ws/plugins/a/..")), place, "another form of the same path");
    assert_ne!(default_state_dir(&plugins.join("a")), place, "a host of one plugin has its own state folder");
    let bare = default_state_dir(&root.join("bare/plugins"));
    assert_eq!(bare.parent(), user_states().as_deref());
    assert_ne!(bare, default_state_dir(&root.join("bare")));
}

#[test]
fn the_build_folder_does_not_depend_on_the_plugins_folder() {
    let (_dir, root) = tree(&[
        ("ws/Cargo.toml", "[workspace]\n"),
        ("ws/plugins/a/", ""),
        ("loose/plugins/own/Cargo.toml", PACKAGE),
        ("loose/plugins/script/", ""),
    ]);
    for (plugins, plugin) in [("ws/plugins", "ws/plugins/a"), ("loose/plugins", "loose/plugins/own")] {
        let dir = |folder: &str| BuildDir::with(None, &default_state_dir(&root.join(folder)));
        let plugin_root = root.join(plugin);
        let of_all = dir(plugins).of(&plugin_root);
        assert_eq!(of_all, dir(plugin).of(&plugin_root), "{plugin}");
        assert_eq!(of_all, Workspace::around(&plugin_root).unwrap().states().join("build"));
    }
    let plugins = root.join("loose/plugins");
    let state = default_state_dir(&plugins);
    assert_eq!(BuildDir::with(None, &state).of(&plugins.join("script")), state.join("build"));
    let named = BuildDir::with(Some(Path::new("/var/lib/x")), &state);
    assert_eq!(named.of(&plugins.join("own")), Path::new("/var/lib/x/build"));
}

/// A workspace with the state folder of an earlier version in its plugins folder.
fn former() -> (tempfile::TempDir, PathBuf) {
    tree(&[
        ("Cargo.toml", "[workspace]\nmembers = [\"plugins/*\"]\n"),
        ("plugins/.replug/run/", ""),
        ("plugins/.replug/hosts/0123", ""),
        ("plugins/.replug/http-token", "secret"),
        ("plugins/.replug/build/ws-0123/debug/libx.so", "built"),
    ])
}

#[test]
fn the_state_of_an_earlier_version_is_moved_once() {
    let (_dir, root) = former();
    let plugins = root.join("plugins");
    assert_eq!(default_state_dir(&plugins), plugins.join(".replug"), "reading the default moves nothing");
    let place = settle_state_dir(&plugins);
    assert!(!plugins.join(".replug").exists());
    assert_eq!(place, default_state_dir(&plugins));
    assert_eq!(fs::read_to_string(place.join("http-token")).unwrap(), "secret");
    let built = BuildDir::with(None, &place).of(&plugins.join("x")).join("ws-0123/debug/libx.so");
    assert_eq!(fs::read_to_string(built).unwrap(), "built");
    assert!(!place.join("build").exists());
    fs::create_dir_all(plugins.join(".replug/run")).unwrap();
    assert_eq!(settle_state_dir(&plugins), place, "a second former folder is not moved");
    assert_eq!(fs::read_to_string(place.join("http-token")).unwrap(), "secret");
}

#[test]
fn the_state_of_an_earlier_version_is_not_moved_while_a_host_uses_it() {
    let (_dir, root) = former();
    let plugins = root.join("plugins");
    let former = plugins.join(".replug");
    let run = former.join(format!("run/{}-1", std::process::id()));
    fs::create_dir(&run).unwrap();
    assert_eq!(settle_state_dir(&plugins), former, "a host without a control plane");
    fs::remove_dir(run).unwrap();
    let claim = File::open(former.join("hosts/0123")).unwrap();
    flock(&claim, FlockOperation::LockExclusive).unwrap();
    assert_eq!(settle_state_dir(&plugins), former, "a host with a control plane");
    flock(&claim, FlockOperation::Unlock).unwrap();
    assert_ne!(settle_state_dir(&plugins), former);
}

#[test]
fn a_link_or_a_folder_that_no_host_created_is_not_moved() {
    let (_dir, root) = tree(&[
        ("Cargo.toml", "[workspace]\n"),
        ("kept/run/", ""),
        ("linked/", ""),
        ("mine/.replug/notes", "mine"),
    ]);
    std::os::unix::fs::symlink(root.join("kept"), root.join("linked/.replug")).unwrap();
    for name in ["linked", "mine"] {
        let plugins = root.join(name);
        assert_eq!(settle_state_dir(&plugins), default_state_dir(&plugins));
        assert!(plugins.join(".replug").symlink_metadata().is_ok(), "{name}");
        assert!(default_state_dir(&plugins).starts_with(Workspace::around(&root).unwrap().target_dir));
    }
}
