//! The simulated worker and its environment. Random numbers determine the events and the results of work.

mod builds;
mod commands;
mod compiled;
mod crashed;
mod edits;
mod effects;
mod faults;
mod files;
mod install;
mod names;
mod starts;
mod stops;
mod texts;
mod watch;
mod worker;

use super::{Dice, Moves};
use crate::{
    id::{Digest, PluginId},
    lifecycle::{Input, Lifecycle, Past, Policy, Processes, Service, Ticket, VersionId, Work},
    record::{How, Wanted},
    watch::Change,
};
pub(super) use commands::Command;
use commands::Store;
use crashed::{Crashes, Rollbacks};
use faults::Faults;
use files::{Files, Text};
use names::{name, name_of};
use starts::Stage;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use texts::Says;
use watch::Watch;

/// The maximum number of compilations after the last edit.
const BUILDS: u64 = 30;

/// The simulated worker and its environment.
pub(super) struct World {
    dice: Dice,
    begin: Instant,
    now: Instant,
    machine: Lifecycle,
    watch: Watch,
    policy: Policy,
    /// Whether the plugin should run, according to its users.
    wanted: Wanted,
    /// Whether the plugin should run, according to its record.
    remembered: Wanted,
    /// The content of the manifest's file.
    file: Says,
    /// The manifest that the lifecycle has published as the manifest in force.
    published: Says,
    /// Whether the settings of the serving version's process are fixed.
    is_fixed: bool,
    /// The serving version. All other versions have ended.
    serves: Option<VersionId>,
    /// Whether the version that serves, or served last, has state.
    stateful: bool,
    generations: u64,
    store: Store,
    /// The artifacts that have served, the oldest first.
    served: Vec<Digest>,
    /// The serving version, or the version that served last, and the configuration that it has accepted.
    accepted: Option<(Digest, u64)>,
    /// The version that has failed last, if it has rejected its configuration, and whether it was built from the source.
    unfit: Option<(Digest, bool)>,
    /// Whether a configuration is being applied, and whether a command has set it.
    configuring: Option<bool>,
    /// Whether the plugin's folder was moved, and its manifest was not read in the new folder yet.
    is_unread_since_move: bool,
    /// Whether the version that served last runs in a child process without a request of its manifest.
    is_moved: bool,
    /// What the start in progress is doing.
    start_stage: Option<Stage>,
    /// The artifacts that `confirm` has rolled back, and that have not been confirmed since.
    taken_back: BTreeSet<Digest>,
    /// The maximum length of `served`.
    keeps: usize,
    quarantined: BTreeSet<Digest>,
    crashes: Crashes,
    rollbacks: Rollbacks,
    /// The artifact that was confirmed last.
    good: Option<Digest>,
    faults: Faults,
    files: Files,
    /// The files that were reported as written by every build, and are still known as such.
    reported: BTreeSet<PathBuf>,
    /// The number of the current source. Each byte of its artifact's digest has this value.
    source: u8,
    /// The source that was built last.
    tried: Option<u8>,
    /// The source of a build that failed while the manifest was missing, and the time at which the failure is reported.
    unclear: Option<(u8, Instant)>,
    /// The source whose failed build was not reported, because the manifest was removed.
    removed: Option<u8>,
    /// Whether the rest of the history has no failures.
    calm: bool,
    commands: BTreeMap<Ticket, Command>,
    /// The changes that commands report.
    changes: BTreeMap<Ticket, Change>,
    /// The change because of which the running build begins again.
    newer: Option<Change>,
    /// The commands that the worker has not received yet.
    inbox: VecDeque<Ticket>,
    /// The deaths that the worker has not received yet. The flag states whether the generation has served.
    deaths: VecDeque<(VersionId, bool)>,
    moves: Moves,
}

