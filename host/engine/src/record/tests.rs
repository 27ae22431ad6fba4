//! Tests of records: the decisions that follow from a plugin's history, and the files.

use super::*;
use std::{fs, time::Duration};

const A: Digest = Digest([1; 32]);
const B: Digest = Digest([2; 32]);
const C: Digest = Digest([3; 32]);

fn id() -> PluginId {
    "dev.test.counter".parse().unwrap()
}

/// An event that changes a plugin's record.
#[derive(Clone, Copy)]
enum Happens {
    Serves(Digest, How),
    IsGood,
    Set(Wanted),
    Quarantine(Digest),
    Lift,
}
use Happens::*;

fn after(history: &[Happens]) -> Record {
    let mut record = Record::new(id());
    for (number, happens) in (1..).zip(history) {
        match *happens {
            Serves(digest, how) => {
                let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
                let served = Served {
                    digest,
                    generation: Generation(number),
                    later: Vec::new(),
                    at,
                    taken_back: false,
                };
                record.serves(served, how, (Map::new(), None));
            }
            IsGood => record.is_good(),
            Set(wanted) => record.set_wanted(wanted),
            Quarantine(digest) => record.quarantine(digest, "it died".into()),
            Lift => record.lift_quarantine(),
        }
    }
    record
}

#[test]
fn a_host_starts_the_last_version_or_else_the_last_confirmed_one() {
    let first = |history: &[Happens]| after(history).to_start_with();
    assert_eq!(first(&[]), []);
    assert_eq!(first(&[Serves(A, How::Built), IsGood]), [A]);
    assert_eq!(first(&[Serves(A, How::Built), IsGood, Serves(B, How::Built)]), [B, A], "B is unconfirmed");
    assert_eq!(first(&[Serves(A, How::Built), IsGood, Serves(B, How::Built), IsGood]), [B]);
}

#[test]
fn a_build_of_the_serving_version_makes_it_the_newest() {
    let (a, b) = (Serves(A, How::Built), Serves(B, How::Built));
    assert!(after(&[a, b]).serves_newest());
    // After B has failed, a host starts A again or goes back to it. Then the source is edited back to A.
    for how in [How::Again, How::WentBack] {
        let mut record = after(&[a, b, Quarantine(B), Serves(A, how)]);
        assert!(!record.serves_newest());
        record.is_unchanged();
        assert!(record.serves_newest() && record.newest() == Some(A));
    }
}

#[test]
fn last_good_is_the_version_that_was_confirmed_last() {
    let unconfirmed =
        |history: &[Happens], digest| after(history).last_good().is_some_and(|good| good != digest);
    let (a, b) = (Serves(A, How::Built), Serves(B, How::Built));
    assert!(!unconfirmed(&[], A) && !unconfirmed(&[a], A), "no other version was confirmed");
    assert!(unconfirmed(&[a, IsGood, b], B));
    assert!(unconfirmed(&[a, IsGood, b, Serves(B, How::Again)], B), "the host was restarted");
    assert!(!unconfirmed(&[a, IsGood, b, IsGood], B));
    assert!(!unconfirmed(&[a, IsGood, b, Serves(A, How::WentBack)], A));
}

#[test]
fn a_rolled_back_version_is_skipped_until_a_newer_one_serves() {
    let (a, b) = (Serves(A, How::Built), Serves(B, How::Built));
    let back = Serves(A, How::WentBack);
    let passed_over = |history: &[Happens]| {
        let record = after(history);
        record.newest().filter(|_| record.is_rolled_back())
    };
    assert_eq!(passed_over(&[a, b]), None);
    assert_eq!(passed_over(&[a, b, back]), Some(B));
    assert_eq!(
        passed_over(&[a, b, back, Serves(A, How::Again)]),
        Some(B),
        "the plugin's process was restarted"
    );
    assert_eq!(passed_over(&[a, b, back, Serves(C, How::Built)]), None, "the source was edited");
    assert_eq!(
        passed_over(&[a, b, back, Serves(B, How::WentBack)]),
        None,
        "the plugin was rolled forward again"
    );
    assert_eq!(passed_over(&[a, b, Serves(C, How::Built), Serves(B, How::WentBack), back]), Some(C));
    assert_eq!(
        passed_over(&[a, b, Serves(A, How::Again)]),
        None,
        "the store no longer has the newest version"
    );
}

