//! A stream that records in its [`Connection`] whether the client reads what the host writes.

use super::Connection;
use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream of a connection. With TLS, it is the stream below TLS, because TLS has a buffer of its own.
pub(super) struct Outgoing<S> {
    stream: S,
    connection: Arc<Connection>,
    /// Whether the last write had to wait, because the client had not read enough.
    is_blocked: bool,
}

impl<S> Outgoing<S> {
    pub(super) fn new(stream: S, connection: &Arc<Connection>) -> Self {
        Self { stream, connection: connection.clone(), is_blocked: false }
    }

    /// Records the result of a write or a flush.
    fn record<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            self.is_blocked = true;
        } else if mem::take(&mut self.is_blocked) {
            self.connection.makes_progress();
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outgoing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outgoing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.record(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.record(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper and TLS flush only after they have written all of their bytes.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.connection.has_sent_all();
        }
        self.record(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{caller::Phase, command::Who};
    use std::{future::poll_fn, pin::pin, time::Duration};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_read_by_the_client_is_progress_and_a_flush_makes_the_connection_idle() {
        let (mut client, stream) = duplex(4);
        let connection = Connection::new(Who::Program, None);
        let mut outgoing = Outgoing::new(stream, &connection);
        connection.begins_answer();
        assert_eq!(connection.phase(), Phase::Answering);
        connection.ends_answer();
        outgoing.write_all(b"full").await.unwrap();
        {
            let mut writing = pin!(outgoing.write_all(b"more"));
            assert!(poll_fn(|context| Poll::Ready(writing.as_mut().poll(context).is_pending())).await);
            connection.skip(LONG);
            assert_eq!(connection.phase(), Phase::Sending);
            assert!(connection.quiet_for() >= LONG);
            client.read_exact(&mut [0; 4]).await.unwrap();
            writing.await.unwrap();
        }
        assert_eq!(connection.phase(), Phase::Sending);
        assert!(connection.quiet_for() < LONG, "the client has read");
        outgoing.flush().await.unwrap();
        assert_eq!(connection.phase(), Phase::Idle);
    }
}
