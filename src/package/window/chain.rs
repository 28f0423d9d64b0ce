//! The listed segments as a value that is cheap to copy.
//!
//! Readers hold the list that they were given while the writer goes on, so each change makes a new list; with a DVR window of 12 h
//! (21 600 segments) that must not copy the window. Segments are kept in sealed blocks of [`BLOCK`] and a short tail: a new segment
//! copies the tail only, and every `BLOCK`th one the list of blocks.

use std::sync::Arc;

use crate::media::Segment;

/// Segments in a sealed block: copying a tail and copying the blocks of a 12 h window then cost about the same per segment.
const BLOCK: usize = 32;

type Block = Arc<[Arc<Segment>]>;

/// Closed segments, oldest first. Cloning shares everything.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    blocks: Arc<[Block]>,
    /// Segments of the first block that are not listed any more; fewer than `BLOCK`.
    skip: usize,
    /// Fewer than `BLOCK` segments behind the blocks.
    tail: Block,
}

impl Chain {
    pub(super) fn new() -> Self {
        Chain { blocks: Arc::from([]), skip: 0, tail: Arc::from([]) }
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len() * BLOCK - self.skip + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> + Clone {
        let sealed = self.blocks.iter().flat_map(|block| block.iter()).skip(self.skip);
        sealed.chain(self.tail.iter()).map(|segment| &**segment)
    }

    pub(super) fn first(&self) -> Option<&Segment> {
        self.iter().next()
    }

    pub(super) fn last(&self) -> Option<&Segment> {
        let sealed = self.blocks.last().and_then(|block| block.last());
        self.tail.last().or(sealed).map(|segment| &**segment)
    }

    pub(super) fn push(&mut self, segment: Segment) {
        let tail: Block = self.tail.iter().cloned().chain([Arc::new(segment)]).collect();
        if tail.len() < BLOCK {
            self.tail = tail;
        } else {
            self.blocks = self.blocks.iter().cloned().chain([tail]).collect();
            self.tail = Arc::from([]);
        }
    }

    pub(super) fn pop_first(&mut self) {
        if self.blocks.is_empty() {
            self.tail = self.tail.iter().skip(1).cloned().collect();
            return;
        }
        self.skip += 1;
        if self.skip == BLOCK {
            self.blocks = self.blocks.iter().skip(1).cloned().collect();
            self.skip = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::WallTime;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn segment(msn: u64) -> Segment {
        let wall = WallTime::from_unix_millis(0);
        Segment { msn, epoch: 0, duration: None, wall, discontinuity: false, gap: false, init: 0, parts: Vec::new() }
    }

    proptest! {
        #[test]
        fn it_is_a_queue(pushes in proptest::collection::vec(any::<bool>(), 0..400)) {
            let (mut chain, mut model) = (Chain::new(), VecDeque::new());
            for (msn, push) in (0..).zip(pushes) {
                // Three pushes for each pop that removes something, so that blocks come and go.
                if push || msn % 2 == 0 {
                    chain.push(segment(msn));
                    model.push_back(msn);
                } else if model.pop_front().is_some() {
                    chain.pop_first();
                }
                prop_assert_eq!(chain.len(), model.len());
                prop_assert_eq!(chain.first().map(|it| it.msn), model.front().copied());
                prop_assert_eq!(chain.last().map(|it| it.msn), model.back().copied());
            }
            prop_assert_eq!(chain.iter().map(|it| it.msn).collect::<VecDeque<_>>(), model);
        }
    }

    #[test]
    fn a_list_that_was_given_away_does_not_change() {
        let mut chain = Chain::new();
        (0..100).for_each(|msn| chain.push(segment(msn)));
        let given = chain.clone();
        (0..70).for_each(|_| chain.pop_first());
        chain.push(segment(100));
        assert_eq!(
            (given.len(), given.first().map(|it| it.msn), given.last().map(|it| it.msn)),
            (100, Some(0), Some(99))
        );
        assert_eq!(
            (chain.len(), chain.first().map(|it| it.msn), chain.last().map(|it| it.msn)),
            (31, Some(70), Some(100))
        );
    }
}
