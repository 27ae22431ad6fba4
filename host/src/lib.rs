//! (skeleton)

pub mod event;
pub mod id;
