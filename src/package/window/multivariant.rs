//! When a session has a multivariant playlist. What it says is [`crate::wire::hls::describe`]'s, for the served and the stored one
//! alike.

use std::sync::Arc;

use super::View;
use crate::media::Track;
use crate::media::segment::Rendition;
use crate::wire::hls::Multivariant;
use crate::wire::hls::describe::{self, Member};

/// Describes the session, or nothing while a rendition has no track or no closed segment: a variant that is listed has
/// content.
pub(super) fn describe(renditions: &[Rendition], views: &[Arc<View>]) -> Option<Multivariant> {
    if views.iter().any(|view| view.is_empty()) {
        return None;
    }
    let held: Vec<Vec<&Track>> =
        views.iter().map(|view| view.inits().iter().map(|init| &*init.track).collect()).collect();
    let members = renditions.iter().zip(&held).map(|(rendition, held)| {
        let newest = held.last()?;
        Some(Member { rendition, newest, held })
    });
    Some(describe::multivariant(&members.collect::<Option<Vec<_>>>()?))
}
