//! The results of trials. The host loads the same file that it has tried. A version that has started before needs no
//! trial, unless its configuration has changed or a reload hands it a state.

use replug::{EventKind, manifest::Mode};
use replug_tests::{Hold, Lab, misbehave, stateless};
use std::{collections::BTreeSet, fs, process};

/// The purpose of each run of `init`, in order: `trial` or `serve`.
fn inits(lab: &Lab) -> Vec<String> {
    fs::read_to_string(lab.dir().join("note")).unwrap_or_default().lines().map(Into::into).collect()
}

fn noting(lab: &Lab, version: u64) -> String {
    format!("version={version} note={}", lab.dir().join("note").display())
}

#[test]
fn a_version_is_tried_once_for_several_starts() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("tried-once", mode);
        lab.install(stateless(&noting(&lab, 1)));
        lab.start();
        assert_eq!(inits(&lab), ["trial", "serve"]);
        lab.host().stop(&lab.id()).wait().unwrap();
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(inits(&lab), ["trial", "serve", "serve"], "{mode:?}: a start after a stop");
        lab.install(stateless(&noting(&lab, 2)));
        lab.reload().unwrap();
        assert_eq!(inits(&lab)[3..], ["trial", "serve"], "{mode:?}: another artifact");
        lab.host().rollback(&lab.id(), None).wait().unwrap();
        assert_eq!(inits(&lab)[5..], ["serve"], "{mode:?}: a rollback");
        assert_eq!(lab.probe().version(), Ok(1));
    }
}

#[test]
fn a_process_that_died_is_started_again_without_a_trial() {
    let mut lab = Lab::in_mode("restarted-at-once", Mode::Process);
    lab.install(misbehave(&noting(&lab, 1)));
    lab.start();
    lab.kill();
    lab.restarted();
    assert_eq!(inits(&lab), ["trial", "serve", "serve"]);
}

#[test]
fn a_changed_configuration_causes_another_trial() {
    let mut lab = Lab::in_mode("configured-again", Mode::InProcess);
    lab.install(stateless(&noting(&lab, 1)));
    lab.start_watching();
    for (word, since) in [("one", 2), ("two", 4)] {
        let config = format!("[config]\nword = \"{word}\"\nrestart = true");
        lab.set_manifest(&format!("binary = \"plugin.so\"\n{config}"));
        lab.wait_for(|event| matches!(event.kind, EventKind::Configured { .. }).then_some(()));
        assert_eq!(inits(&lab)[since..], ["trial", "serve"]);
        assert_eq!(lab.probe().word().as_deref(), Ok(word));
    }
}

#[test]
fn each_reload_of_a_plugin_with_state_has_a_trial() {
    let mut lab = Lab::in_mode("with-state", Mode::InProcess);
    lab.install(misbehave(&noting(&lab, 1)));
    lab.start();
    lab.probe().increment(3).unwrap();
    lab.reload().unwrap();
    assert_eq!(inits(&lab), ["trial", "serve", "trial", "serve"]);
    assert_eq!(lab.probe().value(), Ok(3));
}

#[test]
fn a_failed_trial_is_repeated() {
    let mut lab = Lab::in_mode("failed-before", Mode::InProcess);
    lab.install(stateless(&format!("{} unhealthy=tired", noting(&lab, 1))));
    lab.start();
    assert!(lab.reload().unwrap_err().to_string().contains("tired"));
    assert_eq!(inits(&lab), ["trial", "trial"]);
}

/// The private copies of artifacts that a process has mapped, by device and inode.
fn copies_in(lab: &Lab, pid: u32) -> BTreeSet<(String, String)> {
    let run = lab.state_dir().join("run").canonicalize().unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let copies = maps.lines().filter(|line| line.contains(run.to_str().unwrap()) && line.ends_with(".so"));
    let identity = |line: &str| {
        let mut fields = line.split_whitespace().skip(3).map(str::to_owned);
        Some((fields.next()?, fields.next()?))
    };
    copies.filter_map(identity).collect()
}

/// The digests of the artifacts in the store.
fn stored(lab: &Lab) -> BTreeSet<String> {
    let files = fs::read_dir(lab.state_dir().join("artifacts")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".so").map(str::to_owned)).collect()
}

#[test]
fn the_file_that_passed_the_trial_is_loaded_despite_replacements() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("the-same-file", mode);
        lab.install(misbehave("version=1"));
        lab.start();
        let serving = || lab.host().info(&lab.id()).unwrap().process_id;
        let (first, known) = (serving(), stored(&lab));
        let hold = Hold::new(lab.dir());
        // `health` is the last step of a trial and of a start. Here, the trial waits in it.
        lab.write("plugin.so", misbehave(&format!("version=2 do=health:linger@{}", hold.path())));
        let reloading = lab.host().reload(&lab.id());
        let on_trial = hold.entered();
        let others = lab.processes().into_iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        let tried: Vec<_> = others.filter(|pid| Some(*pid) != first).collect();
        let [tried] = tried[..] else { panic!("there is not exactly one process on trial: {tried:?}") };
        let tried = copies_in(&lab, tried);
        assert_eq!(tried.len(), 1, "{mode:?}");
        let before = copies_in(&lab, serving().unwrap_or(process::id()));
        assert!(before.is_disjoint(&tried), "{mode:?}: the tried file is not loaded yet");
        // From here on, every place from which the host could copy the artifact again contains another artifact.
        let digests: Vec<_> = stored(&lab).difference(&known).cloned().collect();
        let [digest] = &digests[..] else {
            panic!("there is not exactly one new file in the store: {digests:?}")
        };
        let other = misbehave("version=3");
        lab.write("plugin.so", &other);
        fs::write(lab.dir().join("new"), &other).unwrap();
        let place = lab.state_dir().join(format!("artifacts/{digest}.so"));
        fs::rename(lab.dir().join("new"), place).unwrap();
        drop(on_trial);
        // This `health` belongs to the start of the new version.
        drop(hold.entered());
        reloading.wait().unwrap();
        assert!(tried.is_subset(&copies_in(&lab, serving().unwrap_or(process::id()))), "{mode:?}");
        assert_eq!(lab.probe().version(), Ok(2));
        let info = lab.host().info(&lab.id()).unwrap();
        assert_eq!(info.digest.unwrap().to_string(), *digest, "{mode:?}");
    }
}
