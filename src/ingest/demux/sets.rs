//! Parameter sets of one video track, as NAL units: what its configuration is made of.

use bytes::Bytes;

use super::VideoError;
use crate::media::codec::nal::without_trailing_zeros;

/// Most parameter sets in one access unit, repeated ones included, and of a track: what an AVC configuration record can hold. H.265 has
/// 16 VPS, 16 SPS and 64 PPS.
pub(super) const MAX_SETS: usize = 31 + 255;
/// Most bytes of a stream's parameter sets together. They have about 50; scaling lists make some hundred of it.
pub(super) const MAX_SETS_BYTES: usize = 64 * 1024;

/// The sets of a track by their rank: those of a rank refer to those of the rank above. H.264 has SPS and PPS, H.265 has VPS before
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sets<const RANKS: usize> {
    pub of_rank: [Vec<Bytes>; RANKS],
}

impl<const RANKS: usize> Default for Sets<RANKS> {
    fn default() -> Self {
        Sets { of_rank: [const { Vec::new() }; RANKS] }
    }
}

impl<const RANKS: usize> Sets<RANKS> {
    pub(super) fn is_empty(&self) -> bool {
        self.of_rank.iter().all(Vec::is_empty)
    }

    /// Whether there is one of each rank.
    pub(super) fn is_complete(&self) -> bool {
        !self.of_rank.iter().any(Vec::is_empty)
    }

    pub(super) fn as_slices(&self) -> [Vec<&[u8]>; RANKS] {
        self.of_rank.each_ref().map(|sets| sets.iter().map(|set| &set[..]).collect())
    }

    pub(super) fn contains(&self, rank: usize, nal: &[u8]) -> bool {
        self.of_rank[rank].iter().any(|set| set == nal)
    }

    /// Copies without the padding: the sets must not keep a whole message alive.
    pub(super) fn owned(&self) -> Result<Self, VideoError> {
        let all = || self.of_rank.iter().flatten();
        if all().count() > MAX_SETS || all().map(Bytes::len).sum::<usize>() > MAX_SETS_BYTES {
            return Err(VideoError::TooManySets);
        }
        let copy = |set: &Bytes| Bytes::copy_from_slice(without_trailing_zeros(set));
        Ok(Sets { of_rank: self.of_rank.each_ref().map(|sets| sets.iter().map(copy).collect()) })
    }

    /// New sets make all others of their rank obsolete. Of the lowest rank alone (PPS), new ones replace those of their ids, as `id`
    /// reads them.
    pub(super) fn merged_with(&self, found: Self, id: impl Fn(&[u8]) -> Option<u32>) -> Self {
        let lowest_alone = found.of_rank[..RANKS - 1].iter().all(Vec::is_empty);
        let mut merged = self.clone();
        for (rank, new) in found.of_rank.into_iter().enumerate() {
            if new.is_empty() {
                continue;
            }
            let sets = &mut merged.of_rank[rank];
            if lowest_alone {
                sets.retain(|set| !new.iter().any(|other| id(other) == id(set)));
                sets.extend(new);
            } else {
                *sets = new;
            }
        }
        merged
    }
}
