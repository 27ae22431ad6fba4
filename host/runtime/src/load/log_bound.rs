//! The most verbose level at which plugins log, and how it changes.

use replug_wire::Level;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};
use tracing::level_filters::LevelFilter;

/// The setting `log.plugins`. All clones share it.
///
/// The subscriber's maximum level cannot replace this setting. The maximum level is the most verbose level of all
/// layers, and may be meant for the host's own logs.
#[derive(Clone, Debug)]
pub struct LogBound(Arc<AtomicU8>);

impl LogBound {
    /// A bound with this setting. If the setting is `None`, the subscriber alone decides.
    pub fn new(setting: Option<LevelFilter>) -> Self {
        let bound = Self(Arc::default());
        bound.set(setting);
        bound
    }

    /// Changes the setting. The change takes effect for the report sinks immediately. The caller must also set the
    /// level of the running plugins.
    pub fn set(&self, setting: Option<LevelFilter>) {
        self.0.store(level(setting.unwrap_or(LevelFilter::TRACE)).0, Ordering::Relaxed);
    }

    /// Whether an event of that level is within the bound.
    pub(crate) fn admits(&self, level: Level) -> bool {
        level.0 <= self.0.load(Ordering::Relaxed)
    }

    /// The most verbose level that is within the bound and that the host's subscriber currently enables.
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
