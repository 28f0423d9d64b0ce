//! Deleting what nobody can need any more: segments long out of the playlist, inits without segments, ended sessions.
//!
//! Deletion goes by the catalog, which is the list of what this daemon put; nothing is ever listed in the store or guessed
//! from a prefix. After a restart the catalog comes from the journal, and the times begin anew: later, never earlier.
//! An ended session goes from the outside in: first what names, then what is named, its journal last.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::journal::Record;
use super::journal::record::Placement;
use super::publish::playlist_key;
use super::session::{Finish, Session};
use super::stats::Counters;
use super::upload::{Job, Patience, media_key};
use crate::media::naming::MediaName;
use crate::media::segment::RenditionId;
use crate::telemetry::panics::{contained, contained_now};

/// Time between two looks at what is due. Segments last longer, so this is exact enough.
const EVERY: Duration = Duration::from_secs(1);
/// Deletions of one ended session that are under way at once.
const AT_ONCE: usize = 8;

/// Looks for what is due until the store stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            _ = tick.tick() => {
                // What one look leaves out because it panics, the next one finds.
                contained_now("retention", || pass(&shared));
                if shared.spool.take_waiting() {
                    let task = shared.clone();
                    contained("retention", shared.blocking(move || reclaim(&task))).await;
                }
            }
        }
    }
}

fn pass(shared: &Shared) {
    let now = shared.clock.monotonic();
    for session in shared.sessions() {
        let due = session.catalog.lock().due(now, shared.settings.window);
        for (rendition, name) in due {
            shared.uploads.push(Job::Delete(session.clone(), rendition, name));
        }
        let settled = session.publication.is_idle() && session.catalog.lock().is_settled();
        let over = settled && session.remove_at().take_if(|at| *at <= now).is_some();
        if over {
            shared.uploads.push(Job::Remove(session));
        }
    }
}

/// Removes the journal files that waited for a commit when their media was stored.
fn reclaim(shared: &Shared) {
    for session in shared.sessions() {
        shared.spool.reclaim(&session.tenant(), false);
    }
    shared.uploads.changed();
}

/// Monotonic time from which an ended session's objects go; `None` when it has not ended.
pub(crate) fn remove_at(shared: &Shared, session: &Session) -> Option<Duration> {
    let catalog = session.catalog.lock();
    let (_, ended) = catalog.finish.filter(|(how, _)| *how == Finish::Ended)?;
    // A wall clock that was set back must not keep it for longer than if it had ended now.
    let passed = shared.clock.wall().since(ended).to_std();
    Some(shared.clock.monotonic() + shared.settings.ended_keep.saturating_sub(passed))
}

/// Deletes a segment or an init, however often it takes.
pub(crate) async fn delete(shared: &Arc<Shared>, session: &Arc<Session>, rendition: RenditionId, name: MediaName) {
    let Some(key) = media_key(session, rendition, name) else { return };
    delete_key(shared, &key).await;
    session.catalog.lock().deleted(rendition, name);
    let session = session.clone();
    shared.blocking(move || session.note(&Record::Deleted(rendition, name))).await;
}

async fn delete_key(shared: &Shared, key: &str) {
    let mut patience = Patience::default();
    loop {
        let deleted = shared.backend.delete(key).await;
        if shared.attempted(key, deleted, &mut patience).await.is_some() {
            Counters::add(&shared.counters.deletes, 1);
            return;
        }
    }
}

/// Deletes all of an ended session.
pub(crate) async fn remove(shared: &Arc<Shared>, session: &Arc<Session>) {
    let (playlists, media) = objects(session);
    for key in playlists {
        delete_key(shared, &key).await;
    }
    let keys = media.into_iter().filter_map(|(rendition, name)| media_key(session, rendition, name));
    let deletions = stream::iter(keys.map(|key| async move { delete_key(shared, &key).await }));
    deletions.buffer_unordered(AT_ONCE).collect::<()>().await;
    shared.forget(session);
    let (task, gone) = (shared.clone(), session.clone());
    shared
        .blocking(move || {
            gone.journal().retire();
            task.spool.remove_session(&gone.tenant(), &task.spool.folder(&gone.stream, &gone.id));
        })
        .await;
    tracing::debug!(stream = session.stream, session = session.id, "an ended session is gone from the store");
}

/// Everything that was put: playlists from the outermost in, and media.
fn objects(session: &Session) -> (Vec<String>, Vec<(RenditionId, MediaName)>) {
    let catalog = session.catalog.lock();
    let mut playlists = vec![playlist_key(&session.stream, &session.id, None)];
    let names = catalog.head.renditions.iter().map(|rendition| rendition.name.as_str());
    playlists.extend(names.map(|name| playlist_key(&session.stream, &session.id, Some(name))));
    let mut media = Vec::new();
    for (id, log) in catalog.ids() {
        let segments = log.entries.iter().filter(|entry| entry.placement == Placement::Stored);
        media.extend(segments.map(|entry| (id, entry.segment.name())));
        media.extend(log.inits.keys().map(|number| (id, MediaName::Init { number: *number })));
    }
    (playlists, media)
}
