//! Stage 1: what a publisher sent becomes one timeline with cuts.
