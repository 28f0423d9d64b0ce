//! Stage 3: packets become parts, parts become segments, segments become a window.
