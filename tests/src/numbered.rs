//! Makes different artifacts without a compiler: copies of the fixture `numbered`, each with its own number.

use anyhow::{Context, Result, ensure};
use std::{fs, path::Path};

/// The bytes that precede the number in the fixture's file.
const MAGIC: &[u8] = b"replug's number:";

/// The built fixture, which is copied.
#[derive(Debug)]
pub struct Numbered {
    library: Vec<u8>,
    /// The position of the number.
    at: usize,
}

impl Numbered {
    /// Reads the built fixture.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the position of the number is not found, or found more than once.
    pub fn read(built: &Path) -> Result<Self> {
        let library = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
        let found: Vec<_> = library
            .windows(MAGIC.len())
            .enumerate()
            .filter_map(|(at, window)| (window == MAGIC).then_some(at + MAGIC.len()))
            .collect();
        ensure!(found.len() == 1, "{} has {} places for the number", built.display(), found.len());
        Ok(Self { library, at: found[0] })
    }

    /// Writes a copy with that number to `path`, atomically.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn put(&mut self, number: u64, path: &Path) -> Result<()> {
        self.library[self.at..self.at + 8].copy_from_slice(&number.to_ne_bytes());
        let incoming = path.with_extension("incoming");
        fs::write(&incoming, &self.library)
            .with_context(|| format!("cannot write {}", incoming.display()))?;
        fs::rename(&incoming, path).with_context(|| format!("cannot replace {}", path.display()))
    }

    /// The size of each copy.
    pub fn bytes(&self) -> usize {
        self.library.len()
    }
}
