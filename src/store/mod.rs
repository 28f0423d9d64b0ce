//! Stage 4: the journal, and objects.
