//! The most that plugins are asked to log, as it is now.

use replug_wire::Level;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};
use tracing::level_filters::LevelFilter;

/// What `log.plugins` says, for those who hear the plugins. All clones are the same.
///
/// A subscriber says no more than what the most verbose of its layers wants, and that may be the host's own logs.
#[derive(Clone, Debug)]
pub struct LogBound(Arc<AtomicU8>);

impl LogBound {
    /// If nothing is said, the subscriber decides alone.
    pub fn new(said: Option<LevelFilter>) -> Self {
        let bound = Self(Arc::default());
        bound.set(said);
        bound
    }

    /// Counts from now on; plugins that run have yet to be told.
    pub fn set(&self, said: Option<LevelFilter>) {
        self.0.store(level(said.unwrap_or(LevelFilter::TRACE)).0, Ordering::Relaxed);
    }

    /// Whether what has that level is within the bound.
    pub(crate) fn admits(&self, level: Level) -> bool {
        level.0 <= self.0.load(Ordering::Relaxed)
    }

    /// The most verbose level that is within the bound and that the host's subscriber wants at this time.
    pub fn wanted(&self) -> Level {
        Level(level(LevelFilter::current()).0.min(self.0.load(Ordering::Relaxed)))
    }
}

fn level(filter: LevelFilter) -> Level {
    use tracing::Level as L;
    Level(match filter.into_level() {
        None => 0,
        Some(L::ERROR) => 1,
        Some(L::WARN) => 2,
        Some(L::INFO) => 3,
        Some(L::DEBUG) => 4,
        Some(L::TRACE) => 5,
    })
}
