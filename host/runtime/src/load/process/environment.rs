//! What a child finds in its environment: what a program needs to run at all, and what its plugin's manifest names. The rest of
//! the host's is not the plugin's: there may be secrets in it.

use replug_model::limits::EnvVar;
use replug_wire::SHIM_KEEPS_CAPABILITIES;
use std::{
    env,
    ffi::{OsStr, OsString},
    process::Command,
};

/// What every child inherits, with `LC_*`: the language and the time zone of its user, where programs and temporary files
/// are, what it says of itself, and what the dynamic loader went by when it loaded the host, which is the same program.
const INHERITED: [&str; 11] = [
    "GLIBC_TUNABLES",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PATH",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
    "TMPDIR",
    "TZ",
];

/// Of whom a child has its environment and its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment<'a> {
    /// They are its own: see `INHERITED`, and what its manifest names; no capabilities.
    Own(&'a [EnvVar]),
    /// They are the host's: for the trial of a version that will run in the host's process.
    Host,
}

impl Environment<'_> {
    /// Has the command start its process in this.
    pub(super) fn apply(self, command: &mut Command) {
        match self {
            Self::Own(variables) => {
                command.env_clear().envs(variables_of(variables, env::vars_os()));
            }
            Self::Host => {
                command.arg(SHIM_KEEPS_CAPABILITIES);
            }
        }
    }
}

/// The variables of a child whose manifest names these, of a host that has those.
fn variables_of<'a>(
    named: &'a [EnvVar],
    host: impl Iterator<Item = (OsString, OsString)> + 'a,
) -> impl Iterator<Item = (OsString, OsString)> + 'a {
    let is_inherited = |name: &OsStr| {
        let name = name.to_string_lossy();
        INHERITED.contains(&&*name) || name.starts_with("LC_")
    };
    let passed = |name: &OsStr| named.iter().any(|it| matches!(it, EnvVar::Pass(it) if name == it.as_str()));
    let set = named.iter().filter_map(|it| match it {
        EnvVar::Set(name, value) => Some((name.into(), value.into())),
        EnvVar::Pass(_) => None,
    });
    // What the manifest sets comes last, and takes the place of what is inherited.
    host.filter(move |(name, _)| is_inherited(name) || passed(name)).chain(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_child_inherits_what_every_program_needs_and_what_its_manifest_names() {
        let host = [
            ("PATH", "/bin"),
            ("LC_TIME", "de_DE"),
            ("TZ", "UTC"),
            ("HOME", "/root"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("DATABASE_URL", "postgres://"),
            ("REPLUG_PARENT", "1:2:3"),
        ];
        let host = || host.into_iter().map(|(name, value)| (name.into(), value.into()));
        let named = [
            EnvVar::Pass("DATABASE_URL".into()),
            EnvVar::Pass("NOT_THERE".into()),
            EnvVar::Set("TZ".into(), "Europe/Berlin".into()),
            EnvVar::Set("MODE".into(), "a=b".into()),
        ];
        let found = |named: &[EnvVar]| {
            let variables: BTreeMap<_, _> = variables_of(named, host()).collect();
            let text = |it: &OsStr| it.to_string_lossy().into_owned();
            variables
                .iter()
                .map(|(name, value)| format!("{}={}", text(name), text(value)))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["LC_TIME=de_DE", "PATH=/bin", "TZ=UTC"]);
        let with_named =
            ["DATABASE_URL=postgres://", "LC_TIME=de_DE", "MODE=a=b", "PATH=/bin", "TZ=Europe/Berlin"];
        assert_eq!(found(&named), with_named);
    }
}
