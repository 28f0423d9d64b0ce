//! When a session has a multivariant playlist. What it says is [`crate::wire::hls::describe`]'s, for the served and the stored one
//! alike.

use std::sync::Arc;

use super::View;
use crate::media::segment::Rendition;
use crate::wire::hls::{Multivariant, describe};

/// Describes the session, or nothing while a rendition has no track or no closed segment: a variant that is listed has
/// content. `views`: each rendition's, and the most bits per second that a segment of it had.
pub(super) fn describe(renditions: &[Rendition], views: &[(Arc<View>, u64)]) -> Option<Multivariant> {
    let mut members = Vec::with_capacity(renditions.len());
    for (rendition, (view, peak)) in renditions.iter().zip(views) {
        let track = &view.inits().last().filter(|_| !view.is_empty())?.track;
        members.push(describe::Member { rendition, track, peak: *peak });
    }
    Some(describe::multivariant(&members))
}
