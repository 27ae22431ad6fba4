//! What generated edges are made of: the FFI-safe shapes of arguments, and the guard that contains panics.
