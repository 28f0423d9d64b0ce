//! Stored playlists: put anew whenever they may list more, and never naming what is not there.
//!
//! At most one put of each playlist is under way, so that an older text cannot land on a newer one; what changes meanwhile
//! is in the next text. The multivariant playlist is put once every rendition has a stored playlist, and again when a new
//! configuration or renditions that join late change it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::Shared;
use super::catalog::Catalog;
use super::catalog::listing::Listing;
use super::session::Session;
use super::upload::{Job, Patience};
use crate::media::naming::{self, PLAYLIST};
use crate::media::segment::RenditionId;
use crate::wire::hls::MediaPlaylist;
use crate::wire::hls::describe::{self, Member};

/// Content-Type of playlists (RFC 8216 4).
const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// The state of one playlist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    /// What is stored is the newest.
    #[default]
    Idle,
    /// A job waits; it will render whatever is newest then.
    Queued,
    /// A job is at it.
    Running,
    /// A job is at it, and must render once more.
    Again,
}

/// The playlists of one session.
#[derive(Debug)]
pub(crate) struct Publication {
    turns: Mutex<Vec<Turn>>,
    /// How many of the renditions the session began with.
    founding: usize,
    /// The text that was stored last; locked while one is being put.
    multivariant: tokio::sync::Mutex<Option<String>>,
}

impl Publication {
    pub fn new(renditions: usize) -> Self {
        let turns = Mutex::new(vec![Turn::Idle; renditions]);
        Publication { turns, founding: renditions, multivariant: tokio::sync::Mutex::new(None) }
    }

    /// So many renditions join.
    pub fn join(&self, renditions: usize) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let count = turns.len() + renditions;
        turns.resize(count, Turn::Idle);
    }

    /// Moves a playlist's turn on; `None` for a rendition that is not there.
    fn turn(&self, rendition: RenditionId, next: impl FnOnce(Turn) -> Turn) -> Option<(Turn, Turn)> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.get_mut(usize::from(rendition.0))?;
        let before = *turn;
        *turn = next(before);
        Some((before, *turn))
    }

    /// Whether no playlist waits or is being put.
    pub fn is_idle(&self) -> bool {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.iter().all(|turn| *turn == Turn::Idle)
    }
}

/// The playlist may list more than is stored: puts it in line if it is not there already.
pub(crate) fn changed(shared: &Shared, session: &Arc<Session>, rendition: RenditionId) {
    let next = |turn| match turn {
        Turn::Idle | Turn::Queued => Turn::Queued,
        Turn::Running | Turn::Again => Turn::Again,
    };
    if session.publication.turn(rendition, next) == Some((Turn::Idle, Turn::Queued)) {
        shared.uploads.push_front(Job::Playlist(session.clone(), rendition));
    }
}

/// Puts the playlist until it is the newest, then the multivariant playlist if it changed.
pub(crate) async fn put_playlist(shared: &Shared, session: &Arc<Session>, rendition: RenditionId) {
    loop {
        session.publication.turn(rendition, |_| Turn::Running);
        put_newest(shared, session, rendition).await;
        let next = |turn| if turn == Turn::Again { Turn::Running } else { Turn::Idle };
        if !matches!(session.publication.turn(rendition, next), Some((Turn::Again, _))) {
            break;
        }
    }
    put_multivariant(shared, session).await;
}

/// The playlist's job is given up: the next change puts it in line again.
pub(crate) fn gave_up(session: &Session, rendition: RenditionId) {
    session.publication.turn(rendition, |_| Turn::Idle);
}

async fn put_newest(shared: &Shared, session: &Arc<Session>, rendition: RenditionId) {
    let mut patience = Patience::default();
    loop {
        // Rendered for each attempt: during an outage more may have come, and something may have been lost.
        let rendered = media_playlist(shared, &session.catalog.lock(), rendition);
        let Some((key, listing, text)) = rendered else { return };
        let put = shared.backend.put(&key, text.clone(), PLAYLIST_TYPE).await;
        if shared.attempted(&key, put, &mut patience).await.is_some() {
            shared.count_put(&shared.counters.put_playlists, text.len());
            let now = shared.clock.monotonic();
            if let Some(log) = session.catalog.lock().renditions.get_mut(usize::from(rendition.0)) {
                log.published(&listing, now);
            }
            return;
        }
    }
}

fn media_playlist(shared: &Shared, catalog: &Catalog, id: RenditionId) -> Option<(String, Listing, Bytes)> {
    let head = &catalog.head;
    let (log, rendition) = (catalog.rendition(id)?, head.renditions.get(usize::from(id.0))?);
    let listing = log.storable(catalog.window(shared.settings.window))?;
    let playlist = MediaPlaylist {
        target_duration_secs: describe::target_duration_secs(head.segment_target),
        media_sequence: listing.media_sequence,
        discontinuity_sequence: listing.discontinuity_sequence,
        playlist_type: None,
        independent_segments: describe::independent_segments(rendition),
        ended: listing.ended,
        uri_prefix: "",
        segments: listing.segments.iter(),
    };
    let text = playlist.render().into();
    Some((playlist_key(&head.stream, &head.session, Some(&rendition.name)), listing, text))
}

async fn put_multivariant(shared: &Shared, session: &Arc<Session>) {
    let mut stored = session.publication.multivariant.lock().await;
    let mut patience = Patience::default();
    loop {
        let founding = session.publication.founding;
        let Some(text) = multivariant(&session.catalog.lock(), founding) else { return };
        if stored.as_ref() == Some(&text) {
            return;
        }
        let key = playlist_key(&session.stream, &session.id, None);
        let put = shared.backend.put(&key, text.clone(), PLAYLIST_TYPE).await;
        if shared.attempted(&key, put, &mut patience).await.is_some() {
            shared.count_put(&shared.counters.put_playlists, text.len());
            *stored = Some(text);
            return;
        }
    }
}

/// Nothing until each of the `founding` renditions, which come first, is stored; those that joined late are in it once all of them
/// are.
fn multivariant(catalog: &Catalog, founding: usize) -> Option<String> {
    let mut tracks = Vec::with_capacity(catalog.renditions.len());
    for log in &catalog.renditions {
        let stored = log.inits.values().filter(|entry| entry.stored);
        let stored: Vec<_> = stored.map(|entry| &*entry.init.track).collect();
        if log.listed_from.is_none() || stored.is_empty() {
            break;
        }
        tracks.push(stored);
    }
    if tracks.len() < catalog.renditions.len() {
        if tracks.len() < founding {
            return None;
        }
        tracks.truncate(founding);
    }
    let logs = catalog.head.renditions.iter().zip(&catalog.renditions);
    let members = logs.zip(&tracks).map(|((rendition, log), held)| {
        let newest = held.last()?;
        Some(Member { rendition, newest, held, peak: log.peak })
    });
    let members = members.collect::<Option<Vec<_>>>()?;
    let playlist = (!members.is_empty()).then(|| describe::multivariant(&members));
    playlist.map(|playlist| playlist.render(""))
}

/// Key of a rendition's playlist, or of the session's multivariant one.
pub(crate) fn playlist_key(stream: &str, session: &str, rendition: Option<&str>) -> String {
    let folder = match rendition {
        Some(rendition) => naming::rendition_prefix(stream, session, rendition),
        None => naming::session_prefix(stream, session),
    };
    format!("{folder}/{PLAYLIST}")
}
