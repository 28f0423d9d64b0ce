//! CMAF init segments and chunks.
