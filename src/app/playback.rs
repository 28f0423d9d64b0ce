//! What viewers ask for: from the window of a running session first, then from spool and store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::control::{Control, ControlError};
use crate::live::{Session, SessionState, Sessions};
use crate::media::naming::MediaName;
use crate::media::{Kind, segment::RenditionId};
use crate::package::Window;
use crate::store::Store;
use crate::web::{
    ContentType, Media, PlaybackError, PlaybackSource, Playlist, RenditionInfo, StreamState, StreamStatus,
};
use crate::wire::hls::multivariant::with_uri_prefix;

/// How long a request for a playlist that is about to exist is held. Below the 10 s at which hls.js gives up.
const HOLD: Duration = Duration::from_secs(9);

/// Playback of this node.
#[derive(Clone)]
pub struct Playback {
    control: Control,
    sessions: Sessions,
    store: Arc<Store>,
}

impl Playback {
    /// Playback of these sessions and this store.
    pub fn new(control: Control, sessions: Sessions, store: Arc<Store>) -> Self {
        Playback { control, sessions, store }
    }

    async fn stream_title(&self, stream: &str) -> Result<String, PlaybackError> {
        match self.control.find_stream(stream).await {
            // Playback is by id alone: a stream's name is its owner's business.
            Ok(found) if found.id.as_str() != stream => Err(PlaybackError::NoSuchStream),
            Ok(stream) => Ok(if stream.title.is_empty() { stream.name } else { stream.title }),
            Err(ControlError::StreamNotFound(_)) => Err(PlaybackError::NoSuchStream),
            Err(failure) => Err(PlaybackError::Internal(failure.to_string())),
        }
    }

    /// The window of exactly this session, if it is in memory.
    fn window(&self, stream: &str, session: &str) -> Option<Arc<Window>> {
        let running = self.sessions.find(stream).filter(|running| running.spec().session == session)?;
        running.window().borrow().clone()
    }

    /// The stored playlist of a session that has ended and is not in memory any more, because the next one has begun or the daemon
    /// was started anew: whoever still plays it learns that it is over.
    async fn ended_playlist(&self, stream: &str, session: &str, rendition: &str) -> Result<Playlist, PlaybackError> {
        let read = self.store.read_playlist(stream, session, Some(rendition)).await;
        let text = read.map_err(|failure| PlaybackError::Internal(failure.to_string()))?;
        let ended = text.filter(|text| text.ends_with(b"#EXT-X-ENDLIST\n"));
        ended.map(|text| Playlist::new(text, true)).ok_or(PlaybackError::Gone)
    }

    /// The stored multivariant playlist of a session that has ended and is not in memory any more. `prefix` as of
    /// [`with_uri_prefix`].
    async fn ended_multivariant(&self, stream: &str, session: &str, prefix: &str) -> Result<Playlist, PlaybackError> {
        let read = self.store.read_playlist(stream, session, None).await;
        let text = read.map_err(|failure| PlaybackError::Internal(failure.to_string()))?;
        let text = text.ok_or(PlaybackError::Gone)?;
        Ok(Playlist::new(with_uri_prefix(&String::from_utf8_lossy(&text), prefix), true))
    }

    /// A file of a session that is not in memory (any more).
    async fn stored(
        &self,
        stream: &str,
        session: &str,
        rendition: &str,
        name: MediaName,
        content_type: ContentType,
    ) -> Result<Media, PlaybackError> {
        let read = self.store.read(stream, session, rendition, name).await;
        let bytes = read.map_err(|failure| PlaybackError::Internal(failure.to_string()))?;
        bytes.map(|bytes| Media::new(vec![bytes], content_type)).ok_or(PlaybackError::NotFound)
    }
}

impl PlaybackSource for Playback {
    async fn multivariant(&self, stream: &str) -> Result<Playlist, PlaybackError> {
        if let Some(session) = self.sessions.find(stream) {
            return multivariant(&session, &format!("{}/", session.spec().session)).await;
        }
        self.stream_title(stream).await?;
        let session = self.store.newest_ended(stream).ok_or(PlaybackError::StreamOffline)?;
        let ended = self.ended_multivariant(stream, &session, &format!("{session}/")).await;
        // It may have ended before each of its renditions had something to play.
        ended.map_err(|error| if error == PlaybackError::Gone { PlaybackError::StreamOffline } else { error })
    }

    async fn session_multivariant(&self, stream: &str, session: &str) -> Result<Playlist, PlaybackError> {
        let running = self.sessions.find(stream).filter(|running| running.spec().session == session);
        if let Some(running) = running {
            return multivariant(&running, "").await;
        }
        self.stream_title(stream).await?;
        self.ended_multivariant(stream, session, "").await
    }

    async fn media_playlist(&self, stream: &str, session: &str, rendition: &str) -> Result<Playlist, PlaybackError> {
        let Some(window) = self.window(stream, session) else {
            self.stream_title(stream).await?;
            return self.ended_playlist(stream, session, rendition).await;
        };
        let id = window.find(rendition).ok_or(PlaybackError::NotFound)?;
        let view = window.rendition(id).ok_or(PlaybackError::NotFound)?;
        if view.is_empty() {
            return Err(PlaybackError::Starting);
        }
        Ok(view.presented(|text| Playlist::new(text, view.ended())))
    }

