//! Reloads after every way in which an editor saves a file, after plugins have been added and removed, after edits of
//! the configuration, and under load.

use replug::{EventKind, Generation, Handle, Status, metrics::ReloadOutcome};
use replug_tests::{Lab, Source, Tally, misbehave, stateless, wait::pace};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

fn save_in_place(path: &Path, content: &str) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.set_len(content.len() as u64).unwrap();
}

fn truncate_and_write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
}

fn write_elsewhere_and_rename(path: &Path, content: &str) {
    let temporary = path.with_extension("rs.new");
    fs::write(&temporary, content).unwrap();
    fs::rename(temporary, path).unwrap();
}

fn keep_a_backup_and_create(path: &Path, content: &str) {
    fs::rename(path, path.with_extension("rs~")).unwrap();
    fs::write(path, content).unwrap();
}

fn delete_and_create(path: &Path, content: &str) {
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn every_way_of_saving_a_file_loads_the_new_version() {
    let mut lab = Lab::new("editors");
    lab.write_source(&Source::new(1));
    lab.start_watching();
    let tally: Handle<dyn Tally> = lab.host().get(&lab.id()).unwrap();
    let saves = [
        save_in_place,
        truncate_and_write,
        write_elsewhere_and_rename,
        keep_a_backup_and_create,
        delete_and_create,
    ];
    for (save, version) in saves.iter().zip(2..) {
        save(&lab.path("src/lib.rs"), &Source::lib(version));
        while tally.version().unwrap() != version {
            lab.attempted();
        }
    }
}

#[test]
fn a_touched_file_with_unchanged_content_causes_no_reload() {
    let mut lab = Lab::new("touched");
    lab.write_source(&Source::new(1));
    lab.start_watching();
    let tally: Handle<dyn Tally> = lab.host().get(&lab.id()).unwrap();
    lab.told_since();
    let lib = lab.path("src/lib.rs");
    File::options().write(true).open(&lib).unwrap().set_modified(SystemTime::now()).unwrap();
    lab.write("src/lib.rs", Source::lib(1));
    lab.write("src/lib.rs", Source::lib(2));
    let builds = lab.wait_for({
        let builds = AtomicU64::new(0);
        move |event| match event.kind {
            EventKind::BuildStarted { .. } => {
                builds.fetch_add(1, Ordering::Relaxed);
                None
            }
            EventKind::Reloaded { .. } => Some(builds.load(Ordering::Relaxed)),
            _ => None,
        }
    });
    assert_eq!(builds, 1, "only the last save changes the content");
    assert_eq!((tally.version().unwrap(), Handle::generation(&tally)), (2, Some(Generation(2))));
    lab.write("src/lib.rs", format!("{}\n// A comment makes no other artifact.\n", Source::lib(2)));
    let unchanged = lab.wait_for(|event| match event.kind {
        EventKind::BuildUnchanged { .. } => Some(true),
        EventKind::Reloaded { .. } => Some(false),
        _ => None,
    });
    assert!(unchanged);
    assert_eq!(Handle::generation(&tally), Some(Generation(2)));
}

#[test]
fn after_two_hundred_saves_in_two_seconds_the_newest_source_serves() {
    let mut lab = Lab::new("many-saves");
    lab.write_source(&Source::new(0));
    lab.start_watching();
    let tally: Handle<dyn Tally> = lab.host().get(&lab.id()).unwrap();
    for version in 1..=200 {
        truncate_and_write(&lab.path("src/lib.rs"), &Source::lib(version));
        pace(Duration::from_millis(10));
        tally.version().unwrap();
    }
    // The compiler may read the source while it is empty. Such a version is rejected.
    while tally.version().unwrap() != 200 {
        lab.wait_for(|event| matches!(event.kind, EventKind::Reloaded { .. }).then_some(()));
    }
    assert!(
        Handle::generation(&tally).unwrap() < Generation(100),
        "versions that a newer save has superseded were served"
    );
}

#[test]
fn a_plugin_is_started_when_added_and_stopped_when_removed() {
    let mut lab = Lab::new("comes-and-goes");
    lab.start_watching();
    assert!(lab.host().plugins().is_empty());
    lab.install(misbehave("version=1"));
    lab.reloaded();
    let probe = lab.probe();
    assert_eq!(probe.version().unwrap(), 1);
    fs::rename(lab.path(""), lab.dir().join("away")).unwrap();
    let reason = lab.wait_for(|event| match &event.kind {
        EventKind::PluginStopped { reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "its folder or manifest is gone");
    let error = probe.version().unwrap_err().to_string();
    assert!(error.ends_with("is not running: its folder or manifest is gone"), "{error}");
    assert!(lab.host().plugin(&lab.id()).unwrap_err().to_string().contains("no plugin"));
    fs::rename(lab.dir().join("away"), lab.path("")).unwrap();
    lab.reloaded();
    assert_eq!(lab.probe().version().unwrap(), 1);
}

#[test]
fn an_invalid_configuration_is_rejected_with_its_line() {
    let mut lab = Lab::new("misconfigured");
    let config = |rest: &str| format!("binary = \"plugin.so\"\n[config]\n{rest}");
    lab.install(misbehave("version=1"));
    lab.set_manifest(&config("word = \"one\""));
    lab.start_watching();
    lab.set_manifest(&config("word = 4"));
    let (_, error) = lab.configure_failed();
    assert!(
        error.contains("[config] word: invalid type: integer `4`, expected a string [bad_config]"),
        "{error}"
    );
    assert!(error.contains("/plugin.toml:4: "), "the error does not name the line: {error}");
    let probe = lab.probe();
    assert_eq!((probe.word().unwrap(), Handle::generation(&probe)), ("one".into(), Some(Generation(1))));
}

#[test]
fn a_repaired_configuration_clears_the_error_and_fails_no_reload() {
    let mut lab = Lab::new("put-right");
    let config = |rest: &str| format!("binary = \"plugin.so\"\n[config]\n{rest}");
    lab.install(misbehave("version=1"));
    lab.set_manifest(&config("word = \"one\""));
    lab.start_watching();
    let detail = |lab: &Lab| lab.host().info(&lab.id()).unwrap().detail;
    let configured = |lab: &mut Lab| {
        lab.wait_for(|event| matches!(event.kind, EventKind::Configured { .. }).then_some(()));
    };
    lab.set_manifest(&config("word = 4"));
    assert_eq!(lab.configure_failed().0, Some(lab.path("plugin.toml").canonicalize().unwrap()));
    assert!(detail(&lab).contains("expected a string"), "{}", detail(&lab));
    lab.set_manifest(&config("word = \"two\""));
    configured(&mut lab);
    assert_eq!(detail(&lab), "");
    let reloads = lab.host().metrics().plugins.remove(0).tally.reloads;
    assert_eq!(
        reloads.into_keys().collect::<Vec<_>>(),
        [ReloadOutcome::Reloaded],
        "only the first start counts"
    );

    lab.set_manifest(&config("word = 5"));
    lab.configure_failed();
    lab.reload().unwrap_err();
    assert!(detail(&lab).contains("expected a string"), "{}", detail(&lab));
    lab.set_manifest(&config("word = \"three\""));
    configured(&mut lab);
    // The host builds again, because the rejected version may accept the new configuration. Here, the rejected version
    // has the same artifact as the serving version.
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildUnchanged { .. }).then_some(()));
    assert_eq!(detail(&lab), "", "the error of the replaced configuration is cleared");
}

#[test]
fn a_version_rejected_for_its_configuration_serves_after_a_repair() {
    let mut lab = Lab::new("fits-now");
    let config = |rest: &str| format!("binary = \"plugin.so\"\n[config]\n{rest}");
    lab.install(misbehave("version=1"));
    lab.set_manifest(&config("word = \"one\""));
    lab.start_watching();
    lab.set_manifest(&config("word = 4"));
    lab.configure_failed();
    lab.install(misbehave("version=2"));
    assert!(lab.reload_failed().1.contains("expected a string"));
    // The serving version keeps its configuration.
    assert_eq!((lab.probe().version().unwrap(), lab.probe().word().unwrap()), (1, "one".into()));
    lab.told_since();
    lab.set_manifest(&config("word = \"two\""));
    lab.reloaded();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().word().unwrap()), (2, "two".into()));
    assert_eq!(lab.host().info(&lab.id()).unwrap().detail, "");
}

