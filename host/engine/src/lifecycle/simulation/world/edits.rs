//! Edits of the manifest, and new configurations.

use super::World;
use crate::lifecycle::{Edit, Input, Next, Work};

impl World {
    /// Someone asks for another configuration.
    pub(super) fn configure(&mut self) {
        self.step(Input::ConfigureBegan);
        let (took_it, _) = self.is_configured(true);
        if took_it {
            self.accept();
        }
    }

    /// The manifest was edited. Returns what is left to do.
    pub(super) fn edit(&mut self) -> Next {
        // What takes another instance is more than another configuration.
        let more = self.dice.chance(1, 2);
        let edit = Edit {
            serves: self.serves.is_some(),
            reconfigures: self.dice.chance(1, 2),
            needs_another: more && self.dice.chance(1, 2),
            more,
        };
        let was_pending = self.watch.is_pending;
        let work = self.step(Input::ManifestRead(edit));
        let Some(Work::Adopt { at_once, next }) = work else {
            self.watch.rule(false, || format!("of an edit comes {work:?}"));
            return Next::Nothing;
        };
        let takes_over = edit.serves && (edit.reconfigures || edit.needs_another);
        self.watch.rule(at_once != takes_over, || format!("{edit:?} is in force at once: {at_once}"));
        if at_once {
            self.accept();
        }
        self.watch.is_pending = takes_over;
        let next = match (edit.serves && !edit.more, edit.reconfigures) {
            (false, _) => return self.expect_next(next, Next::Build),
            (true, false) => next,
            (true, true) => {
                self.expect_next(next, Next::Configure);
                let (took_it, next) = self.is_configured(false);
                if took_it {
                    self.accept();
                }
                next
            }
        };
        let faults = self.machine.faults();
        let may_fit = faults.is_unfit() || was_pending && faults.of_source();
        self.expect_next(next, if may_fit { Next::Build } else { Next::Nothing })
    }

    fn expect_next(&mut self, next: Next, expected: Next) -> Next {
        self.watch.rule(next == expected, || format!("after an edit comes {next:?}, and not {expected:?}"));
        next
    }

    /// What serves takes its configuration or refuses it. Returns whether it does, and what is left to do.
    fn is_configured(&mut self, by_order: bool) -> (bool, Next) {
        self.takes_time();
        let before = self.machine.faults().clone();
        let takes_it = self.calm || self.dice.chance(1, 2);
        if !takes_it {
            let text = "it refuses its configuration".to_owned();
            self.step(Input::Refused(text.clone()));
            let faults = self.machine.faults();
            let is_so = if by_order { *faults == before } else { faults.first() == Some(&text) };
            self.watch.rule(is_so, || format!("it was refused, and of {before:?} came something else"));
        }
        let next = match self.step(Input::ConfigureEnded) {
            Some(Work::GoOn(next)) => next,
            _ => Next::Nothing,
        };
        (takes_it, next)
    }

    /// The plugin follows what its manifest says.
    pub(super) fn accept(&mut self) {
        self.watch.is_pending = false;
        self.step(Input::Accepted(self.policy));
        self.step(Input::WordsApply);
    }
}
