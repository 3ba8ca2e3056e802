//! Request bodies, bounded in size, time and memory.
//!
//! hyper reads into buffers of 8 KiB, and each chunk of a body keeps its buffer. A client that sends single
//! bytes would thus occupy 8 KiB for each. So chunks are copied, and each is dropped at once.

use std::{ops::Deref, pin::pin, sync::Arc, time::Duration};

use axum::body::{Body, BodyDataStream, HttpBody};
use futures::StreamExt;
use http::{Request, header};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use super::{Code, Problem, slots};

/// The codes of a body that cannot be read.
pub const REJECTIONS: &[Code] =
    &[Code::MalformedJson, Code::PayloadTooLarge, Code::RequestTimeout, Code::Overloaded];

/// The bytes that each body may occupy outside of the shared memory. So orders of usual size are accepted
/// also while large bodies occupy all of it.
const UNSHARED_BYTES: usize = 16 * 1024;

/// A body that takes longer waits for its client. Its request then has no slot until the body is there: clients
/// that send slowly would occupy all of them.
const PROMPT: Duration = Duration::from_millis(50);

/// Time limit for a body that is discarded.
const DISCARDED_WITHIN: Duration = Duration::from_millis(10);

/// Limits of bodies.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Largest body, in bytes.
    pub bytes_max: usize,
    /// Time limit for reading a body.
    pub read_timeout: Duration,
    /// Memory of all bodies that have more than 16 KiB, in bytes.
    pub shared_bytes_max: usize,
}

/// Reads bodies. Its clones share the memory.
#[derive(Debug, Clone)]
pub struct BodyReader {
    limits: BodyLimits,
    memory: Arc<Semaphore>,
}

/// The bytes of a body, and their place in the memory of all bodies.
#[derive(Debug)]
pub struct ReadBody {
    bytes: Vec<u8>,
    place: Option<OwnedSemaphorePermit>,
}

impl Deref for ReadBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BodyReader {
    pub fn new(limits: BodyLimits) -> Self {
        let memory = Arc::new(Semaphore::new(limits.shared_bytes_max.min(Semaphore::MAX_PERMITS)));
        Self { limits, memory }
    }

    /// The bytes that bodies occupy of the shared memory now.
    pub fn shared_bytes(&self) -> usize {
        self.limits.shared_bytes_max - self.memory.available_permits()
    }

    /// Reads a body to its end.
    pub async fn read(&self, body: Body) -> Result<ReadBody, Problem> {
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > self.limits.bytes_max {
            return Err(self.too_large());
        }
        let bytes = Vec::with_capacity(declared.min(UNSHARED_BYTES));
        let mut read = ReadBody { bytes, place: None };
        let reading = self.read_chunks(body.into_data_stream(), declared, &mut read);
        {
            let mut reading = pin!(time::timeout(self.limits.read_timeout, reading));
            let outcome = if let Ok(outcome) = time::timeout(PROMPT, &mut reading).await {
                outcome
            } else {
                slots::give_up();
                let outcome = reading.await;
                if let Ok(Ok(())) = outcome {
                    slots::take_again().await?;
                }
                outcome
            };
            outcome.map_err(|_| Problem::new(Code::RequestTimeout))??;
        }
        Ok(read)
    }

    async fn read_chunks(
        &self,
        mut chunks: BodyDataStream,
        declared: usize,
        read: &mut ReadBody,
    ) -> Result<(), Problem> {
        while let Some(chunk) = chunks.next().await {
            let ended_early = |_| Problem::new(Code::MalformedJson).detail("the body ended early");
            let chunk = chunk.map_err(ended_early)?;
            let length = read.bytes.len() + chunk.len();
            if length > self.limits.bytes_max {
                return Err(self.too_large());
            }
            if length > read.bytes.capacity() {
                self.grow(read, length, declared)?;
            }
            read.bytes.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// Makes room for `length` bytes. At least doubles the capacity, so that the copies stay few, but not
    /// beyond the declared length.
    fn grow(&self, read: &mut ReadBody, length: usize, declared: usize) -> Result<(), Problem> {
        let bound = if declared < length { self.limits.bytes_max } else { declared };
        let capacity = length.max((read.bytes.capacity() * 2).min(bound));
        let occupied = read.place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = if capacity > UNSHARED_BYTES { capacity - occupied } else { 0 };
        if missing > 0 {
            let missing = u32::try_from(missing).map_err(|_| self.too_large())?;
            let overloaded =
                |_| Problem::new(Code::Overloaded).detail("large bodies occupy all memory for them");
            let place = Arc::clone(&self.memory).try_acquire_many_owned(missing).map_err(overloaded)?;
            match &mut read.place {
                Some(occupied) => occupied.merge(place),
                None => read.place = Some(place),
            }
        }
        read.bytes.reserve_exact(capacity - read.bytes.len());
        Ok(())
    }

    fn too_large(&self) -> Problem {
        let bytes_max = self.limits.bytes_max;
        Problem::new(Code::PayloadTooLarge).detail(format!("a body has at most {bytes_max} bytes"))
    }
}

/// Drops the small body of a request that is refused unread. The next request of the connection follows such a body, so
/// the connection would have to be closed otherwise.
pub(super) async fn discard(request: Request<Body>) {
    let is_small = |bytes: u64| bytes <= UNSHARED_BYTES as u64;
    // The client of such a request waits before it sends the body.
    let waits = request.headers().contains_key(header::EXPECT);
    let body = request.into_body();
    if !waits && body.size_hint().upper().is_some_and(is_small) {
        let mut chunks = body.into_data_stream();
        let reading = async { while let Some(Ok(_)) = chunks.next().await {} };
        // The server closes the connection of a body that takes longer.
        let _ = time::timeout(DISCARDED_WITHIN, reading).await;
    }
}

#[cfg(test)]
mod tests;
