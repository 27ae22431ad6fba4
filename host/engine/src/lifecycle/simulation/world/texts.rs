//! Simulated manifests. They vary only the keys that matter to the lifecycle: the keys that it reads itself, and one
//! key for each kind of change that it handles in a different way.

use super::{Dice, Duration, Policy, plugin};
use crate::{
    lifecycle::Confirm,
    manifest::{self, BuildSpec, Kind, LimitsSpec, Manifest, Mode, ProcessSpec, ReloadSpec, Text},
};
use serde_json::{Map, json};
use std::sync::OnceLock;

/// The values of a manifest. Each number stands for the value of one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Says {
    pub(super) config: u64,
    /// A key whose change requires a new instance.
    pub(super) timeout: u64,
    /// A key whose change requires a new process.
    pub(super) grace: u64,
    /// A key whose change requires a build.
    pub(super) build: u64,
    pub(super) auto_start: bool,
    pub(super) policy: Policy,
}

impl Says {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self {
            config: 0,
            timeout: 1,
            grace: 1,
            build: 1,
            auto_start: dice.chance(1, 2),
            policy: policy(dice),
        }
    }

    /// The values after a random edit.
    pub(super) fn edited(mut self, dice: &mut Dice) -> Self {
        for _ in 0..=dice.below(2) {
            match dice.below(7) {
                // The range is small, so that an edit may restore an earlier value.
                0 | 1 => self.config = dice.below(3),
                2 => self.timeout = 1 + dice.below(2),
                3 => self.grace = 1 + dice.below(2),
                4 => self.build = 1 + dice.below(2),
                5 => self.auto_start = !self.auto_start,
                _ => self.policy = Policy { mode: self.policy.mode, ..policy(dice) },
            }
        }
        self
    }

    pub(super) fn manifest(self) -> Manifest {
        static BASE: OnceLock<Manifest> = OnceLock::new();
        let mut manifest = BASE.get_or_init(base).clone();
        manifest.config.insert("is".into(), json!(self.config));
        manifest.process.call_timeout = Some(Duration::from_secs(self.timeout));
        manifest.process.cancel_grace = Duration::from_secs(self.grace);
        manifest.build.timeout = Duration::from_secs(self.build);
        manifest.auto_start = self.auto_start;
        let Policy { mode, restart_pause, max_deaths, death_window, confirm, checkpoint } = self.policy;
        manifest.mode = mode;
        manifest.process.restart_pause = restart_pause;
        manifest.process.max_deaths = max_deaths;
        manifest.process.death_window = death_window;
        manifest.reload.confirm = confirm.map(|confirm| manifest::Confirm {
            window: confirm.window,
            max_error_rate: confirm.max_error_rate,
            min_calls: confirm.min_calls,
            ..manifest::Confirm::default()
        });
        manifest.reload.checkpoint = checkpoint;
        manifest
    }

    pub(super) fn of(manifest: &Manifest) -> Self {
        Self {
            config: manifest.config["is"].as_u64().expect("a number"),
            timeout: manifest.process.call_timeout.expect("there is one").as_secs(),
            grace: manifest.process.cancel_grace.as_secs(),
            build: manifest.build.timeout.as_secs(),
            auto_start: manifest.auto_start,
            policy: Policy::of(manifest),
        }
    }
}

fn base() -> Manifest {
    Manifest {
        id: plugin(),
        name: "simulated".into(),
        version: "1.0.0".into(),
        author: None,
        description: None,
        kind: Kind::Provider,
        auto_start: true,
        mode: Mode::Process,
        build: BuildSpec::default(),
        binary: None,
        config: Map::new(),
        reload: ReloadSpec::default(),
        process: ProcessSpec::default(),
        limits: LimitsSpec::default(),
        file: "/plugin/plugin.toml".into(),
        root: "/plugin".into(),
        text: Text::default(),
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let confirm = Confirm { window: dice.up_to(Duration::from_secs(1)), max_error_rate: 0.5, min_calls: 5 };
    Policy {
        mode: [Mode::Auto, Mode::InProcess, Mode::Process][dice.below(3) as usize],
        restart_pause: Duration::from_millis(1 + dice.below(500)),
        max_deaths: 1 + dice.below(4),
        death_window: Duration::from_secs(1 + dice.below(60)),
        confirm: dice.chance(2, 3).then_some(confirm),
        checkpoint: dice.chance(1, 2).then(|| Duration::from_millis(100 + dice.below(2000))),
    }
}
