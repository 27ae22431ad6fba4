//! Shows the running builds: on a terminal with a spinner, otherwise with a line every ten seconds.

use super::terminal::{self, Spinner, harmless};
use replug::{PluginId, event::BuildProgress};
use std::{collections::BTreeMap, future::pending, time::Duration};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep_until},
};

/// The time after which a terminal shows a running build.
const PATIENCE: Duration = Duration::from_millis(300);

/// The interval at which a line shows the builds, if there is no terminal.
const PERIOD: Duration = Duration::from_secs(10);

/// The running builds.
#[derive(Default)]
pub(super) struct Building {
    builds: BTreeMap<PluginId, Build>,
    /// When to print the next line or, on a terminal, to show the spinner. `None` if no build runs, or if the spinner
    /// is already shown.
    due: Option<Instant>,
    spinner: Option<Spinner>,
}

/// One build.
struct Build {
    name: String,
    since: Instant,
    progress: Option<BuildProgress>,
}

impl Building {
    /// Adds a build of the plugin. `name` is the plugin's name in the output.
    pub(super) fn started(&mut self, id: &PluginId, name: &str) {
        let build = Build { name: name.to_owned(), since: Instant::now(), progress: None };
        self.builds.insert(id.clone(), build);
        if self.due.is_none() && self.spinner.is_none() {
            let patience = if Spinner::is_visible() { PATIENCE } else { PERIOD };
            self.due = Some(Instant::now() + patience);
        }
        self.update_spinner();
    }

    /// Records the progress of the plugin's build.
    pub(super) fn progressed(&mut self, id: &PluginId, progress: &BuildProgress) {
        if let Some(build) = self.builds.get_mut(id) {
            build.progress = Some(progress.clone());
            self.update_spinner();
        }
    }

    /// Removes the build of the plugin.
    pub(super) fn ended(&mut self, id: &PluginId) {
        self.builds.remove(id);
        if self.builds.is_empty() {
            self.clear();
        } else {
            self.update_spinner();
        }
    }

    /// Removes all builds.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Waits until the next line or the spinner is due. Never returns if no build is running, or if the spinner is
    /// already shown.
    pub(super) async fn due(&self) {
        match self.due {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }

    /// Called when `due` has returned. Without a terminal, returns the line to print, and sets the time of the next
    /// one. On a terminal, shows the spinner and returns `None`.
    pub(super) fn line(&mut self) -> Option<String> {
        if Spinner::is_visible() {
            self.due = None;
            self.spinner = Some(Spinner::new());
            self.update_spinner();
            return None;
        }
        let now = Instant::now();
        self.due = Some(now + PERIOD);
        let builds: Vec<_> = self.builds.values().map(|build| build.in_line(now)).collect();
        Some(harmless(&format!("building {}", builds.join("; "))))
    }

    /// Hides the spinner while `print` runs.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.spinner {
            Some(spinner) => spinner.aside(print),
            None => print(),
        }
    }

    fn update_spinner(&self) {
        let Some(spinner) = &self.spinner else { return };
        let builds: Vec<_> = self.builds.values().map(Build::in_brief).collect();
        spinner.show(harmless(&format!("building {}", builds.join(", "))));
    }
}

impl Build {
    /// The build as part of a line, such as `calculator 37/53 for 20s (serde, syn)`.
    fn in_line(&self, now: Instant) -> String {
        let (counts, doing) = self.counts_and_doing();
        let time = humantime::format_duration(Duration::from_secs(now.duration_since(self.since).as_secs()));
        let doing = if doing.is_empty() { String::new() } else { format!(" ({doing})") };
        format!("{}{counts} for {time}{doing}", self.name)
    }

    /// The build in the spinner, such as `calculator 37/53 (serde, syn)`. For a build without counts, such as one that
    /// waits for another build, this is only the name of the plugin.
    fn in_brief(&self) -> String {
        match self.counts_and_doing() {
            (counts, "") => format!("{}{counts}", self.name),
            (counts, _) if counts.is_empty() => self.name.clone(),
            (counts, doing) => format!("{}{counts} ({doing})", self.name),
        }
    }

    fn counts_and_doing(&self) -> (String, &str) {
        match &self.progress {
            None => (String::new(), ""),
            Some(BuildProgress { done: Some(done), total: Some(total), doing }) => {
                (format!(" {done}/{total}"), doing)
            }
            Some(progress) => (String::new(), &progress.doing),
        }
    }
}

/// Waits for the build of one plugin, and shows its progress.
pub(super) async fn shown<T>(
    id: &PluginId,
    mut updates: UnboundedReceiver<BuildProgress>,
    work: impl Future<Output = T>,
) -> T {
    let mut building = Building::default();
    building.started(id, id.short());
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(progress) = updates.recv() => building.progressed(id, &progress),
            () = building.due() => if let Some(line) = building.line() {
                terminal::note(&line);
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_line_names_plugin_progress_and_time() {
        let ids = ["dev.example.calculator", "dev.example.counter"].map(|id| id.parse::<PluginId>().unwrap());
        let mut building = Building::default();
        for id in &ids {
            building.started(id, id.short());
        }
        let compiling = BuildProgress { done: Some(37), total: Some(53), doing: "serde, syn".into() };
        building.progressed(&ids[0], &compiling);
        building.progressed(&ids[1], &BuildProgress { done: None, total: None, doing: "waiting".into() });
        let now = Instant::now() + PERIOD;
        let lines: Vec<_> = building.builds.values().map(|build| build.in_line(now)).collect();
        assert!(
            lines[0].starts_with("calculator 37/53 for 1") && lines[0].ends_with("s (serde, syn)"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with("counter for 1") && lines[1].ends_with("s (waiting)"), "{lines:?}");
        let brief: Vec<_> = building.builds.values().map(Build::in_brief).collect();
        assert_eq!(brief, ["calculator 37/53 (serde, syn)", "counter"]);
        ids.iter().for_each(|id| building.ended(id));
        assert!(building.due.is_none() && building.builds.is_empty());
    }
}
