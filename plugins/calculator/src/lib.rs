//! Arithmetic with helpful errors, and a history that survives reloads.
//!
//! This example shows a configuration with defaults that changes while the plugin runs, state that a reload hands
//! over, a lifecycle that is logged, and errors for programs and people. All methods take `&self` and run on many
//! threads at once, so mutable data is behind a lock.

use replug_api::prelude::*;
use replug_interfaces::{CalcError, CalcStatus, Calculator, Entry};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// `[config]` of the calculator.
#[replug_api::config]
#[derive(Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct CalcConfig {
    /// The maximum number of calculations in the history.
    pub history_limit: usize,
}

impl Default for CalcConfig {
    fn default() -> Self {
        Self { history_limit: 100 }
    }
}

/// The calculator.
pub struct Basic {
    generation: u64,
    memory: Mutex<Memory>,
}

struct Memory {
    limit: usize,
    entries: VecDeque<Entry>,
}

impl Memory {
    fn forget_the_oldest(&mut self) {
        let surplus = self.entries.len().saturating_sub(self.limit);
        self.entries.drain(..surplus);
    }
}

impl Plugin for Basic {
    type Config = CalcConfig;
    type State = Vec<Entry>;
    const STATE_VERSION: u32 = 1;

    fn init(context: &Context, config: CalcConfig) -> Result<Self, PluginError> {
        let memory = Memory { limit: config.history_limit, entries: VecDeque::new() };
        Ok(Self { generation: context.generation(), memory: Mutex::new(memory) })
    }

    fn start(&self) -> Result<(), PluginError> {
        info!(remembered = self.memory().entries.len(), "the calculator is on");
        Ok(())
    }

    fn stop(&self) -> Result<(), PluginError> {
        info!(remembered = self.memory().entries.len(), "the calculator is off");
        Ok(())
    }

    fn health(&self) -> Health {
        let CalcStatus { remembered, history_limit, .. } = self.status();
        debug!(remembered, history_limit, "the calculator is well");
        Health::ok().with_message(format!("history: {remembered} of {history_limit}"))
    }

    fn on_config(&self, config: CalcConfig) -> Result<(), PluginError> {
        let mut memory = self.memory();
        memory.limit = config.history_limit;
        memory.forget_the_oldest();
        Ok(())
    }

    fn save(&self) -> Result<Vec<Entry>, PluginError> {
        Ok(self.history())
    }

    fn restore(&self, from_version: u32, state: SavedState) -> Result<(), PluginError> {
        if from_version != Self::STATE_VERSION {
            return Err(PluginError::unknown_state_version(from_version, Self::STATE_VERSION));
        }
        let mut memory = self.memory();
        memory.entries = state.decode()?;
        memory.forget_the_oldest();
        Ok(())
    }
}

impl Calculator for Basic {
    fn add(&self, a: f64, b: f64) -> f64 {
        self.remember("add", &[a, b], a + b)
    }

    fn subtract(&self, a: f64, b: f64) -> f64 {
        self.remember("subtract", &[a, b], a - b)
    }

    fn multiply(&self, a: f64, b: f64) -> f64 {
        self.remember("multiply", &[a, b], a * b)
    }

    fn divide(&self, a: f64, b: f64) -> Result<f64, CalcError> {
        let error = |code, what| CalcError::new(code, what).with("a", a).with("b", b);
        if b == 0.0 {
            return Err(error(CalcError::DIVIDE_BY_ZERO, format!("divide by zero: {a} / {b} has no result")));
        }
        let result =
            finite(a / b).ok_or_else(|| error(CalcError::NOT_FINITE, not_finite(&format!("{a} / {b}"))))?;
        Ok(self.remember("divide", &[a, b], result))
    }

    fn sqrt(&self, x: f64) -> Result<f64, CalcError> {
        let error = |code, what| CalcError::new(code, what).with("x", x);
        if x < 0.0 {
            return Err(error(
                CalcError::NEGATIVE_SQRT,
                format!("negative sqrt: {x} has no real square root"),
            ));
        }
        let result = finite(x.sqrt())
            .ok_or_else(|| error(CalcError::NOT_FINITE, not_finite(&format!("sqrt({x})"))))?;
        Ok(self.remember("sqrt", &[x], result))
    }

    fn power(&self, base: f64, exponent: f64) -> Result<f64, CalcError> {
        let result = finite(base.powf(exponent)).ok_or_else(|| {
            CalcError::new(CalcError::NOT_FINITE, not_finite(&format!("{base} to the power of {exponent}")))
                .with("base", base)
                .with("exponent", exponent)
        })?;
        Ok(self.remember("power", &[base, exponent], result))
    }

    fn factorial(&self, n: u64) -> Result<u64, CalcError> {
        let result = (1..=n).try_fold(1_u64, u64::checked_mul).ok_or_else(|| {
            let what =
                format!("factorial overflow: {n}! does not fit into 64 bits; 20! is the largest that does");
            CalcError::new(CalcError::FACTORIAL_OVERFLOW, what).with("n", n)
        })?;
        self.remember("factorial", &[n as f64], result as f64);
        Ok(result)
    }

    fn history(&self) -> Vec<Entry> {
        self.memory().entries.iter().cloned().collect()
    }

    fn status(&self) -> CalcStatus {
        let memory = self.memory();
        CalcStatus {
            generation: self.generation,
            remembered: memory.entries.len() as u64,
            history_limit: memory.limit as u64,
        }
    }
}

impl Basic {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // An entry is added completely or not at all, so the history is valid even after a panic on another thread.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, operation: &str, operands: &[f64], result: f64) -> f64 {
        let entry = Entry { operation: operation.to_owned(), operands: operands.to_vec(), result };
        let mut memory = self.memory();
        memory.entries.push_back(entry);
        memory.forget_the_oldest();
        result
    }
}

fn finite(result: f64) -> Option<f64> {
    result.is_finite().then_some(result)
}

fn not_finite(calculation: &str) -> String {
    format!("not finite: {calculation} has no finite result")
}

replug_api::export!(Basic: Calculator);

#[cfg(test)]
mod tests;
