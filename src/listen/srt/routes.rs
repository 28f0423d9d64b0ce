//! Which datagram is whose: the receive loop's table of connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// What datagrams of one connection are cut from: about 45 of them.
const SLAB_BYTES: usize = 64 * 1024;

/// A datagram on its way to its connection's task.
#[derive(Debug)]
pub(super) struct Datagram {
    /// Header and content.
    pub bytes: BytesMut,
    /// When it was read from the socket, since the listener's begin.
    pub at: Duration,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routed {
    /// It is in its connection's queue.
    Queued,
    /// The queue is full.
    Dropped,
    /// There is no such connection, or not from this address.
    Unknown,
}

#[derive(Debug)]
struct Route {
    from: SocketAddr,
    queue: mpsc::Sender<Datagram>,
    slab: BytesMut,
}

/// Connections by our socket id, and by address and the caller's.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_socket: HashMap<u32, Route>,
    by_caller: HashMap<(SocketAddr, u32), u32>,
}

impl Routes {
    /// Whether `socket` may be given to a new connection.
    pub fn is_free(&self, socket: u32) -> bool {
        socket != 0 && !self.by_socket.contains_key(&socket)
    }

    /// A new connection: `socket` is ours, `caller` its own.
    pub fn add(&mut self, socket: u32, from: SocketAddr, caller: u32, queue: mpsc::Sender<Datagram>) {
        self.by_caller.insert((from, caller), socket);
        self.by_socket.insert(socket, Route { from, queue, slab: BytesMut::new() });
    }

    /// Our socket id of a caller that asks for a connection again.
    pub fn of_caller(&self, from: SocketAddr, caller: u32) -> Option<u32> {
        self.by_caller.get(&(from, caller)).copied()
    }

    /// Hands `bytes` to the connection `socket`, if they come from its caller's address.
    pub fn pass(&mut self, socket: u32, from: SocketAddr, bytes: &[u8], at: Duration) -> Routed {
        let Some(route) = self.by_socket.get_mut(&socket).filter(|route| route.from == from) else {
            return Routed::Unknown;
        };
        let permit = match route.queue.try_reserve() {
            Ok(permit) => permit,
            Err(TrySendError::Full(())) => return Routed::Dropped,
            Err(TrySendError::Closed(())) => return Routed::Unknown, // until the next sweep
        };
        if route.slab.capacity() < bytes.len() {
            route.slab = BytesMut::with_capacity(SLAB_BYTES.max(bytes.len()));
        }
        route.slab.extend_from_slice(bytes);
        permit.send(Datagram { bytes: route.slab.split(), at });
        Routed::Queued
    }

    /// Forgets connections whose tasks have ended.
    pub fn sweep(&mut self) {
        self.by_socket.retain(|_, route| !route.queue.is_closed());
        self.by_caller.retain(|_, socket| self.by_socket.contains_key(socket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn datagrams_go_to_their_connection_and_only_from_its_address() {
        let mut routes = Routes::default();
        let (sender, mut queue) = mpsc::channel(2);
        routes.add(7, address(1), 99, sender);
        assert!(!routes.is_free(7) && !routes.is_free(0) && routes.is_free(8));
        assert_eq!(routes.of_caller(address(1), 99), Some(7));
        let now = Duration::from_secs(1);
        assert_eq!(routes.pass(7, address(1), b"one", now), Routed::Queued);
        assert_eq!(routes.pass(7, address(2), b"two", now), Routed::Unknown);
        assert_eq!(routes.pass(8, address(1), b"two", now), Routed::Unknown);
        assert_eq!(routes.pass(7, address(1), b"two", now), Routed::Queued);
        assert_eq!(routes.pass(7, address(1), b"three", now), Routed::Dropped);
        let got: Vec<_> = std::iter::from_fn(|| queue.try_recv().ok()).map(|one| one.bytes.to_vec()).collect();
        assert_eq!(got, [b"one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn a_connection_whose_task_ended_is_forgotten() {
        let mut routes = Routes::default();
        for socket in [7, 8] {
            let (sender, _) = mpsc::channel(2);
            routes.add(socket, address(1), socket, sender);
        }
        assert_eq!(routes.pass(7, address(1), b"one", Duration::ZERO), Routed::Unknown);
        routes.sweep();
        assert!(routes.by_socket.is_empty() && routes.by_caller.is_empty());
    }
}
