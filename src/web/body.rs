//! A response body that is a chain of shared buffers: what package made goes to the socket as it is.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The bytes of `range` of a chain of buffers. Cloning a buffer shares it; nothing is joined.
#[derive(Debug)]
pub struct Chain {
    chunks: Arc<[Bytes]>,
    /// The next buffer to look at.
    next: usize,
    /// Bytes to leave out before the range begins.
    skip: u64,
    /// Bytes of the range that are still to be sent.
    left: u64,
}

impl Chain {
    /// `range` must lie within the chain; what lies beyond its end is left out.
    pub fn new(chunks: Arc<[Bytes]>, range: Range<u64>) -> Self {
        let total: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let end = range.end.min(total);
        Chain { chunks, next: 0, skip: range.start.min(end), left: end.saturating_sub(range.start) }
    }
}

impl Body for Chain {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.left > 0 {
            let Some(chunk) = self.chunks.get(self.next).cloned() else { break };
            self.next += 1;
            let len = chunk.len() as u64;
            if self.skip >= len {
                self.skip -= len;
                continue;
            }
            let from = self.skip;
            let to = len.min(from.saturating_add(self.left));
            self.skip = 0;
            self.left -= to - from;
            // Both are at most the length of a buffer in memory, so they fit usize.
            return Poll::Ready(Some(Ok(Frame::data(chunk.slice(from as usize..to as usize)))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    async fn collect(chunks: &[&'static [u8]], range: Range<u64>) -> Vec<u8> {
        let chunks: Arc<[Bytes]> = chunks.iter().copied().map(Bytes::from_static).collect();
        let chain = Chain::new(chunks, range);
        let hinted = chain.size_hint().exact();
        let bytes = chain.collect().await.unwrap().to_bytes();
        assert_eq!(hinted, Some(bytes.len() as u64));
        bytes.to_vec()
    }

    #[tokio::test]
    async fn ranges_cross_the_borders_of_buffers() {
        let chunks: [&[u8]; 4] = [b"abc", b"", b"de", b"fgh"];
        for (range, expected) in
            [(0..8, "abcdefgh"), (2..4, "cd"), (3..5, "de"), (7..8, "h"), (0..0, ""), (6..90, "gh")]
        {
            assert_eq!(collect(&chunks, range.clone()).await, expected.as_bytes(), "{range:?}");
        }
        assert_eq!(collect(&[], 0..0).await, b"");
    }

    #[tokio::test]
    async fn whole_buffers_are_shared_and_not_copied() {
        let buffer = Bytes::from(vec![7; 100]);
        let mut chain = Chain::new(Arc::from([buffer.clone()]), 0..100);
        let sent = chain.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(sent.as_ptr(), buffer.as_ptr());
        assert!(chain.is_end_stream());
    }

    proptest! {
        #[test]
        fn any_range_of_any_chain_is_that_range_of_the_joined_bytes(
            sizes in proptest::collection::vec(0_usize..6, 0..8), a in 0_u64..40, b in 0_u64..40,
        ) {
            let joined: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|n| n as u8).collect();
            let mut rest = Bytes::from(joined.clone());
            let chunks: Arc<[Bytes]> = sizes.iter().map(|size| rest.split_to(*size)).collect();
            let range = a.min(b)..a.max(b);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(Chain::new(chunks, range.clone()).collect()).unwrap().to_bytes();
            let clamp = |at: u64| (at as usize).min(joined.len());
            prop_assert_eq!(got.as_ref(), &joined[clamp(range.start)..clamp(range.end)]);
        }
    }
}
