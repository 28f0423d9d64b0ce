//! The command line and the configuration.

mod reference;
mod streams;
mod support;
