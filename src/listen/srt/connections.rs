//! Figures of the connections that publish now, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::listen::Destination;
use crate::wire::srt::Stats;

/// The table of publishing connections: one per session, of several the newest.
#[derive(Clone, Debug, Default)]
pub struct SrtConnections(Arc<Mutex<BTreeMap<String, Row>>>);

#[derive(Debug)]
struct Row {
    stream: String,
    /// Whose row it is.
    connection: u32,
    stats: Stats,
}

impl SrtConnections {
    /// Calls `see` with stream, session and figures of each.
    pub fn each(&self, mut see: impl FnMut(&str, &str, &Stats)) {
        for (session, row) in self.lock().iter() {
            see(&row.stream, session, &row.stats);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins to publish.
    pub(super) fn begin(&self, to: &Destination, connection: u32, stats: Stats) -> Reported {
        let row = Row { stream: to.stream.clone(), connection, stats };
        self.lock().insert(to.session.clone(), row);
        Reported { table: self.clone(), session: to.session.clone(), connection }
    }
}

/// One connection's row; gone with this.
#[derive(Debug)]
pub(super) struct Reported {
    table: SrtConnections,
    session: String,
    connection: u32,
}

impl Reported {
    /// Tells the figures of now.
    pub(super) fn update(&self, stats: Stats) {
        if let Some(row) = self.table.lock().get_mut(&self.session).filter(|row| row.connection == self.connection) {
            row.stats = stats;
        }
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        let mut rows = self.table.lock();
        if rows.get(&self.session).is_some_and(|row| row.connection == self.connection) {
            rows.remove(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_connection_of_a_session_takes_the_row_and_keeps_it() {
        let table = SrtConnections::default();
        let to = Destination { stream: "s".to_owned(), session: "a".to_owned() };
        let with = |packets| Stats { packets, ..Stats::default() };
        let old = table.begin(&to, 1, with(1));
        let new = table.begin(&to, 2, with(2));
        old.update(with(9));
        drop(old);
        let mut seen = Vec::new();
        table.each(|stream, session, stats| seen.push((stream.to_owned(), session.to_owned(), stats.packets)));
        assert_eq!(seen, [("s".to_owned(), "a".to_owned(), 2)]);
        drop(new);
        table.each(|_, session, _| panic!("{session} is still there"));
    }
}
