//! The progress of a build. Cargo prints a progress report such as `[=====>    ] 37/53: serde, syn`, and ends it with a
//! carriage return, so that the next report replaces it on the terminal. Cargo reports the number of crates to compile
//! only in these lines.
//!
//! Run a build in [`reported`] to receive its progress; [`forward`] reads the output of the build's processes.

use replug_model::event::BuildProgress;
use std::{process::Command, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

tokio::task_local! {
    static PROGRESS: watch::Sender<Option<BuildProgress>>;
}

/// The minimum interval between two reports.
const PACE: Duration = Duration::from_secs(1);

/// Runs `work`, and passes the progress of the builds in it to `report`: the first progress immediately, and then the
/// latest progress at most once a second.
pub(super) async fn reported<T>(mut report: impl FnMut(BuildProgress), work: impl Future<Output = T>) -> T {
    let (sender, mut received) = watch::channel(None);
    let work = PROGRESS.scope(sender, work);
    tokio::pin!(work);
    let mut not_before = Instant::now();
    loop {
        let news = async {
            // The sender exists as long as the work runs.
            let _ = received.changed().await;
            sleep_until(not_before).await;
        };
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = news => {}
        }
        if let Some(progress) = received.borrow_and_update().clone() {
            report(progress);
        }
        not_before = Instant::now() + PACE;
    }
}

/// Makes cargo print its progress even if its output is not a terminal.
pub(super) fn enable(cargo: &mut Command) {
    cargo.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "160");
    cargo.env("CARGO_TERM_PROGRESS_TERM_INTEGRATION", "false");
}

/// Reports a step of a build that cargo does not report.
pub(super) fn note(doing: &str) {
    send(BuildProgress { done: None, total: None, doing: doing.to_owned() });
}

/// Parses `written`, the text up to a carriage return, and reports the progress in it. Returns whether the text was
/// progress of cargo.
pub(super) fn forward(written: &[u8]) -> bool {
    let progress = str::from_utf8(written).ok().and_then(read);
    let is_progress = progress.is_some();
    progress.into_iter().for_each(send);
    is_progress
}

fn send(progress: BuildProgress) {
    // Outside of `reported`, the progress is dropped.
    let _ = PROGRESS.try_with(|sender| {
        sender.send_if_modified(|known| {
            let is_news = known.as_ref() != Some(&progress);
            *known = Some(progress);
            is_news
        })
    });
}

/// Parses `[=> ] 1/18: zmij(build), serde_core`, and `12 crates, remaining bytes: 3.1MiB`, which cargo prints for
/// downloads.
fn read(written: &str) -> Option<BuildProgress> {
    let text = written.trim_start_matches("\u{1b}[K").trim();
    if let Some(bar) = text.strip_prefix('[') {
        let (bar, rest) = bar.split_once("] ")?;
        let (counts, doing) = rest.split_once(':').unwrap_or((rest, ""));
        let (done, total) = counts.split_once('/')?;
        let is_bar = bar.chars().all(|c| "=> ".contains(c));
        let progress = BuildProgress {
            done: Some(done.trim().parse().ok()?),
            total: Some(total.trim().parse().ok()?),
            doing: doing.trim().into(),
        };
        return is_bar.then_some(progress);
    }
    let (count, rest) = text.split_once(' ')?;
    let is_download = count.parse::<u64>().is_ok() && (rest.starts_with("crate"));
    is_download.then(|| BuildProgress { done: None, total: None, doing: format!("downloading {text}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_lines_of_cargo_are_parsed_as_progress() {
        let of = |done, total, doing: &str| BuildProgress { done, total, doing: doing.into() };
        for (written, progress) in [
            (
                "[>        ] 1/18: zmij(build), serde_core(build.rs)  ",
                of(Some(1), Some(18), "zmij(build), serde_core(build.rs)"),
            ),
            ("\u{1b}[K[======>  ] 37/53: syn", of(Some(37), Some(53), "syn")),
            ("[=========] 53/53", of(Some(53), Some(53), "")),
            ("1 crate     ", of(None, None, "downloading 1 crate")),
            (
                "12 crates, remaining bytes: 3.1MiB",
                of(None, None, "downloading 12 crates, remaining bytes: 3.1MiB"),
            ),
        ] {
            assert_eq!(read(written), Some(progress), "{written}");
        }
        for other in ["error: could not compile", "[dependencies] a/b", "[=> ] x/2: a", "12 warnings", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn progress_is_reported_immediately_and_then_at_most_once_a_second() {
        let (reporter, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let report = |progress: BuildProgress| reporter.send(progress.done.unwrap()).unwrap();
        let build = async {
            let forward = |done: u64| assert!(forward(format!("[=> ] {done}/25: a").as_bytes()));
            forward(0);
            let first = reports.recv().await;
            (1..=24).for_each(forward);
            (first, reports.recv().await)
        };
        assert_eq!(reported(report, build).await, (Some(0), Some(24)));
    }
}
