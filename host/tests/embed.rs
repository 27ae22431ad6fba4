//! A test of a program that embeds a host and uses no control plane, as with `default-features = false`. It calls a
//! plugin by type and by name, reloads it, and rolls it back.

use replug::{EventKind, Handle, Host, Interface, describe};
use replug_interfaces::Calculator;
use serde_json::json;
use std::{env, fs, path::Path, process::Command};

const ID: &str = "dev.replug.calculator";

/// Builds the calculator with cargo, as its author does. Returns the content of the library.
fn calculator() -> Vec<u8> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `--package replug-cli` makes cargo select the same features as for the command `replug`, so that it uses the
    // dependencies that it has already compiled for that command.
    let cargo =
        cargo.args(["build", "--quiet", "--lib", "--package", "calculator", "--package", "replug-cli"]);
    let cargo = cargo.current_dir(workspace);
    assert!(cargo.status().is_ok_and(|status| status.success()), "the calculator builds");
    let test = env::current_exe().expect("this program has a path");
    let built = test.ancestors().nth(2).expect("the test is in `deps` of the target folder");
    fs::read(built.join("libcalculator.so")).expect("the library was built")
}

/// The methods of the serving version.
fn methods(host: &Host) -> Vec<String> {
    let interfaces: Vec<describe::Interface> = host.plugin(ID).expect("the plugin exists").interfaces();
    interfaces.into_iter().flat_map(|interface| interface.methods).map(|method| method.name).collect()
}

/// The number of plugins that implement an interface.
fn count<I: Interface + ?Sized>(host: &Host) -> usize {
    host.find::<I>().len()
}

#[test]
fn a_program_without_a_control_plane_calls_swaps_and_rolls_back() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("plugins/calculator");
    fs::create_dir_all(&plugin).unwrap();
    fs::write(plugin.join("plugin.toml"), format!("id = \"{ID}\"\nbinary = \"plugin.so\"\n")).unwrap();
    let first = calculator();
    fs::write(plugin.join("plugin.so"), &first).unwrap();
    let builder = Host::builder().plugins(dir.path().join("plugins")).state_dir(dir.path().join("state"));
    let mut events = builder.events();
    let host = builder.crash_record(false).build().wait().unwrap();

    let typed: Handle<dyn Calculator> = host.get(ID).unwrap();
    assert_eq!(typed.add(10.0, 5.0).unwrap(), 15.0);
    assert_eq!(count::<dyn Calculator>(&host), 1);
    assert!(methods(&host).contains(&"multiply".to_owned()), "{:?}", methods(&host));
    let named = host.plugin(ID).unwrap();
    assert_eq!(named.invoke_json("multiply", json!({ "a": 6, "b": 7 })).wait().unwrap(), json!(42.0));

    // Bytes after the end of an ELF file are ignored, so this is another artifact with the same code.
    fs::write(plugin.join("plugin.so"), [&first[..], b"2"].concat()).unwrap();
    assert_eq!(host.reload(ID).wait().unwrap().0, 2);
    assert_eq!(typed.history().unwrap().len(), 2, "the state was handed over");
    assert_eq!(host.rollback(ID, None).wait().unwrap().0, 3);
    assert_eq!(typed.add(1.0, 1.0).unwrap(), 2.0);

    host.shutdown().wait();
    let mut swaps = 0;
    while let Some(event) = events.try_next() {
        swaps += usize::from(matches!(event.kind, EventKind::Reloaded { .. }));
    }
    assert_eq!(swaps, 3);
}