#[test]
fn a_rejected_configure_command_leaves_no_error_and_names_no_file() {
    let mut lab = Lab::new("refused-order");
    lab.install(misbehave("version=1"));
    lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = \"one\"");
    lab.start();
    let configure = |lab: &Lab, config: Value| {
        let config = config.as_object().unwrap().clone();
        lab.host().configure(&lab.id(), config).wait()
    };
    configure(&lab, json!({ "word": 4 })).unwrap_err();
    let (file, error) = lab.configure_failed();
    assert_eq!(file, None);
    assert!(error.contains("expected a string") && !error.contains("plugin.toml"), "{error}");
    assert_eq!(lab.host().info(&lab.id()).unwrap().detail, "");

    // A configuration that was set while the plugin did not run is rejected at the start. That error does not name the
    // file either.
    lab.host().stop(&lab.id()).wait().unwrap();
    configure(&lab, json!({ "word": 4 })).unwrap();
    lab.host().start(&lab.id()).wait().unwrap_err();
    let (_, error) = lab.reload_failed();
    assert!(error.contains("expected a string") && !error.contains("plugin.toml"), "{error}");
}

#[test]
fn a_plugin_that_rejects_a_configuration_keeps_the_previous_one() {
    for (name, directives, words) in [
        ("on-config-fails", "fail=on_config", "failed: on_config was told to fail [told_to_fail]"),
        ("on-config-panics", "panic=on_config", "panicked: on_config was told to panic (src/lib.rs:"),
    ] {
        let mut lab = Lab::new(name);
        lab.install(misbehave(&format!("version=1 {directives}")));
        lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = \"one\"");
        lab.start_watching();
        lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = \"two\"");
        let (_, error) = lab.configure_failed();
        assert!(error.contains(&format!("`on_config` of {} {words}", lab.id())), "{error}");
        assert_eq!(lab.probe().word().unwrap(), "one");
        // A version that accepts the configuration starts with it, and the error is cleared.
        assert_ne!(lab.host().info(&lab.id()).unwrap().detail, "");
        lab.told_since();
        lab.install(misbehave("version=2"));
        lab.reloaded();
        assert_eq!(lab.probe().word().unwrap(), "two");
        assert_eq!(lab.host().info(&lab.id()).unwrap().detail, "");
    }
}

