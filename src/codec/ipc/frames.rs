//! Cutting a stream into messages.

use arrow_ipc::root_as_message;
use bytes::{Buf as _, Bytes, BytesMut};

use super::broken;
use crate::codec::DecodeError;

/// What each message begins with, but for those of very old writers.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The most bytes of a message's head: a thousand columns take a fiftieth of it.
const HEAD_BYTES_MAX: usize = 8 << 20;

/// One message as it lies in the stream.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

/// Where the parts of the next message lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Too little has come to tell, or to have it.
    Missing,
    /// The stream has ended, with so many bytes.
    End(usize),
    Message {
        skip: usize,
        head: usize,
        body: usize,
    },
}

/// Gathers bytes until a message is there as a whole.
#[derive(Debug)]
pub(super) struct Frames {
    held: BytesMut,
    bytes_max: u64,
    has_begun: bool,
    has_ended: bool,
}

impl Frames {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { held: BytesMut::new(), bytes_max, has_begun: false, has_ended: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.has_begun |= !bytes.is_empty();
        self.held.extend_from_slice(bytes);
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) const fn is_untouched(&self) -> bool {
        !self.has_begun
    }

    fn number(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = self.held.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    fn look(&self) -> Result<Next, DecodeError> {
        let continued = self.held.starts_with(&CONTINUATION);
        let skip = if continued { 8 } else { 4 };
        let Some(head) = self.number(skip - 4) else { return Ok(Next::Missing) };
        if head == 0 {
            return Ok(Next::End(skip));
        }
        let head = head as usize;
        if head > HEAD_BYTES_MAX {
            return Err(broken(format!("a message's head has {head} bytes, more than {HEAD_BYTES_MAX}")));
        }
        let Some(bytes) = self.held.get(skip..skip + head) else { return Ok(Next::Missing) };
        let message = root_as_message(bytes).map_err(|_| broken("a message's head is damaged"))?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| broken("a message has a negative length"))?;
        if body > self.bytes_max {
            return Err(DecodeError::MessageTooLarge { limit: self.bytes_max });
        }
        let body = usize::try_from(body).map_err(|_| broken("a message is too long"))?;
        let whole = skip + head + body <= self.held.len();
        Ok(if whole { Next::Message { skip, head, body } } else { Next::Missing })
    }

    pub(super) fn has_message(&self) -> Result<bool, DecodeError> {
        Ok(!self.has_ended && self.look()? != Next::Missing)
    }

    pub(super) fn next(&mut self) -> Result<Option<Message>, DecodeError> {
        if self.has_ended {
            return Ok(None);
        }
        match self.look()? {
            Next::Missing => Ok(None),
            Next::End(bytes) => {
                self.held.advance(bytes);
                self.has_ended = true;
                Ok(None)
            }
            Next::Message { skip, head, body } => {
                self.held.advance(skip);
                let head = self.held.split_to(head).freeze();
                let body = self.held.split_to(body).freeze();
                Ok(Some(Message { head, body }))
            }
        }
    }

    /// Refuses a stream that is cut short, or goes on behind its end.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match (self.held.is_empty(), self.has_ended) {
            (true, _) => Ok(()),
            (false, true) => Err(broken("something follows its end")),
            (false, false) => Err(broken("it is cut short")),
        }
    }
}