impl World {
    pub(super) fn new(seed: u64, begin: Instant, verbose: bool) -> Self {
        let mut dice = Dice::new(seed);
        let file = Says::new(&mut dice);
        let processes = if dice.chance(2, 3) { Processes::Possible } else { Processes::Impossible };
        let wanted = [Wanted::AsManifest, Wanted::Running, Wanted::Stopped, Wanted::Unregistered];
        let wanted = wanted[dice.below(4) as usize];
        let past = Past { wanted, ..Past::default() };
        let files = Files::new(&mut dice);
        let crashes = Crashes::new(processes, &mut dice);
        Self {
            machine: Lifecycle::new(Arc::new(file.manifest()), past, (processes, dice.roll())),
            wanted,
            remembered: wanted,
            file,
            published: file,
            is_fixed: false,
            keeps: 2 + dice.below(4) as usize,
            watch: Watch::new(file, verbose),
            dice,
            begin,
            now: begin,
            faults: Faults::default(),
            files,
            reported: BTreeSet::new(),
            policy: file.policy,
            serves: None,
            stateful: false,
            generations: 0,
            store: Store::default(),
            served: Vec::new(),
            accepted: None,
            unfit: None,
            configuring: None,
            is_unread_since_move: false,
            is_moved: false,
            start_stage: None,
            taken_back: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            crashes,
            rollbacks: Rollbacks::default(),
            good: None,
            source: 0,
            tried: None,
            unclear: None,
            removed: None,
            calm: false,
            commands: BTreeMap::new(),
            changes: BTreeMap::new(),
            newer: None,
            inbox: VecDeque::new(),
            deaths: VecDeque::new(),
            moves: Moves::new(),
        }
    }

    /// A random number of events for the history.
    pub(super) fn length(&mut self) -> u64 {
        2 + self.dice.below(20)
    }

    pub(super) fn moves(&self) -> &Moves {
        &self.moves
    }

    pub(super) fn verdict(self) -> Result<(), String> {
        self.watch.verdict()
    }

    /// Simulates one event, and the reaction of the worker.
    pub(super) fn something_happens(&mut self) {
        self.happens();
        self.hear();
        self.receive();
    }

    /// Simulates the end of the history, in which no more failures occur, and checks that the plugin reaches the
    /// required state within a few steps.
    pub(super) fn comes_to_rest(&mut self) {
        self.calm = true;
        self.settle();
        let explained = self.machine.faults().first().is_some() && self.watch.is_explained(self.source);
        let newest = self.serves.is_some_and(|it| it.digest == digest(self.source));
        let is_right = newest
            || !self.watch.is_wanted
            || explained
            || self.watch.was_chosen()
            || self.removed == Some(self.source)
            || self.is_known_as_unstable()
            || self.is_unread_since_move && self.faults.are_of_manifest();
        self.watch.rule(is_right, || "the newest source does not serve, and no fault explains why".into());
        self.give(Command::Start);
        self.save();
        self.settle();
        let newest = self.serves.is_some_and(|it| it.digest == digest(self.source));
        self.watch.rule(newest, || {
            "the plugin was started and edited, but the newest source does not serve".into()
        });
        let is_unread = self.manifest_is_due();
        self.watch.rule(!is_unread, || "the manifest was edited, but not read".into());
        self.give(Command::Stop);
        self.settle();
        self.watch.rule(self.serves.is_none(), || "the plugin was stopped, but a version serves".into());
        self.watch.all_are_answered();
    }

    /// Simulates the worker until it has nothing left to do.
    fn settle(&mut self) {
        let compiles = self.watch.compiles;
        for _ in 0..300 {
            let new = self.watch.compiles - compiles;
            self.watch.rule(new <= BUILDS, || format!("{new} builds run without an edit"));
            self.hear();
            self.receive();
            let due = self.machine.due();
            match due {
                _ if !self.inbox.is_empty() || !self.deaths.is_empty() => {}
                // Checkpoints are excluded, because after each checkpoint, the next one becomes due.
                Some(due)
                    if self.serves.is_none()
                        || self.watch.is_watched()
                        || self.unclear.is_some()
                        || self.machine.check_due().is_some() =>
                {
                    self.now = self.now.max(due);
                    self.drive(Input::Due);
                }
                _ => return,
            }
        }
        self.watch.rule(false, || "the worker is not idle after 300 rounds".into());
    }

    /// Simulates an event outside of the worker, or the passing of time.
    fn happens(&mut self) {
        match self.dice.below(20) {
            0 | 1 => self.give(Command::Start),
            2 => self.give(Command::HostStart),
            3..7 => {
                self.save();
            }
            7 => self.give(Command::Reload),
            8 => self.give(Command::Rollback),
            9 => {
                let commands = [
                    Command::Return,
                    Command::Defaults,
                    Command::Move,
                    Command::Configure,
                    Command::Edit,
                    Command::Edit,
                ];
                let command = commands[self.dice.below(6) as usize];
                self.give(command);
            }
            10..12 => self.give(Command::Stop),
            12..16 => self.kill(),
            16 => self.now += self.dice.up_to(Duration::from_secs(30)),
            _ => {
                let due = self.machine.due().unwrap_or(self.now);
                self.now = self.now.max(due) + self.dice.up_to(Duration::from_millis(5));
            }
        }
    }

