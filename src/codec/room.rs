//! Memory that decoding takes beside its body.

use std::fmt;
use std::sync::Arc;

use super::DecodeError;

type Take = dyn Fn(u64) -> Result<(), DecodeError> + Send + Sync;

/// Who is asked before a body becomes more than it is; the default lets it.
#[derive(Clone, Default)]
pub struct Room(Option<Arc<Take>>);

impl Room {
    /// So much is taken at a time, where it is taken bit by bit.
    pub(super) const STEP_BYTES: u64 = 1 << 20;

    /// Room that `take` gives, by bytes; it may wait.
    pub fn new(take: impl Fn(u64) -> Result<(), DecodeError> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(take)))
    }

    /// Takes bytes until the request is answered.
    ///
    /// # Errors
    /// [`DecodeError::NoRoom`].
    pub fn take(&self, bytes: u64) -> Result<(), DecodeError> {
        match &self.0 {
            Some(take) if bytes > 0 => take(bytes),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.0.is_some()).finish()
    }
}
