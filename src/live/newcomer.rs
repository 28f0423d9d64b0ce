//! Who waits for its turn to publish: its media so far, and what it would be refused for as a first publisher.
//!
//! It is judged before it takes over, so that nobody is sent away for one that cannot stay.

use std::time::Duration;

use super::capacity::Denied;
use super::launch::SECOND_TRACK_WAIT;
use super::limits::SourceLimit;
use crate::ingest::Audition;
use crate::listen::CloseReason;
use crate::media::{Track, Unit};
use crate::wire::Inbound;

/// A connection that waits for its turn.
#[derive(Debug)]
pub(super) struct Newcomer {
    /// Its number.
    pub connection: u64,
    /// What it sent.
    pub audition: Audition,
    limit: SourceLimit,
    /// What the last message was; kept for its memory.
    heard: Vec<Unit>,
}

impl Newcomer {
    /// One that has sent nothing, and may send so many bits per second.
    pub fn new(connection: u64, max_bitrate: u64) -> Self {
        let audition = Audition::new(SECOND_TRACK_WAIT.to_std());
        Newcomer { connection, audition, limit: SourceLimit::new(max_bitrate), heard: Vec::new() }
    }

    /// Takes what it sent at the monotonic time `now`; whether it is ready to take over. `decodes`: the session's ladder would
    /// decode its pictures. `room_for` says whether the session can take a track.
    ///
    /// # Errors
    /// The session cannot bear it: these are the words for it.
    pub fn push(
        &mut self,
        unit: Inbound,
        now: Duration,
        decodes: bool,
        room_for: impl Fn(&Track) -> Result<(), Denied>,
    ) -> Result<bool, CloseReason> {
        let ready = self.audition.push(&unit, now, &mut self.heard);
        let ready = ready.map_err(|rejected| CloseReason::Rejected(rejected.to_string()))?;
        self.limit.set_decoded(decodes);
        for unit in self.heard.drain(..) {
            if let Some(words) = self.limit.offence_of(&unit) {
                return Err(CloseReason::Rejected(words));
            }
            if let Unit::Track(track) = &unit {
                room_for(track).map_err(|denied| denied.told())?;
            }
        }
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::AudioCodec;
    use crate::transcode::cost::Load;
    use crate::wire::flv::{AudioTag, Tag, TagKind};

    #[test]
    fn one_whose_track_the_machine_has_no_room_for_is_told_what_a_first_one_is_told() {
        let config = AudioTag::config(AudioCodec::Aac, [0x11, 0x90].as_slice().into()).to_body();
        let config = || Inbound::Flv(Tag { kind: TagKind::Audio, timestamp_ms: 0, data: config.clone() });
        let full = Denied::Full { cost: Load::from_megapixels(128), free: Load::from_megapixels(23) };
        let told = Newcomer::new(2, 1_000_000).push(config(), Duration::ZERO, true, |_| Err(full.clone()));
        assert_eq!(told, Err(CloseReason::NoCapacity(full.to_string())));
        assert_eq!(Newcomer::new(2, 1_000_000).push(config(), Duration::ZERO, true, |_| Ok(())), Ok(false));
    }
}
