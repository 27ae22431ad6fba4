//! Edits of the manifest, and new configurations.

use super::{World, texts::Says};
use crate::{
    lifecycle::{Aim, Input, ManifestFile, Next, ProcessSettings, Reading, Work},
    manifest::Manifest,
    record::How,
};
use std::{mem, sync::Arc};

impl World {
    /// Simulates a command that sets a new configuration.
    pub(super) fn configure(&mut self) {
        let (before, serves) = (self.watch.latest, self.serves.is_some());
        let set = Says { config: 10 + self.dice.below(3), ..self.watch.in_force };
        let config = set.manifest().config;
        let instead_of = self.watch.overridden.map_or(before.config, |(_, instead_of)| instead_of);
        let latest = Says { config: set.config, ..self.watch.latest };
        let pending = (latest != set).then_some(latest);
        if !serves {
            self.accepts_beside(set, pending);
            self.watch.overridden = Some((set.config, instead_of));
        }
        let work = self.step(Input::Configure { config, serves });
        if serves {
            self.is_to_configure(work, set);
            self.is_configured(set, Some((instead_of, pending)));
        } else {
            self.watch
                .rule(work.is_none(), || format!("the configuration of a stopped plugin leads to {work:?}"));
        }
    }

    /// Simulates a read of the manifest, which may have been edited, or may be unreadable. Applies a changed
    /// configuration itself. Returns what is still to be done after that: a build, a new instance, or nothing.
    pub(super) fn edit(&mut self, reading: Reading) -> Next {
        if self.files.manifest() == ManifestFile::Unreadable {
            let text = self.faults.text("the manifest cannot be read");
            self.step(Input::ManifestUnusable(text));
            return Next::Nothing;
        }
        if self.dice.chance(3, 4) {
            self.file = self.file.edited(&mut self.dice);
        }
        self.files.manifest_is_read();
        let mut said = self.file;
        match self.watch.overridden {
            Some((config, instead_of)) if instead_of == said.config => said.config = config,
            _ => self.watch.overridden = None,
        }
        let (old, was_pending) = (self.watch.in_force, self.watch.is_pending);
        let rebuilds = self.watch.latest.build != said.build;
        let settings = if self.is_fixed { ProcessSettings::Fixed } else { ProcessSettings::Open };
        let serves = self.serves.map(|_| settings);
        let reconfigures = old.config != said.config;
        let needs_another = old.timeout != said.timeout || self.is_fixed && old.grace != said.grace;
        let more = Says { config: said.config, ..old } != said;
        if serves.is_some() && (reconfigures || needs_another) {
            (self.watch.latest, self.watch.is_pending) = (said, true);
        } else {
            self.accepts(said);
        }
        let manifest = self.read();
        let work = self.step(Input::ManifestRead { manifest, serves, reading });
        let (mut comes_up, mut next) = (serves.is_none() || more, work);
        if serves.is_some() && reconfigures && !more {
            self.is_to_configure(next, said);
            next = self.is_configured(said, None);
            comes_up = false;
        }
        let faults = self.machine.faults();
        comes_up = comes_up || faults.is_unfit() || was_pending && faults.of_source();
        let expected = match reading {
            _ if mem::take(&mut self.is_unread_since_move) => Next::Build,
            Reading::Moved => Next::Build,
            Reading::Edit if comes_up => Next::Build,
            Reading::Defaults if rebuilds || comes_up && faults.is_unfit() => Next::Build,
            Reading::Defaults if comes_up && self.watch.is_pending => Next::Renew,
            _ => Next::Nothing,
        };
        let is_so = next == Some(Work::GoOn(expected));
        self.watch.rule(is_so, || format!("an edit leads to {next:?} instead of to {expected:?}"));
        expected
    }

    /// The manifest, at the plugin's current path.
    fn read(&self) -> Arc<Manifest> {
        let (root, file) = (self.machine.manifest().root.clone(), self.machine.manifest().file.clone());
        Arc::new(Manifest { root, file, ..self.file.manifest() })
    }

    /// Carries out the work that [`World::edit`] has returned.
    pub(super) fn follow_up(&mut self, next: Next) {
        match (next, self.serves) {
            (Next::Build, _) => {
                self.rebuild(Aim::Update);
            }
            (Next::Renew, Some(serves)) => {
                let manifest = self.machine.latest_manifest().clone();
                if !self.install((serves.digest, manifest.clone()), How::Again) {
                    self.is_refused(manifest);
                }
            }
            _ => {}
        }
    }

    /// Reports that the serving version cannot apply this manifest.
    pub(super) fn is_refused(&mut self, manifest: Arc<Manifest>) {
        (self.watch.latest, self.watch.is_pending) = (Says::of(&manifest), true);
        let text = self.faults.text("the version cannot apply the manifest");
        self.step(Input::ManifestRefused { manifest, text });
    }

    fn is_to_configure(&mut self, work: Option<Work>, with: Says) {
        let is_so = matches!(&work, Some(Work::Configure(manifest)) if Says::of(manifest) == with);
        self.watch.rule(is_so, || format!("the configuration {with:?} leads to {work:?}"));
    }

    /// Simulates that the serving version accepts a new configuration, requires a new instance for it, or rejects it.
    /// Returns the work that follows.
    fn is_configured(&mut self, with: Says, by_command: Option<(u64, Option<Says>)>) -> Option<Work> {
        self.takes_time();
        self.configuring = Some(by_command.is_some());
        let mut taken = self.calm || self.dice.chance(1, 2);
        if let (Some(serves), false, true) = (self.serves, self.calm, self.dice.chance(1, 4)) {
            taken = self.install((serves.digest, Arc::new(with.manifest())), How::Again);
        } else if !taken {
            self.check_report();
            let text = self.faults.text("the version rejects its configuration");
            self.step(Input::Refused(text));
        }
        if taken {
            self.accepted = self.serves.map(|serves| (serves.digest, with.config));
            self.accepts_beside(with, by_command.and_then(|(_, pending)| pending));
            if let Some((instead_of, _)) = by_command {
                self.watch.overridden = Some((with.config, instead_of));
            }
        }
        self.configuring = None;
        self.step(Input::ConfigureEnded { taken })
    }

    /// Records that this manifest is in force, while `pending` is not in force yet.
    fn accepts_beside(&mut self, said: Says, pending: Option<Says>) {
        self.accepts(said);
        if let Some(latest) = pending {
            (self.watch.latest, self.watch.is_pending) = (latest, true);
        }
    }

    /// Records that this manifest is in force.
    pub(super) fn accepts(&mut self, said: Says) {
        self.policy = said.policy;
        self.watch.accepts(self.now, said);
    }
}
