//! When a session has a multivariant playlist. What it says is [`crate::wire::hls::describe`]'s, for the served and the stored one
//! alike.

use std::sync::Arc;

use super::View;
use crate::media::Track;
use crate::media::segment::Rendition;
use crate::wire::hls::Multivariant;
use crate::wire::hls::describe::{self, Member};

/// So many segments a late rendition lists before players are sent to it: they start three target durations before the live edge
/// (RFC 8216 6.3.3), and should find something there.
pub(super) const LATE_SEGMENTS: usize = 3;

/// Describes the session, or nothing while one of the `founding` renditions, which come first, has no track or no closed segment:
/// a variant that is listed has content. Renditions that joined late are left out until all of them can be started on.
/// `views`: each rendition's, and the most bits per second that a segment of it had.
pub(super) fn describe(renditions: &[Rendition], founding: usize, views: &[(Arc<View>, u64)]) -> Option<Multivariant> {
    let late_are_ready = views.iter().skip(founding).all(|(view, _)| view.len() >= LATE_SEGMENTS);
    let listed = if late_are_ready { renditions.len() } else { founding };
    let views = views.get(..listed)?;
    if views.iter().any(|(view, _)| view.is_empty()) {
        return None;
    }
    let held: Vec<Vec<&Track>> =
        views.iter().map(|(view, _)| view.inits().iter().map(|init| &*init.track).collect()).collect();
    let members = renditions.iter().zip(views).zip(&held).map(|((rendition, (_, peak)), held)| {
        let newest = held.last()?;
        Some(Member { rendition, newest, held, peak: *peak })
    });
    Some(describe::multivariant(&members.collect::<Option<Vec<_>>>()?))
}