    async fn media(
        &self,
        stream: &str,
        session: &str,
        rendition: &str,
        name: MediaName,
    ) -> Result<Media, PlaybackError> {
        let Some(window) = self.window(stream, session) else {
            let content_type = if rendition == "audio" { ContentType::AudioMp4 } else { ContentType::VideoMp4 };
            return self.stored(stream, session, rendition, name, content_type).await;
        };
        let id = window.find(rendition).ok_or(PlaybackError::NotFound)?;
        let content_type = content_type(&window, id);
        match window.media(id, name) {
            Some(chunks) => Ok(Media::new(chunks, content_type)),
            None => self.stored(stream, session, rendition, name, content_type).await,
        }
    }

    async fn stream_status(&self, stream: &str) -> Result<StreamStatus, PlaybackError> {
        let title = self.stream_title(stream).await?;
        let Some(session) = self.sessions.find(stream) else {
            let ended = self.store.newest_ended(stream).is_some();
            let state = if ended { StreamState::Ended } else { StreamState::Offline };
            return Ok(StreamStatus { title, state, renditions: Vec::new() });
        };
        let window = session.window().borrow().clone();
        let playable = window.as_ref().is_some_and(|window| window.multivariant().is_some());
        let state = match session.state() {
            SessionState::Live if playable => StreamState::Live,
            // Behind a restart the encoder is back, and nothing of it is there yet: who watches goes on to wait.
            SessionState::Starting if window.is_some() => StreamState::Reconnecting,
            SessionState::Starting | SessionState::Live => StreamState::Starting,
            SessionState::Reconnecting => StreamState::Reconnecting,
            SessionState::Ended => StreamState::Ended,
        };
        Ok(StreamStatus { title, state, renditions: window.as_deref().map(renditions).unwrap_or_default() })
    }
}

/// The multivariant playlist of a session in memory, waited for while it starts.
async fn multivariant(session: &Session, prefix: &str) -> Result<Playlist, PlaybackError> {
    let deadline = Instant::now() + HOLD;
    let window = first_window(session.window(), session.states(), deadline).await?;
    let playlist = first_some(&window, deadline, |window| window.multivariant()).await;
    let playlist = playlist.ok_or_else(|| nothing_to_play(session))?;
    Ok(Playlist::new(playlist.render(prefix), window.ended()))
}

fn content_type(window: &Window, id: RenditionId) -> ContentType {
    match window.renditions().get(usize::from(id.0)).map(|rendition| rendition.kind) {
        Some(Kind::Audio) => ContentType::AudioMp4,
        _ => ContentType::VideoMp4,
    }
}

fn nothing_to_play(session: &Session) -> PlaybackError {
    if session.state() == SessionState::Ended { PlaybackError::StreamOffline } else { PlaybackError::Starting }
}

/// Waits until the session's renditions are known.
async fn first_window(
    mut window: watch::Receiver<Option<Arc<Window>>>,
    mut states: watch::Receiver<SessionState>,
    deadline: Instant,
) -> Result<Arc<Window>, PlaybackError> {
    let known = async {
        tokio::select! {
            // In this order: a session that has ended and played is still there to watch.
            biased;
            known = window.wait_for(Option::is_some) => known.ok().and_then(|window| window.clone()),
            _ = states.wait_for(|state| *state == SessionState::Ended) => None,
        }
    };
    match timeout_at(deadline, known).await {
        Ok(Some(window)) => Ok(window),
        Ok(None) => Err(PlaybackError::StreamOffline),
        Err(_) => Err(PlaybackError::Starting),
    }
}

/// Looks, waits for a change, looks again, until the deadline.
async fn first_some<T>(window: &Window, deadline: Instant, look: impl Fn(&Window) -> Option<T>) -> Option<T> {
    let mut changes = window.changed();
    loop {
        changes.mark_unchanged();
        if let Some(found) = look(window) {
            return Some(found);
        }
        if window.ended() || !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return look(window);
        }
    }
}

fn renditions(window: &Window) -> Vec<RenditionInfo> {
    let listed = window.renditions();
    let listed = listed.iter().enumerate().map(|(index, rendition)| {
        let id = RenditionId(u8::try_from(index).unwrap_or(u8::MAX));
        let view = window.rendition(id);
        let newest = view.as_deref().and_then(|view| view.inits().last());
        let size = newest.and_then(|init| init.track.as_video()).map(|video| (video.width, video.height));
        RenditionInfo {
            name: rendition.name.clone(),
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            bandwidth: rendition.bandwidth,
        }
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Span;
    use crate::package::WindowSettings;

    fn window() -> Arc<Window> {
        let two = Span::from_secs(2);
        Arc::new(Window::new(Arc::new([]), WindowSettings { window: two, segment_target: two, start: Vec::new() }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_session_is_found_every_time() {
        let (_window, windows) = watch::channel(Some(window()));
        let (_state, states) = watch::channel(SessionState::Ended);
        // Many times, because a choice between two that are ready is made by chance unless it is ordered.
        for _ in 0..64 {
            assert!(first_window(windows.clone(), states.clone(), Instant::now() + HOLD).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ended_without_media_is_offline_at_once() {
        let (_window, windows) = watch::channel(None);
        let (_state, states) = watch::channel(SessionState::Ended);
        let asked = Instant::now();
        let answer = first_window(windows, states, asked + HOLD).await;
        assert!(matches!(answer, Err(PlaybackError::StreamOffline)));
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}