#[test]
fn a_build_that_results_in_the_serving_version_makes_it_the_newest() {
    let (a, b, c) = (Serves(A, How::Built), Serves(B, How::Built), Serves(C, How::Built));
    // C was quarantined, so a start has fallen back to B. Then the source was edited back to B.
    let mut record = after(&[a, b, c, Quarantine(C), Serves(B, How::Again)]);
    assert_eq!((record.newest(), record.is_rolled_back()), (Some(C), false));
    record.is_unchanged();
    assert_eq!((record.newest(), record.is_rolled_back()), (Some(B), false));
    let mut record = after(&[a, b, Serves(A, How::WentBack)]);
    record.is_unchanged();
    assert_eq!((record.newest(), record.is_rolled_back()), (Some(A), false));
}

#[test]
fn a_rollback_names_the_last_generation_of_the_newest_version() {
    let from = |history: &[Happens]| after(history).rolled_back_from();
    let (a, b, back) = (Serves(A, How::Built), Serves(B, How::Built), Serves(A, How::WentBack));
    assert_eq!(from(&[a, b]), None);
    assert_eq!(from(&[a, b, back]), Some(Generation(2)));
    assert_eq!(from(&[a, b, Serves(B, How::Again), back, Serves(A, How::Again)]), Some(Generation(3)));
    assert_eq!(from(&[a, b, back, Serves(B, How::WentBack)]), None);
}

#[test]
fn the_reason_of_a_rollback_is_kept_until_a_newer_version_serves() {
    let mut record = after(&[Serves(A, How::Built), Serves(B, How::Built), Serves(A, How::WentBack)]);
    record.takes_back(B, "g2 was rolled back");
    assert_eq!(record.rollback_reason(), Some("g2 was rolled back"));
    assert_eq!(record.taken_back(), BTreeSet::from([B]));
    let served = Served {
        digest: C,
        generation: Generation(4),
        later: Vec::new(),
        at: SystemTime::UNIX_EPOCH,
        taken_back: false,
    };
    record.serves(served, How::Built, (Map::new(), None));
    record.takes_back(C, "g4 was rolled back");
    assert_eq!(record.rollback_reason(), None);
    record.is_good();
    assert_eq!(record.taken_back(), BTreeSet::from([B]), "C was confirmed since");
}

#[test]
fn generations_increase_and_versions_keep_their_generations() {
    let record = after(&[Serves(A, How::Built), Serves(B, How::Built), Serves(A, How::WentBack)]);
    assert_eq!(record.generation(), 3);
    let versions: Vec<_> =
        record.versions().iter().map(|it| (it.digest, it.generation.0, it.later.clone())).collect();
    assert_eq!(versions, [(A, 1, vec![Generation(3)]), (B, 2, Vec::new())]);

    let many = after(&[Serves(A, How::Again); 100]);
    let later: Vec<_> = many.versions()[0].later.iter().map(|generation| generation.0).collect();
    assert_eq!(later, (81..=100).collect::<Vec<_>>());
}

#[test]
fn the_oldest_versions_are_removed_but_never_the_serving_one() {
    let mut record = after(&[
        Serves(A, How::Built),
        Serves(B, How::Built),
        Serves(C, How::Built),
        IsGood,
        Serves(A, How::WentBack),
    ]);
    record.forget_all_but(2);
    let versions: Vec<_> = record.versions().iter().map(|version| version.digest).collect();
    assert_eq!(versions, [A, C]);
    assert_eq!(record.names(), BTreeSet::from([A, C]));
    record.forget_all_but(0);
    assert_eq!(record.versions().iter().map(|version| version.digest).collect::<Vec<_>>(), [A]);
    assert_eq!(record.names(), BTreeSet::from([A, C]), "C was confirmed last");
}

#[test]
fn a_quarantine_holds_until_it_is_lifted() {
    let record = after(&[Serves(A, How::Built), Quarantine(A)]);
    assert_eq!(record.quarantined().get(&A).map(String::as_str), Some("it died"));
    assert!(after(&[Quarantine(A), Lift]).quarantined().is_empty());
}

#[test]
fn a_quarantine_ends_when_the_version_serves() {
    // This occurs if the plugin's process ends too often while its next generation is being started.
    let record = after(&[Serves(A, How::Built), Quarantine(B), Quarantine(A), Serves(A, How::Built)]);
    assert_eq!(record.quarantined().keys().collect::<Vec<_>>(), [&B]);
}

/// Writes a manifest with these lines into a folder with this name, and reads it.
fn manifest(dir: &tempfile::TempDir, folder: &str, lines: &str) -> Manifest {
    let root = dir.path().join(folder);
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("plugin.toml"), format!("id = 'dev.test.counter'\n{lines}")).unwrap();
    crate::manifest::read(&root).unwrap()
}

