//! What a report says about the run: the machine, its load, the toolchain, and the versions of the systems that
//! replug is compared with.

use std::{fs, process::Command, thread};

/// Names and values for the head of a report. A value that cannot be determined is left out.
pub fn machine() -> Vec<(&'static str, String)> {
    let read = |file| fs::read_to_string(file).ok();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let model = read("/proc/cpuinfo").and_then(|text| field(&text, "model name"));
    let load = read("/proc/loadavg").map(|text| text.split(' ').take(3).collect::<Vec<_>>().join(" "));
    let go = "golang-github-hashicorp-go-plugin-dev";
    let all = [
        ("processor", model.map(|model| format!("{model}, {cpus} processors"))),
        ("memory", read("/proc/meminfo").and_then(|text| field(&text, "MemTotal"))),
        ("kernel", read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned())),
        ("load before the run (1, 5, 15 minutes)", load),
        ("compiler", output("rustc", &["--version"])),
        ("Go", output("go", &["version"])),
        ("go-plugin", output("dpkg-query", &["--show", "--showformat=${Version}", go])),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The versions of packages in a lock file of cargo.
pub fn locked(lock: &str, names: &[&str]) -> String {
    let version = |name: &&str| {
        let package = lock.split("[[package]]").find(|package| value(package, "name") == Some(name))?;
        Some(format!("{name} {}", value(package, "version")?))
    };
    names.iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

/// The value of a line such as `name = "value"`.
fn value<'a>(package: &'a str, key: &str) -> Option<&'a str> {
    package.lines().find_map(|line| {
        line.strip_prefix(key)?.strip_prefix(" = ")?.trim().strip_prefix('"')?.strip_suffix('"')
    })
}

/// The value of a line such as `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"ab\"\n\
                    version = \"0.4.0\"\nsource = \"registry\"\n";
        assert_eq!(locked(lock, &["ab", "c", "a"]), "ab 0.4.0, a 1.2.3");
    }

    #[test]
    fn a_field_is_the_text_after_its_colon() {
        let text = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU"));
        assert_eq!(field(text, "MemTotal"), None);
    }
}
