//! Stage 2: compressed source packets in, compressed rung packets out.