#[test]
fn a_manifest_is_accepted_when_a_version_serves_or_if_none_ever_served() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, moved] = [("a", "name = 'one'"), ("a", "name = 'two'"), ("b", "name = 'three'")]
        .map(|(folder, lines)| manifest(&dir, folder, lines));
    let accepted = |record: &Record| {
        let Accepted { file, text } = record.manifest.clone().unwrap();
        let folder = file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        (folder, text.split('\'').nth(3).unwrap().to_owned())
    };
    let is = |folder: &str, name: &str| (folder.to_owned(), name.to_owned());
    let mut record = Record::new(id());
    record.reads(&first);
    assert_eq!(accepted(&record), is("a", "one"));
    record.reads(&second);
    assert_eq!(accepted(&record), is("a", "two"), "no version has ever served");
    let mut record = after(&[Serves(A, How::Built)]);
    record.serves_under(&first);
    record.reads(&second);
    assert_eq!(accepted(&record), is("a", "one"));
    record.reads(&moved);
    assert_eq!(accepted(&record), is("b", "one"), "the path is the plugin's current path");
    record.serves_under(&moved);
    assert_eq!(accepted(&record), is("b", "three"));
    record.is_gone();
    assert_eq!(record.manifest, None);
}

/// The records for a host whose run folder has this name. A host counts as running while its run folder exists.
fn records_in(dir: &tempfile::TempDir, run: &str) -> Records {
    Records::in_dir(dir.path().join("plugins"), &dir.path().join("run").join(run), |run| run.exists())
}

/// A record with a value in each of its fields.
fn full() -> Record {
    let mut record = after(&[
        Set(Wanted::Running),
        Serves(A, How::Built),
        IsGood,
        Serves(B, How::Built),
        Serves(A, How::WentBack),
        Quarantine(C),
    ]);
    record.takes_back(B, "it does badly");
    record.manifest = Some(Accepted { file: "/plugins/counter/plugin.toml".into(), text: "id = ''".into() });
    record.set_state(Some(StateNote { saved_at: SystemTime::UNIX_EPOCH, by: A }));
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_round_trips_even_if_its_folder_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let records = records_in(&dir, "1-1");
    let mut kept = records.of(&id());
    assert_eq!(*kept, Record::new(id()));
    kept.change(|record| *record = full());
    fs::remove_dir_all(dir.path().join("plugins")).unwrap();
    kept.change(|record| record.set_wanted(Wanted::Stopped));
    assert!(kept.is_own());
    drop(kept);
    let mut expected = full();
    expected.set_wanted(Wanted::Stopped);
    assert_eq!(*records.of(&id()), expected);
    assert_eq!(records.named_but(|_| false), Some(BTreeSet::from([A, B])));
    assert_eq!(records.named_but(|known| *known == id()), Some(BTreeSet::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_is_renamed_and_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let records = records_in(&dir, "1-1");
    records.of(&id()).change(|record| *record = full());
    let file = dir.path().join("plugins/dev.test.counter/record.json");
    let good = fs::read_to_string(&file).unwrap();
    let other = good.replace("dev.test.counter", "dev.test.another");
    let newer = good.replace("\"format\": 1", "\"format\": 2");
    for bad in ["", "{", "[]", &good[..good.len() / 2], &other, &newer] {
        fs::write(&file, bad).unwrap();
        // A record in a newer format cannot be read, so it may name any artifact.
        let named = (bad != newer).then(BTreeSet::new);
        assert_eq!(records.named_but(|_| false), named, "{bad}");
        assert_eq!(*records.of(&id()), Record::new(id()), "{bad}");
        assert_eq!(fs::read_to_string(file.with_file_name("record.refused.json")).unwrap(), bad);
        assert!(!file.exists());
    }
    fs::write(&file, &good).unwrap();
    assert_eq!(*records.of(&id()), full());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_claims_a_record_only_after_the_first_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("run/1-1")).unwrap();
    let mut first = records_in(&dir, "1-1").of(&id());
    first.change(|record| record.set_wanted(Wanted::Running));
    let mut second = records_in(&dir, "1-2").of(&id());
    assert!(first.is_own() && !second.is_own());
    // The second host must not remove an artifact to which the first host may roll back.
    let wanted = first.wanted();
    first.change(|record| *record = full());
    first.change(|record| record.set_wanted(wanted));
    let of_second = records_in(&dir, "1-2");
    assert!(!of_second.of(&id()).is_own());
    assert_eq!(of_second.named_but(|_| true), Some(BTreeSet::from([A, B])));
    second.change(|record| record.set_wanted(Wanted::Stopped));
    assert_eq!(second.wanted(), Wanted::Stopped);
    fs::remove_dir(dir.path().join("run/1-1")).unwrap();
    let third = records_in(&dir, "1-3").of(&id());
    assert_eq!((third.is_own(), third.wanted()), (true, Wanted::Running));
    assert_eq!(Records::nowhere().of(&id()).wanted(), Wanted::AsManifest);
}
