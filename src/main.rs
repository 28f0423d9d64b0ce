//! The millstream daemon and its command line.

fn main() {}