#[test]
fn a_broken_manifest_has_no_effect_until_it_is_repaired() {
    let mut lab = Lab::new("manifest-broken");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    let probe = lab.probe();
    lab.set_manifest("binry = \"plugin.so\"");
    let error = lab.wait_for(|event| match &event.kind {
        EventKind::ReloadFailed { error, .. } | EventKind::DiscoveryFailed { error, .. } => {
            Some(error.clone())
        }
        _ => None,
    });
    assert!(error.contains("plugin.toml:2: unknown key `binry`"), "{error}");
    assert!(error.contains("`binary`"), "{error}");
    assert_eq!((probe.version().unwrap(), Handle::generation(&probe)), (1, Some(Generation(1))));
    lab.write("plugin.toml", [0x69, 0x64, 0xff, 0xfe]);
    let error = lab.reload_failed().1;
    assert!(error.contains("not UTF-8"), "{error}");
    assert_eq!(probe.version().unwrap(), 1);
    // A new version uses the previous manifest, and the error of the broken manifest stays.
    lab.told_since();
    lab.write("plugin.so", misbehave("version=2"));
    lab.reloaded();
    assert_eq!(probe.version().unwrap(), 2);
    let config = serde_json::Map::from_iter([("word".to_owned(), "given".into())]);
    lab.host().configure(&lab.id(), config).wait().unwrap();
    let detail = lab.host().info(&lab.id()).unwrap().detail;
    assert!(detail.contains("not UTF-8"), "{detail}");
    lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = \"repaired\"");
    lab.wait_for(|event| match event.kind {
        EventKind::Configured { .. } | EventKind::Reloaded { .. } | EventKind::BuildUnchanged { .. } => {
            Some(())
        }
        _ => None,
    });
    lab.install(misbehave("version=3"));
    while probe.version().unwrap() != 3 {
        lab.reloaded();
    }
    assert_eq!(lab.host().info(&lab.id()).unwrap().status, Status::Ready);
}

