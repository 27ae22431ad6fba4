//! Plugins that share a resource of the process with the host. A plugin with its own global allocator must not free
//! memory of the host's allocator. A plugin with C code may need static thread-local storage, of which a process has
//! little.

use replug::{
    EventKind, Handle,
    event::{RetireOutcome, Stage},
    manifest::Mode,
};
use replug_builder::artifact::{inspect, inspect::StdLinkage};
use replug_tests::{
    Lab, Source, Tally,
    command::{Dev, program},
    compiled,
};
use serde_json::json;
use std::{fs, process::Command, thread};

/// An allocator that aborts the process if it frees memory of another allocator.
const TAGGED: &str = r#"
struct Tagged;

const TAG: usize = 0x7a67_7a67;

unsafe impl std::alloc::GlobalAlloc for Tagged {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        let (whole, at) = Self::whole(layout);
        unsafe {
            let place = std::alloc::System.alloc(whole).add(at);
            place.sub(8).cast::<usize>().write(TAG);
            place
        }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: std::alloc::Layout) {
        let (whole, at) = Self::whole(layout);
        unsafe {
            if place.sub(8).cast::<usize>().read() != TAG {
                std::process::abort();
            }
            std::alloc::System.dealloc(place.sub(at), whole);
        }
    }
}

impl Tagged {
    fn whole(layout: std::alloc::Layout) -> (std::alloc::Layout, usize) {
        let at = layout.align().max(16);
        (std::alloc::Layout::from_size_align(layout.size() + at, at).unwrap(), at)
    }
}

#[global_allocator]
static ALLOCATOR: Tagged = Tagged;
"#;

/// A plugin whose method `version` frees memory that libstd has allocated.
fn source(version: u64) -> Source {
    let taken = format!(
        "        let dir = std::env::current_dir().unwrap();\n        let text = dir.to_string_lossy().into_owned();\n        {version} + text.len() as u64 - dir.as_os_str().len() as u64\n"
    );
    Source::new(1).edited("        1\n", &taken)
}

fn tally(lab: &Lab) -> Handle<dyn Tally> {
    lab.host().get(&lab.id()).unwrap()
}

fn links(lab: &Lab) -> StdLinkage {
    let digest = lab.host().info(&lab.id()).unwrap().digest.unwrap();
    inspect(&lab.state_dir().join(format!("artifacts/{digest}.so"))).unwrap().std
}

#[test]
fn a_plugin_with_its_own_allocator_is_linked_to_its_own_std() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("allocator", mode);
        let tagged = source(1).edited("struct Template;", &format!("{TAGGED}\nstruct Template;"));
        lab.write_source(&tagged);
        lab.start_watching();
        lab.reloaded();
        assert_eq!(tally(&lab).version(), Ok(1), "{mode:?}");
        assert_eq!(links(&lab), StdLinkage::Static);
        lab.write("src/lib.rs", tagged.lib.replace("1 + text", "2 + text"));
        lab.reloaded();
        assert_eq!(tally(&lab).version(), Ok(2));
        assert_eq!(links(&lab), StdLinkage::Static);
        // After the allocator has been removed, the plugin is linked to the shared std again.
        lab.write("src/lib.rs", source(3).lib);
        lab.reloaded();
        assert_eq!(tally(&lab).version(), Ok(3));
        assert!(matches!(links(&lab), StdLinkage::Shared { .. }));
    }
}

#[test]
fn an_allocator_added_to_a_dependency_is_found_after_an_edit() {
    let mut lab = Lab::in_mode("allocator-below", Mode::InProcess);
    let mut source = source(1)
        .with("below/Cargo.toml", "[package]\nname = \"below\"\nedition = \"2024\"\n")
        .with("below/src/lib.rs", "//! Nothing yet.\n");
    source.cargo_toml =
        source.cargo_toml.replace("[dependencies]\n", "[dependencies]\nbelow = { path = \"below\" }\n");
    source.lib.push_str("use below as _;\n");
    lab.write_source(&source);
    lab.start_watching();
    lab.reloaded();
    assert!(matches!(links(&lab), StdLinkage::Shared { .. }));
    lab.write("below/src/lib.rs", TAGGED);
    lab.reloaded();
    assert_eq!(tally(&lab).version(), Ok(1));
    assert_eq!(links(&lab), StdLinkage::Static);
}

