//! The manifest that is in force, the manifest that is not in force yet, and the work that an edit of the manifest
//! requires.

use super::{By, Effect, Effects, Lifecycle, Policy, Work};
use crate::manifest::Manifest;
use serde_json::{Map, Value};
use std::{mem, path::Path, sync::Arc, time::Instant};

/// A plugin's configuration.
pub(crate) type Config = Map<String, Value>;

/// The manifests of a plugin.
#[derive(Debug)]
pub(super) enum Manifests {
    /// The manifest that was read last is in force.
    InForce(Arc<Manifest>),
    /// Only a new instance can apply the manifest that was read last. Until such an instance serves, the previous
    /// manifest is in force as a whole: if the serving version is restarted, it gets the manifest that it last
    /// accepted.
    Pending { in_force: Arc<Manifest>, latest: Arc<Manifest> },
}

/// A configuration that was set by a command. It takes precedence over the configuration of the manifest.
#[derive(Debug)]
pub(super) struct Override {
    config: Config,
    /// The configuration that the manifest had when the command was given. The override ends when the manifest has
    /// a different configuration.
    instead_of: Config,
}

/// Whether the settings of a generation's process can change while the generation serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessSettings {
    Open,
    /// The generation keeps the settings with which it was started.
    Fixed,
}

/// Why the manifest was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The author has edited the manifest.
    Edit,
    /// The defaults for manifests have changed.
    Defaults,
    /// The plugin's folder was moved. The watcher may have missed other changes during the move.
    Moved,
}

/// The file of a manifest, compared with the manifest that was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManifestFile {
    /// The file has the text that was read last.
    AsRead,
    /// The file has a different text, and can be read.
    Edited,
    /// The file cannot be read as a manifest.
    Unreadable,
    Missing,
}

/// The work that an edit requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// A build.
    Build,
    /// A new instance of the serving version, with the manifest that was read last.
    Renew,
}

/// An edit of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    reading: Reading,
    /// Whether the previously read manifest was not in force.
    was_pending: bool,
    /// Whether the edit changes how the plugin is built.
    rebuilds: bool,
}

/// The source of a new configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    Edit(Edit),
    /// A command. `instead_of` is the configuration of the manifest. `pending` is the manifest that was read last, with
    /// the new configuration, if it differs in more than its configuration from the manifest in force.
    Command {
        instead_of: Config,
        pending: Option<Arc<Manifest>>,
    },
}

/// A new configuration that is offered to the serving generation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Configuring {
    origin: Origin,
    manifest: Arc<Manifest>,
}

impl Configuring {
    pub(super) fn by(&self) -> By {
        match self.origin {
            Origin::Edit(_) => By::Edit,
            Origin::Command { .. } => By::Command,
        }
    }
}

impl Manifests {
    pub(super) fn in_force(&self) -> &Arc<Manifest> {
        match self {
            Self::InForce(in_force) | Self::Pending { in_force, .. } => in_force,
        }
    }

    /// The manifest that was read last, whether it is in force or not.
    pub(super) fn latest(&self) -> &Arc<Manifest> {
        match self {
            Self::InForce(latest) | Self::Pending { latest, .. } => latest,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }
}

impl Lifecycle {
    /// Whether a build has to read the manifest before it compiles. An error in the manifest is reported only once. But a
    /// repaired manifest is read, even if it has the text again that was read last.
    pub(super) fn has_to_read(&self, file: ManifestFile) -> bool {
        match file {
            ManifestFile::AsRead => self.faults.of_manifest(),
            ManifestFile::Edited => true,
            ManifestFile::Unreadable => !self.faults.of_manifest(),
            // Discovery handles that.
            ManifestFile::Missing => false,
        }
    }

    /// Decides what follows from a manifest that was read.
    pub(super) fn manifest_read(
        &mut self,
        now: Instant,
        read: Arc<Manifest>,
        (serves, reading): (Option<ProcessSettings>, Reading),
    ) -> Effects {
        self.faults.manifest_is_read();
        // After the move, the manifest may have been unusable until now. The new folder was not built in this case.
        let reading = if mem::take(&mut self.is_unread_since_move) { Reading::Moved } else { reading };
        let new = self.with_override(read);
        let (old, latest) = (self.manifests.in_force().clone(), self.manifests.latest());
        let rebuilds = latest.build != new.build || latest.binary != new.binary;
        let edit = Edit { reading, was_pending: self.manifests.is_pending(), rebuilds };
        let reconfigures = old.config != new.config;
        let needs_another = old.requires_new_instance(&new)
            || serves == Some(ProcessSettings::Fixed) && old.asks_for_another_process(&new);
        let more = !old.differs_only_in_config(&new);
        let serves = serves.is_some();
        let effects = if serves && (reconfigures || needs_another) {
            self.manifests = Manifests::Pending { in_force: old, latest: new.clone() };
            Effects::default()
        } else {
            self.accept(now, new.clone())
        };
        if serves && reconfigures && !more {
            let origin = Origin::Edit(edit);
            self.activity.configure_begins(Configuring { origin, manifest: new.clone() });
            return effects.and_then(Some(Work::Configure(new)));
        }
        // A version that failed to start before may start now.
        let may_come_up = !serves || more || {
            self.faults.manifest_is_accepted();
            self.may_come_up(edit)
        };
        effects.and_then(Some(Work::GoOn(self.next_after(edit, may_come_up))))
    }

