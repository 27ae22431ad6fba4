//! Tests with two compilers. Each is a script that runs the real rustc with a sysroot of its own, and states a version
//! of its own.

use super::{
    inputs::{ON_HELPER, contains_text},
    *,
};
use std::os::unix::fs::symlink;

/// What `rustc` prints for `arguments`, without the last line break.
fn rustc(arguments: &[&str]) -> String {
    let output = std::process::Command::new("rustc").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

impl Bench {
    /// Makes a toolchain in the folder `name`: `bin/rustc` and links to the libraries of the real toolchain. Its
    /// compiler says that it is of the release `1.<minor>.0`, and sets `cfg(release_<minor>)`.
    fn toolchain(&self, name: &str, minor: u32) {
        let (sysroot, libdir) = (rustc(&["--print", "sysroot"]), rustc(&["--print", "target-libdir"]));
        let own_libdir = self.path(name).join(Path::new(&libdir).strip_prefix(&sysroot).unwrap());
        fs::create_dir_all(&own_libdir).unwrap();
        for library in fs::read_dir(libdir).unwrap().flatten() {
            symlink(library.path(), own_libdir.join(library.file_name())).unwrap();
        }
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n-vV) {sysroot}/bin/rustc -vV | sed 's/1\\.[0-9]*\\.[0-9]*/1.{minor}.0/';;\n*) exec {sysroot}/bin/rustc --cfg release_{minor} --sysroot \"${{0%/bin/rustc}}\" \"$@\";;\nesac\n"
        );
        let file = format!("{name}/bin/rustc");
        self.write_program(&file, &script);
        // Some package managers set the same time for all files.
        fs::File::open(self.path(&file)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    /// Asserts that the dependency was built by the compiler of this release, and that the run path of the library
    /// leads to the libraries in `sysroot`.
    fn assert_built_with(&self, (minor, sysroot): (u32, &str), built: &Built) {
        assert!(contains_text(built, &format!("<1.{minor}>")), "{minor}");
        assert!(contains_text(built, &format!("{}/lib/rustlib/", self.path(sysroot).display())), "{sysroot}");
    }
}

/// Two toolchains, and a package whose dependency contains the release of the compiler that built it. Cargo's
/// configuration names the compiler `named`.
fn with_compiler(named: &str) -> Bench {
    let bench = Bench::with_helper(ON_HELPER);
    let says = "pub const SAYS: &str = if cfg!(release_90) { \"<1.90>\" } else { \"<1.91>\" };";
    bench.write("../helper/src/lib.rs", says);
    bench.toolchain("../one", 90);
    bench.toolchain("../two", 91);
    bench.write(".cargo/config.toml", &format!("[build]\nrustc = {named:?}\n"));
    bench
}

#[tokio::test]
async fn a_build_uses_the_compiler_that_the_configuration_names_now() {
    let bench = with_compiler("../one/bin/rustc");
    bench.assert_built_with((90, "../one"), &bench.build().await.unwrap());
    bench.write(".cargo/config.toml", "[build]\nrustc = \"../two/bin/rustc\"\n");
    bench.assert_built_with((91, "../two"), &bench.build().await.unwrap());
    bench.write("src/lib.rs", &fs::read_to_string(bench.path("src/lib.rs")).unwrap().replace("41", "42"));
    bench.assert_built_with((91, "../two"), &bench.build().await.unwrap());
}

#[tokio::test]
async fn a_compiler_that_is_replaced_at_its_path_causes_a_rebuild() {
    let bench = with_compiler("../current/bin/rustc");
    let swap = |from: &str, to: &str| {
        fs::rename(bench.path("../current"), bench.path(from)).unwrap();
        fs::rename(bench.path(to), bench.path("../current")).unwrap();
    };
    fs::rename(bench.path("../one"), bench.path("../current")).unwrap();
    bench.assert_built_with((90, "../current"), &bench.build().await.unwrap());
    swap("../one", "../two");
    bench.assert_built_with((91, "../current"), &bench.build().await.unwrap());
    swap("../two", "../one");
    bench.assert_built_with((90, "../current"), &bench.restarted().await);
}
