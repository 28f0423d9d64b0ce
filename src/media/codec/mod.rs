//! Parsers of parameter sets: what a playlist, an init segment and the ladder's plan must know of a track.