    /// Sets a new configuration by a command.
    pub(super) fn configure(&mut self, now: Instant, config: Config, serves: bool) -> Effects {
        let with_it = |manifest: &Manifest| Manifest { config: config.clone(), ..manifest.clone() };
        let (new, latest) = (with_it(self.manifests.in_force()), with_it(self.manifests.latest()));
        let pending = (!new.differs_only_in_config(&latest)).then(|| Arc::new(latest));
        let (new, instead_of) = (Arc::new(new), self.manifests.latest().config.clone());
        if serves {
            let origin = Origin::Command { instead_of, pending };
            self.activity.configure_begins(Configuring { origin, manifest: new.clone() });
            return Effects::work(Work::Configure(new));
        }
        self.overrides(config, instead_of);
        self.accept_beside(now, new, pending)
    }

    /// Puts a manifest into force whose configuration was set by a command. `pending` is not in force yet.
    fn accept_beside(
        &mut self,
        now: Instant,
        in_force: Arc<Manifest>,
        pending: Option<Arc<Manifest>>,
    ) -> Effects {
        let effects = self.accept(now, in_force.clone());
        if let Some(latest) = pending {
            self.manifests = Manifests::Pending { in_force, latest };
        }
        effects
    }

    /// The serving generation has accepted its new configuration, or rejected it.
    pub(super) fn configured(&mut self, now: Instant, taken: bool) -> Effects {
        let Some(Configuring { origin, manifest }) = self.activity.configure_ends() else {
            return Effects::default();
        };
        if taken {
            self.faults.manifest_is_accepted();
        }
        match origin {
            Origin::Edit(edit) => {
                let effects = if taken { self.accept(now, manifest) } else { Effects::default() };
                let may_come_up = self.may_come_up(edit);
                effects.and_then(Some(Work::GoOn(self.next_after(edit, may_come_up))))
            }
            Origin::Command { instead_of, pending } if taken => {
                self.overrides(manifest.config.clone(), instead_of);
                self.accept_beside(now, manifest, pending)
            }
            Origin::Command { .. } => Effects::default(),
        }
    }

    /// Puts this manifest into force.
    pub(super) fn accept(&mut self, now: Instant, manifest: Arc<Manifest>) -> Effects {
        let policy = Policy::of(&manifest);
        self.manifests = Manifests::InForce(manifest.clone());
        let mut effects = self.follow(now, policy);
        effects.now.insert(0, Effect::Publish(manifest));
        effects
    }

    /// The serving version cannot apply the manifest `latest`, for the reason `text`.
    pub(super) fn manifest_refused(&mut self, latest: Arc<Manifest>, text: String) {
        let in_force = self.manifests.in_force().clone();
        self.manifests = Manifests::Pending { in_force, latest };
        self.faults.manifest_is_rejected(text);
    }

    /// The plugin's folder was moved. A failed build in the old folder proves nothing about the new folder.
    pub(super) fn moved(&mut self, root: &Path, file: &Path) -> Effects {
        self.faults.forget_unclear();
        self.is_unread_since_move = true;
        let at_new_place = |old: &Arc<Manifest>| {
            Arc::new(Manifest { root: root.to_owned(), file: file.to_owned(), ..(**old).clone() })
        };
        self.manifests = match &self.manifests {
            Manifests::InForce(in_force) => Manifests::InForce(at_new_place(in_force)),
            Manifests::Pending { in_force, latest } => {
                Manifests::Pending { in_force: at_new_place(in_force), latest: at_new_place(latest) }
            }
        };
        Effects::of([Effect::Publish(self.manifests.in_force().clone())])
    }

    /// The plugin was removed, and was found again with this manifest.
    pub(super) fn returned(&mut self, now: Instant, manifest: Arc<Manifest>) -> Effects {
        self.overrides = None;
        self.accept(now, manifest)
    }

    /// Stores the configuration that a command has set.
    fn overrides(&mut self, config: Config, instead_of: Config) {
        let instead_of = self.overrides.take().map_or(instead_of, |before| before.instead_of);
        self.overrides = Some(Override { config, instead_of });
    }

    /// The manifest with the configuration that a command has set. If the configuration of the manifest has changed
    /// since, the override ends.
    fn with_override(&mut self, read: Arc<Manifest>) -> Arc<Manifest> {
        match &self.overrides {
            Some(by_command) if by_command.instead_of == read.config => {
                Arc::new(Manifest { config: by_command.config.clone(), ..(*read).clone() })
            }
            _ => {
                self.overrides = None;
                read
            }
        }
    }

    /// Whether another attempt to start the newest version, which failed to start, could succeed: the version possibly
    /// accepts the new configuration, or the manifest no longer has the settings that were rejected.
    fn may_come_up(&self, edit: Edit) -> bool {
        self.faults.is_unfit() || edit.was_pending && self.faults.of_source()
    }

    /// The work that follows from an edit.
    fn next_after(&self, edit: Edit, may_come_up: bool) -> Next {
        match edit.reading {
            Reading::Moved => Next::Build,
            Reading::Edit if may_come_up => Next::Build,
            Reading::Defaults if edit.rebuilds || may_come_up && self.faults.is_unfit() => Next::Build,
            Reading::Defaults if may_come_up && self.manifests.is_pending() => Next::Renew,
            Reading::Edit | Reading::Defaults => Next::Nothing,
        }
    }
}