    /// A user saves a file, which need not change its content.
    fn save(&mut self) {
        let text = match self.dice.below(8) {
            _ if self.calm => Text::New,
            0 => Text::Same,
            1 => Text::Earlier,
            _ => Text::New,
        };
        let change = self.files.save(self.dice.chance(1, 2), text, self.wall());
        let before = std::mem::replace(&mut self.source, self.files.source());
        if self.source != before {
            self.watch.is_edited();
        }
        self.give_change(Command::Save, change);
    }

    /// The time of the simulated wall clock.
    fn wall(&self) -> SystemTime {
        files::wall(self.now - self.begin)
    }

    /// The idle worker receives the commands, or reports that something is due.
    fn receive(&mut self) {
        while let Some(ticket) = self.inbox.pop_front() {
            let kind = self.commands[&ticket].kind();
            self.drive(Input::Command(ticket, kind));
        }
        // `Due` may also be passed too early.
        if self.machine.due().is_some_and(|due| due <= self.now) || self.dice.chance(1, 8) {
            self.drive(Input::Due);
        }
    }

    /// Takes a step, and carries out the work that follows. Work that belongs to a build is not carried out, but
    /// returned.
    fn drive(&mut self, input: Input) -> Option<Work> {
        let mut work = self.step(input);
        loop {
            let input = match work? {
                Work::CarryOut(ticket) => {
                    self.carry_out(ticket);
                    self.hear();
                    Input::Finished
                }
                Work::Restart { digest, goes_back } => {
                    self.watch.restarts((self.now, digest), goes_back, &self.quarantined);
                    let again = (digest, self.machine.manifest().clone());
                    let serves = self.install(again, if goes_back { How::WentBack } else { How::Again });
                    self.watch.restarted(self.now, digest, serves);
                    Input::TaskEnded { serves }
                }
                Work::GoBack { to } => {
                    let back = (to, self.machine.manifest().clone());
                    Input::TaskEnded { serves: self.install(back, How::WentBack) }
                }
                Work::Checkpoint => self.checkpoint(),
                Work::CountCalls => self.count_calls(),
                Work::LookForManifest => self.looks_for_manifest(),
                Work::ReportAgain(change) => {
                    self.give_change(Command::Save, change);
                    let ticket = self.inbox.pop_back().expect("it was just given");
                    Input::Command(ticket, Command::Save.kind())
                }
                of_a_build => return Some(of_a_build),
            };
            work = self.step(input);
        }
    }

    /// Takes a step of the lifecycle, applies its effects, and checks its outputs. Returns the work.
    fn step(&mut self, input: Input) -> Option<Work> {
        let kind = name_of(&input);
        self.watch.note(|| format!("{input:?}"));
        let before = name(&self.machine.service);
        self.watch.takes(&input);
        self.faults_take(&input);
        let effects = self.machine.step(self.now, input);
        let after = name(&self.machine.service);
        if before != after {
            self.moves.insert((before, kind, after));
        }
        self.watch.note(|| format!("    {effects:?} -> {:?}", self.machine.service));
        self.faults_follow(&effects.now, effects.then.as_ref());
        for effect in effects.now {
            self.apply(effect);
        }
        let overlap = &self.machine.overlap;
        self.reported.retain(|path| overlap.is_unstable(path));
        let is_serving = matches!(self.machine.service, Service::Serving(_));
        let knows = self.machine.service.last().filter(|_| is_serving);
        let is_dead = self.deaths.iter().any(|(_, has_served)| *has_served);
        let is_known = is_dead || self.watch.is_on_the_way || knows == self.serves;
        self.watch
            .rule(is_known, || format!("after {kind}, the lifecycle has {knows:?} as the serving version"));
        let says =
            [self.machine.manifest(), self.machine.latest_manifest()].map(|manifest| Says::of(manifest));
        let (expected, published) = ([self.watch.in_force, self.watch.latest], self.published);
        self.watch.rule(says == expected, || format!("the manifests are {says:?} instead of {expected:?}"));
        self.watch.rule(published == expected[0], || format!("the published manifest is {published:?}"));
        self.watch.begins(effects.then.as_ref(), &self.commands);
        let others = [self.unclear.map(|(_, due)| due), self.machine.check_due()];
        self.watch.is_due((self.now, effects.then.as_ref()), &self.machine, others);
        self.watch.intends(&self.machine);
        effects.then
    }
}

fn plugin() -> PluginId {
    "dev.test.simulated".parse().expect("an id")
}

fn digest(source: u8) -> Digest {
    Digest([source; 32])
}
