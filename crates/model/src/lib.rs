//! See `ARCHITECTURE.md` for the place of this crate.