#[test]
fn fifty_reloads_under_load_fail_no_call_and_serve_no_old_version() {
    let mut lab = Lab::new("under-load");
    lab.install(stateless("version=1"));
    lab.start();
    let (published, done) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (probe, published, done) = (lab.probe(), published.clone(), done.clone());
            thread::spawn(move || {
                let (mut calls, mut last) = (0_u64, 0);
                while !done.load(Ordering::Acquire) {
                    let at_least = published.load(Ordering::Acquire);
                    let version = probe.version().expect("no call fails");
                    assert!(version >= at_least, "{version} answered after {at_least} was published");
                    assert!(version >= last, "{version} answered after {last}");
                    last = version;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for version in 2..=51 {
        lab.install(stateless(&format!("version={version}")));
        assert_eq!(lab.reload().unwrap(), Generation(version));
        published.store(version, Ordering::Release);
    }
    done.store(true, Ordering::Release);
    let calls: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.calls, info.failures), (calls, 0));
    for _ in 0..50 {
        lab.retired();
    }
    assert_eq!(lab.host().info(&lab.id()).unwrap().calls, calls, "retired generations are still counted");
}

#[test]
fn no_increment_is_lost_in_twenty_reloads_of_a_plugin_with_state() {
    let mut lab = Lab::new("counts-on");
    lab.install(misbehave("version=1"));
    lab.start();
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (probe, done) = (lab.probe(), done.clone());
            thread::spawn(move || {
                let mut increments = 0;
                while !done.load(Ordering::Acquire) {
                    probe.increment(1).expect("no call fails");
                    increments += 1;
                }
                increments
            })
        })
        .collect();
    for version in 2..=21 {
        lab.install(misbehave(&format!("version={version}")));
        lab.reload().unwrap();
    }
    done.store(true, Ordering::Release);
    let increments: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert_eq!(lab.probe().value().unwrap(), increments);
    assert_eq!(lab.call("value", json!([])).unwrap(), json!(increments));
}

#[test]
fn an_empty_manifest_is_rejected_and_a_rewritten_one_applies() {
    let mut lab = Lab::new("emptied");
    lab.install(misbehave("version=1"));
    lab.start_watching();
    File::create(lab.path("plugin.toml")).unwrap();
    let error = lab.reload_failed().1;
    assert!(error.contains("the manifest is empty"), "{error}");
    assert_eq!(lab.probe().version().unwrap(), 1);
    // Like a redirection in a shell, this truncates the file first, and then writes the content.
    let manifest = format!("id = \"{}\"\nbinary = \"plugin.so\"\n[config]\nword = \"new\"\n", lab.id());
    fs::write(lab.path("plugin.toml"), manifest).unwrap();
    lab.wait_for(|event| matches!(event.kind, EventKind::Configured { .. }).then_some(()));
    assert_eq!(lab.probe().word().unwrap(), "new");
}

#[test]
fn a_plugin_that_rejected_its_configuration_starts_after_a_repair() {
    let mut lab = Lab::new("fixed-config");
    lab.install(misbehave("version=1"));
    lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = 4");
    lab.start_watching();
    let (_, error) = lab.reload_failed();
    assert!(error.contains("expected a string"), "{error}");
    lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = \"fixed\"");
    lab.reloaded();
    assert_eq!(lab.probe().word().unwrap(), "fixed");
}

#[test]
fn a_plugin_whose_manifest_gets_another_id_is_another_plugin() {
    let mut lab = Lab::new("renamed");
    lab.install(stateless("version=1"));
    lab.start_watching();
    let manifest = lab.path("plugin.toml");
    let renamed =
        fs::read_to_string(&manifest).unwrap().replace("dev.test.renamed", "dev.test.by-another-name");
    fs::write(&manifest, renamed).unwrap();
    // The two events come in either order.
    let (mut serves, mut stopped) = (false, None);
    while !serves || stopped.is_none() {
        let reason = lab.wait_for(|event| {
            let is_new = event.plugin.as_ref()?.as_str() == "dev.test.by-another-name";
            match &event.kind {
                EventKind::Reloaded { .. } if is_new => Some(None),
                EventKind::PluginStopped { reason } if !is_new => Some(Some(reason.clone())),
                _ => None,
            }
        });
        serves |= reason.is_none();
        stopped = stopped.or(reason);
    }
    assert_eq!(stopped.unwrap(), "its manifest has a different id now, and belongs to a different plugin");
    let ids: Vec<_> = lab.host().plugins().into_iter().map(|it| it.id.to_string()).collect();
    assert_eq!(ids, ["dev.test.by-another-name"]);
}
