use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Bytes;
use futures::{FutureExt, StreamExt, channel::mpsc, future::BoxFuture, stream};

use super::*;

const KIB: usize = 1024;

fn reader(shared_bytes_max: usize) -> BodyReader {
    let read_timeout = Duration::from_secs(30);
    BodyReader::new(BodyLimits { bytes_max: 100 * KIB, read_timeout, shared_bytes_max })
}

/// The read buffer of one byte. Counts itself in `alive`.
struct Buffer {
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        b" "
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn no_byte_of_a_body_keeps_its_read_buffer() {
    let (alive, most_alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, most) = (Arc::clone(&alive), Arc::clone(&most_alive));
    let chunks = stream::iter(0..50_000).map(move |_| {
        most.fetch_max(counted.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from_owner(Buffer { alive: Arc::clone(&counted) }))
    });
    let reader = reader(100 * KIB);
    let read = reader.read(Body::from_stream(chunks)).await.unwrap();
    assert_eq!(*read, *vec![b' '; 50_000]);
    assert_eq!(most_alive.load(Ordering::Relaxed), 1);
    // The buffer doubles, so that the bytes are not copied for each chunk.
    assert_eq!(reader.shared_bytes(), read.bytes.capacity());
    assert!(read.bytes.capacity() <= 2 * 50_000, "{}", read.bytes.capacity());
    drop(read);
    assert_eq!(reader.shared_bytes(), 0);
}

type Reading = BoxFuture<'static, Result<ReadBody, Problem>>;

/// A body of which these bytes have arrived. It ends when the sender is dropped.
fn begun(reader: &BodyReader, bytes: usize) -> (mpsc::UnboundedSender<Result<Bytes, Infallible>>, Reading) {
    let (sender, chunks) = mpsc::unbounded();
    sender.unbounded_send(Ok(Bytes::from(vec![b' '; bytes]))).unwrap();
    let reader = reader.clone();
    let mut reading = async move { reader.read(Body::from_stream(chunks)).await }.boxed();
    assert!((&mut reading).now_or_never().is_none());
    (sender, reading)
}

#[tokio::test]
async fn large_bodies_are_refused_while_others_occupy_all_memory_and_small_ones_are_read() {
    let reader = reader(70 * KIB);
    let (sender, reading) = begun(&reader, 60 * KIB);
    assert_eq!(reader.shared_bytes(), 60 * KIB);
    let large = || Body::from(vec![b' '; 17 * KIB]);
    assert_eq!(reader.read(large()).await.unwrap_err().code, Code::Overloaded);
    assert_eq!(reader.read(Body::from(vec![b' '; 16 * KIB])).await.unwrap().len(), 16 * KIB);

    // The place is free only when the bytes are dropped.
    drop(sender);
    let read = reading.await.unwrap();
    assert_eq!(reader.read(large()).await.unwrap_err().code, Code::Overloaded);
    drop(read);
    assert_eq!(reader.read(large()).await.unwrap().len(), 17 * KIB);
    assert_eq!(reader.shared_bytes(), 0);
}

#[tokio::test]
async fn a_body_that_grows_beyond_the_free_memory_is_refused_and_frees_its_place() {
    let reader = reader(70 * KIB);
    let (sender, reading) = begun(&reader, 60 * KIB);
    sender.unbounded_send(Ok(Bytes::from(vec![b' '; 20 * KIB]))).unwrap();
    assert_eq!(reading.await.unwrap_err().code, Code::Overloaded);
    assert_eq!(reader.shared_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_in_time_is_refused_and_frees_its_place() {
    let reader = reader(70 * KIB);
    let (_sender, reading) = begun(&reader, 60 * KIB);
    assert_eq!(reading.await.unwrap_err().code, Code::RequestTimeout);
    assert_eq!(reader.shared_bytes(), 0);
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_with_and_without_a_declared_size() {
    let reader = reader(1_000 * KIB);
    let bytes = vec![b' '; 100 * KIB + 1];
    let chunks: Vec<_> =
        bytes.chunks(KIB).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
    for body in [Body::from(bytes.clone()), Body::from_stream(stream::iter(chunks))] {
        assert_eq!(reader.read(body).await.unwrap_err().code, Code::PayloadTooLarge);
    }
    assert_eq!(reader.read(Body::from(vec![b' '; 100 * KIB])).await.unwrap().len(), 100 * KIB);
}
