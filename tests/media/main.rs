//! Stages against programs that we did not write.

mod package;
