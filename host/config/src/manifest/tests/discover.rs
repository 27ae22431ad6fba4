//! Tests of the discovery of plugins in a plugins folder.

use super::*;

#[test]
fn plugins_are_found_in_direct_subfolders_and_sorted_by_id() {
    let folder = Folder::new();
    folder.write("one/plugin.toml", "id = 'z.z'");
    folder.write("two/plugin.json", "{\"id\": \"a.a\"}");
    folder.write("interfaces/src/lib.rs", "");
    folder.write("deep/er/plugin.toml", "id = 'too.deep'");
    folder.write(".hidden/plugin.toml", "id = 'hid.den'");
    folder.write("target/plugin.toml", "id = 'tar.get'");
    folder.write("README.md", "");
    folder.write("broken/plugin.toml", "id = ");
    let found = discover(folder.0.path()).unwrap();
    let ids: Vec<_> = found.manifests.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["a.a", "z.z"]);
    assert_eq!(found.problems.len(), 1);
    assert!(found.problems[0].path().ends_with("broken/plugin.toml"));
}

#[test]
fn a_duplicate_id_keeps_the_first_path_and_the_error_names_both_paths() {
    let folder = Folder::new();
    folder.write("b/plugin.toml", "id = 'dev.same'");
    folder.write("a/plugin.toml", "id = 'dev.same'");
    let found = discover(folder.0.path()).unwrap();
    assert!(found.manifests[0].root.ends_with("a"));
    let message = found.problems[0].to_string();
    assert!(message.contains("b/plugin.toml: duplicate id `dev.same`, already used by"), "{message}");
    assert!(message.contains("a/plugin.toml; this plugin is ignored until"), "{message}");
}

#[test]
fn a_duplicate_id_keeps_the_plugin_that_the_host_serves() {
    let folder = Folder::new();
    for name in ["a", "b", "c"] {
        folder.write(&format!("{name}/plugin.toml"), "id = 'dev.same'");
    }
    let root = folder.0.path().join("b").canonicalize().unwrap();
    let served = [("dev.same".parse().unwrap(), root.clone())].into();
    let found = Defaults::default().discover_beside(folder.0.path(), &served).unwrap();
    assert_eq!(found.manifests.iter().map(|it| &it.root).collect::<Vec<_>>(), [&root]);
    let named: Vec<_> =
        found.problems.iter().map(|it| it.path().parent().unwrap().file_name().unwrap()).collect();
    assert_eq!(named, ["a", "c"], "the plugins that are not served are problems");
    assert!(
        found
            .problems
            .iter()
            .all(|it| it.to_string().contains("already used by") && it.to_string().contains("b/plugin.toml;"))
    );
}

#[test]
fn a_plugins_folder_with_a_manifest_is_a_single_plugin() {
    let folder = Folder::with("plugin.toml", "id = 'dev.self'");
    folder.write("sub/plugin.toml", "id = 'dev.sub'");
    let found = discover(folder.0.path()).unwrap();
    assert_eq!(found.manifests.len(), 1);
    assert_eq!(found.manifests[0].id.as_str(), "dev.self");
}

#[test]
fn discover_reports_what_to_do_about_an_unusable_plugins_folder() {
    let folder = Folder::with("file", "");
    let message = discover(&folder.0.path().join("none")).unwrap_err().to_string();
    assert!(message.contains("none: no such folder; create it, or pass the folder"), "{message}");
    let message = discover(&folder.0.path().join("file")).unwrap_err().to_string();
    assert!(message.contains("file: not a folder; pass the folder"), "{message}");
}
