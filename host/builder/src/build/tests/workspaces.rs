//! Tests of concurrent builds, in one workspace and in separate workspaces.

use super::*;

#[tokio::test]
async fn plugins_of_a_workspace_without_a_lock_file_build_concurrently() {
    let bench = Bench::new();
    bench.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"one\", \"two\", \"three\", \"four\"]\nresolver = \"3\"\n",
    );
    let names = ["one", "two", "three", "four"];
    for name in names {
        bench.write(&format!("{name}/Cargo.toml"), &CARGO_TOML.replace("tiny-one", name));
        bench.write(&format!("{name}/src/lib.rs"), GOOD);
        bench.write(&format!("{name}/plugin.toml"), &format!("id = 'dev.example.{name}'"));
    }
    let builder = Arc::new(Builder::new(bench.path("../build")));
    let builds = names.map(|name| {
        let (builder, root) = (builder.clone(), bench.path(name));
        tokio::spawn(async move { builder.build(&manifest::read(&root).unwrap()).await })
    });
    for build in builds {
        build.await.unwrap().unwrap();
    }
}

/// A build script that opens one end of a named pipe. This blocks until another script opens the other end.
const RENDEZVOUS: &str = r#"
fn main() {
    std::fs::OpenOptions::new().END(true).open(PIPE).unwrap();
}
"#;

#[tokio::test]
async fn builds_in_separate_workspaces_run_in_parallel() {
    let bench = Bench::new();
    let builder = Arc::new(Builder::new(bench.path("../build")));
    let pipe = bench.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let builds = [("one", "read"), ("two", "write")].map(|(own, end)| {
        let script = RENDEZVOUS.replace("END", end).replace("PIPE", &format!("{pipe:?}"));
        bench.write(&format!("{own}/Cargo.toml"), &CARGO_TOML.replace("tiny-one", own));
        bench.write(&format!("{own}/src/lib.rs"), GOOD);
        bench.write(&format!("{own}/build.rs"), &script);
        bench.write(&format!("{own}/plugin.toml"), &format!("id = 'dev.example.{own}'"));
        let (builder, root) = (builder.clone(), bench.path(own));
        tokio::spawn(async move { builder.build(&manifest::read(&root).unwrap()).await })
    });
    for build in builds {
        build.await.unwrap().unwrap();
    }
}
