//! The door: sockets, handshakes, admission.
