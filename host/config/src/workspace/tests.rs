//! Tests with cargo workspaces and cargo configurations.

use super::*;

/// Creates a temporary folder with these files, given as names and contents. A name that ends in `/` becomes a folder.
pub(crate) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for (name, text) in files {
        let path = root.join(name);
        match name.strip_suffix('/') {
            Some(_) => fs::create_dir_all(&path).unwrap(),
            None => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
            }
        }
    }
    (dir, root)
}

const PACKAGE: &str = "[package]\nname = \"x\"\n";

fn root_of(folder: &Path) -> Option<PathBuf> {
    Workspace::around(folder).map(|workspace| workspace.root)
}

#[test]
fn the_nearest_workspace_table_or_else_the_nearest_package_is_found() {
    let (_dir, root) = tree(&[
        ("ws/Cargo.toml", "[workspace]\nmembers = [\"plugins/*\"]\n"),
        ("ws/plugins/a/Cargo.toml", PACKAGE),
        ("ws/plugins/own/Cargo.toml", "[package]\nname = \"own\"\n[workspace]\n"),
        ("ws/plugins/own/src/", ""),
        ("app/Cargo.toml", PACKAGE),
        ("app/plugins/b/Cargo.toml", PACKAGE),
        ("app/plugins/b/src/", ""),
        ("broken/Cargo.toml", "[workspace]\nmembers = [\"plugins/*\"\n"),
        ("broken/plugins/", ""),
    ]);
    for folder in ["ws", "ws/plugins", "ws/plugins/a", "ws/plugins/not-there-yet"] {
        assert_eq!(root_of(&root.join(folder)), Some(root.join("ws")), "{folder}");
    }
    assert_eq!(root_of(&root.join("ws/plugins/own/src")), Some(root.join("ws/plugins/own")));
    assert_eq!(root_of(&root.join("app/plugins")), Some(root.join("app")));
    assert_eq!(root_of(&root.join("app/plugins/b/src")), Some(root.join("app/plugins/b")));
    assert_eq!(
        root_of(&root.join("broken/plugins")),
        Some(root.join("broken")),
        "the Cargo.toml is invalid while it is being edited"
    );
    assert_eq!(root_of(&root), None);
}

#[test]
fn the_nearest_configuration_that_sets_the_target_folder_applies() {
    let (_dir, root) = tree(&[
        (".cargo/config.toml", "[build]\ntarget-dir = \"shared\"\n"),
        ("ws/Cargo.toml", "[workspace]\n"),
        ("ws/plugins/", ""),
        ("near/Cargo.toml", "[workspace]\n"),
        ("near/.cargo/config.toml", "[build]\ntarget-dir = \"/elsewhere\"\n"),
        ("other/Cargo.toml", "[workspace]\n"),
        ("other/.cargo/config.toml", "[build]\njobs = 1\n"),
    ]);
    let target = |folder: &str| configured_target_dir(&root.join(folder));
    assert_eq!(target("ws"), Some(root.join("shared")));
    assert_eq!(target("near"), Some("/elsewhere".into()));
    assert_eq!(target("other"), Some(root.join("shared")), "the nearer configuration does not set it");
}
