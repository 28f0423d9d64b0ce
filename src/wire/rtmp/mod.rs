//! RTMP 1.0, without IO.
