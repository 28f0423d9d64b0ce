//! A connection whose reader must make progress.
//!
//! A viewer that stops reading, or reads a byte a second, would hold a segment's buffers for ever. The rule here: once a write
//! finds no room, [`MIN_PROGRESS_BYTES`] must go out within the limit, or everything that was to be sent; else writing fails
//! with `TimedOut` and the connection ends. Someone who is merely slow passes: the limits of [`super::ServeOptions`] ask for a few KiB/s.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::telemetry::names;

/// What a slow reader must take within the limit: more than a trickle into a closed window, far less than any video needs.
pub const MIN_PROGRESS_BYTES: usize = 64 * 1024;

/// `inner` with a limit on how long its writes may find no room.
#[derive(Debug)]
pub struct Stall<T> {
    inner: T,
    limit: Duration,
    /// Runs from the first write that found no room.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes that went out since the deadline was set.
    progress: usize,
}

impl<T> Stall<T> {
    /// Watches the writes of `inner`.
    pub fn new(inner: T, limit: Duration) -> Self {
        Stall { inner, limit, deadline: None, progress: 0 }
    }

    fn settle(&mut self, context: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(written)) => {
                self.progress = self.progress.saturating_add(written);
                if self.progress >= MIN_PROGRESS_BYTES {
                    self.deadline = None;
                }
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if self.deadline.is_none() {
                    self.progress = 0;
                }
                let until = Instant::now() + self.limit;
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
                ready!(deadline.as_mut().poll(context));
                names::HTTP_STALLED.counter(&[]).increment(1);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stall<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.settle(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.settle(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// The HTTP layer flushes when all it had is written: nothing is owed any more.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.deadline = None;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stall<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_is_given_up_after_the_limit() {
        let (ours, _theirs) = duplex(1_000);
        let start = Instant::now();
        let error = Stall::new(ours, LIMIT).write_all(&[0; 1_001]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_no_progress() {
        let (ours, mut theirs) = duplex(1_000);
        let trickle = tokio::spawn(async move {
            let mut taken = 0;
            while theirs.read_u8().await.is_ok() {
                taken += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            taken
        });
        let start = Instant::now();
        let mut stall = Stall::new(ours, LIMIT);
        assert_eq!(stall.write_all(&[0; 100_000]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), LIMIT);
        trickle.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_and_one_that_rests_between_answers_are_served() {
        let (ours, mut theirs) = duplex(1_000);
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 40_000];
            for _ in 0..10 {
                tokio::time::sleep(LIMIT * 2 / 5).await;
                theirs.read_exact(&mut buffer).await?;
            }
            tokio::time::sleep(LIMIT * 3).await;
            theirs.read_exact(&mut buffer).await
        });
        let mut stall = Stall::new(ours, LIMIT);
        stall.write_all(&[0; 400_000]).await.unwrap();
        stall.flush().await.unwrap();
        tokio::time::sleep(LIMIT * 3).await;
        stall.write_all(&[0; 40_000]).await.unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), 40_000);
    }
}
