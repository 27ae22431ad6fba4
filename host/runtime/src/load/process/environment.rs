//! The environment of a child: the variables that any program needs, and those that the plugin's manifest names. The
//! other variables of the host are not passed on, because they may contain secrets.

use replug_model::limits::EnvVar;
use replug_wire::SHIM_KEEPS_CAPABILITIES;
use std::{
    env,
    ffi::{OsStr, OsString},
    process::Command,
};

/// The variables that each child inherits, besides `LC_*`: the language and the time zone of its user, the folders
/// of programs and temporary files, and the variables that control backtraces, logs and the dynamic loader. The child
/// needs the variables of the loader, because it is the same program as the host.
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

/// Which environment and capabilities a child gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment<'a> {
    /// An environment of the child's own: the variables that every child inherits, those that the plugin's manifest
    /// names, and no capabilities.
    Own(&'a [EnvVar]),
    /// The environment and the capabilities of the host, for the trial of a version that will run in the host's
    /// process.
    Host,
}

impl Environment<'_> {
    /// Applies the environment to the command.
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

/// The variables of a child: those of the host that every child inherits or that the manifest passes on, and those that
/// the manifest sets. `named` has the entries of the manifest.
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
    // The variables that the manifest sets come last, and replace inherited ones.
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
