//! The names under which the output lists plugins: short if the short name is unambiguous.

use replug::PluginId;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

/// The known plugins by the last part of their ids.
#[derive(Debug, Default)]
pub(super) struct ShownNames {
    by_short: BTreeMap<String, BTreeSet<PluginId>>,
    /// The length of the longest name, if no plugin has come or gone since it was computed.
    widest: Cell<Option<usize>>,
}

impl ShownNames {
    pub(super) fn insert(&mut self, id: &PluginId) {
        if self.by_short.entry(id.short().to_owned()).or_default().insert(id.clone()) {
            self.widest.set(None);
        }
    }

    pub(super) fn remove(&mut self, id: &PluginId) {
        let Some(alike) = self.by_short.get_mut(id.short()) else { return };
        alike.remove(id);
        if alike.is_empty() {
            self.by_short.remove(id.short());
        }
        self.widest.set(None);
    }

    /// The last part of the id, unless the id of another plugin has the same last part.
    pub(super) fn name<'a>(&self, id: &'a PluginId) -> &'a str {
        let alike = self.by_short.get(id.short());
        match alike.is_some_and(|alike| alike.iter().any(|other| other != id)) {
            true => id.as_str(),
            false => id.short(),
        }
    }

    /// The length of the longest name.
    pub(super) fn widest(&self) -> usize {
        let compute = || {
            let lengths = self.by_short.values().flatten().map(|id| self.name(id).len());
            lengths.max().unwrap_or(0)
        };
        let widest = self.widest.get().unwrap_or_else(compute);
        self.widest.set(Some(widest));
        widest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_full_only_while_two_ids_have_the_same_last_part() {
        let (one, other): (PluginId, PluginId) =
            ("dev.replug.add".parse().unwrap(), "com.add".parse().unwrap());
        let mut names = ShownNames::default();
        assert_eq!((names.name(&one), names.widest()), ("add", 0));
        names.insert(&one);
        names.insert(&one);
        assert_eq!((names.name(&one), names.widest()), ("add", 3));
        names.insert(&other);
        assert_eq!((names.name(&one), names.name(&other)), ("dev.replug.add", "com.add"));
        assert_eq!(names.widest(), 14);
        names.remove(&one);
        names.remove(&one);
        assert_eq!((names.name(&other), names.widest()), ("add", 3));
    }
}
