//! Running sessions.