#[test]
fn preflight_rejects_a_prebuilt_plugin_with_two_allocators() {
    let mut lab = Lab::new("mixed-allocators");
    let folder = lab.dir().join("elsewhere");
    let tagged = source(1).edited("struct Template;", &format!("{TAGGED}\nstruct Template;"));
    for (path, content) in tagged.files("mixed-allocators") {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let libdir = Command::new("rustc").args(["--print", "target-libdir"]).output().unwrap().stdout;
    let run_path = format!("-Clink-arg=-Wl,-rpath,{}", String::from_utf8(libdir).unwrap().trim());
    compiled::put(&folder.join("out"));
    let mut cargo = Command::new("cargo");
    cargo.args(["rustc", "--quiet", "--lib", "--target-dir", "out", "--", "-Cprefer-dynamic", &run_path]);
    assert!(cargo.current_dir(&folder).status().unwrap().success());
    lab.install(fs::read(folder.join("out/debug/libmisbehave_mixed_allocators.so")).unwrap());
    lab.start();
    let (stage, error) = lab.reload_failed();
    assert_eq!(stage, Stage::Preflight);
    assert!(error.contains("mixes two allocators: it has a `#[global_allocator]`"), "{error}");
}

/// A plugin whose method `version` reads static thread-local data of `bytes` bytes.
fn static_tls(bytes: usize) -> Source {
    let build = r#"//! Compiles the C code.
fn main() {
    println!("cargo::rerun-if-changed=block.c");
    let object = format!("{}/block.o", std::env::var("OUT_DIR").unwrap());
    let args = ["-c", "-fPIC", "-ftls-model=initial-exec", "block.c", "-o", &object];
    assert!(std::process::Command::new("cc").args(args).status().unwrap().success());
    println!("cargo::rustc-link-arg={object}");
}
"#;
    Source::new(1)
        .edited("        1\n", "        unsafe { block_version() }\n")
        .edited(
            "struct Template;",
            "unsafe extern \"C\" {\n    fn block_version() -> u64;\n}\n\nstruct Template;",
        )
        .with("build.rs", build)
        .with("block.c", block(1, bytes))
}

fn block(version: usize, bytes: usize) -> String {
    format!(
        "static __thread unsigned long block[{}] = {{ {version} }};\nunsigned long block_version(void) {{ return block[0]; }}\n",
        bytes / 8
    )
}

#[test]
fn a_plugin_moves_to_a_process_when_static_tls_runs_out() {
    let mut lab = Lab::in_mode("static-tls", Mode::Auto);
    lab.write_source(&static_tls(256));
    lab.start_watching();
    lab.reloaded();
    let runs_in = |lab: &Lab| lab.host().info(&lab.id()).unwrap().runs_in;
    for version in 2..=4 {
        lab.write("block.c", block(version, 256));
        lab.reloaded();
        assert_eq!(tally(&lab).version(), Ok(version as u64));
    }
    assert_eq!(runs_in(&lab), Some(Mode::Process));
    let detail = lab.host().info(&lab.id()).unwrap().detail;
    assert!(detail.contains("bytes of static thread-local storage"), "{detail}");
    lab.host().stop(&lab.id()).wait().unwrap();
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!((tally(&lab).version(), runs_in(&lab)), (Ok(4), Some(Mode::Process)));
    drop(lab);

    // By now, this process has no static thread-local storage left for a plugin that must run in it.
    let mut lab = Lab::in_mode("static-tls", Mode::InProcess);
    lab.write_source(&static_tls(256));
    lab.start();
    let refused = lab.wait_for(|event| match &event.kind {
        EventKind::ReloadFailed { stage: Stage::Preflight, error, .. } => Some(error.clone()),
        _ => None,
    });
    assert!(refused.contains("GLIBC_TUNABLES=glibc.rtld.optional_static_tls="), "{refused}");
}

#[test]
fn static_tls_of_an_unloaded_plugin_is_used_by_its_next_start() {
    let mut lab = Lab::in_mode("static-tls-again", Mode::Auto);
    lab.set_manifest("[reload]\nunload = \"verified\"\ndrain_timeout = \"10s\"");
    lab.write_source(&static_tls(256));
    lab.start();
    for _ in 0..5 {
        let tally = tally(&lab);
        assert_eq!(thread::spawn(move || tally.version()).join().unwrap(), Ok(1));
        assert_eq!(lab.host().info(&lab.id()).unwrap().runs_in, Some(Mode::InProcess));
        lab.host().stop(&lab.id()).wait().unwrap();
        assert_eq!(lab.retired().1, RetireOutcome::Unloaded);
        lab.host().start(&lab.id()).wait().unwrap();
    }
}

#[test]
fn a_plugin_for_which_the_loader_has_no_tls_left_runs_in_a_process() {
    let mut lab = Lab::new("no-room");
    lab.write_source(&static_tls(64 << 10));
    // The command is a new process, in which no plugin uses static thread-local storage yet. So the preflight allows
    // any amount, and it is the loader that rejects the library.
    let call = |lab: &Lab| {
        let mut command = Command::new(program());
        command.arg("call").arg("--plugins").arg(lab.plugins_dir()).arg("--state-dir").arg(lab.state_dir());
        let output = command.args([&lab.id(), "version"]).output().unwrap();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    lab.set_manifest("mode = \"in-process\"");
    let (answer, error) = call(&lab);
    assert!(answer.is_empty() && error.contains("static TLS block"), "{answer} {error}");
    assert!(error.contains("-ftls-model=global-dynamic"), "{error}");
    lab.set_manifest("");
    let (answer, error) = call(&lab);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).ok(), Some(json!(1)), "{answer} {error}");
    let mut host = Dev::start_as(&lab, "run", &[]);
    let reason = host.wait_for("plugin_demoted")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("the host cannot load it: ") && reason.contains("static TLS"), "{reason}");
    assert!(host.interrupt().success());
}
