//! Copying values as given, less white space between tokens.

use std::borrow::Cow;

use jiter::Peek;

use crate::codec::fault::{NESTING_MAX, Stop};
use crate::codec::keys::KeyStack;
use crate::codec::read::Reader;
use crate::codec::text::unescape;

/// Appends values' text to a buffer, refusing duplicate keys and nesting past [`NESTING_MAX`].
#[derive(Default)]
pub(super) struct Copier<'j> {
    /// Where the text goes.
    pub(super) out: Vec<u8>,
    /// Keys of open objects.
    pub(super) keys: KeyStack<'j>,
}

impl<'j> Copier<'j> {
    /// Copies the value that was peeked; `depth` containers are open around it.
    pub(super) fn value(&mut self, reader: &mut Reader<'j>, peek: Peek, depth: usize) -> Result<(), Stop> {
        match peek {
            Peek::Array => self.array(reader, depth + 1),
            Peek::Object => self.object(reader, depth + 1),
            scalar => {
                let from = reader.index();
                reader.skip_scalar(scalar)?;
                self.out.extend_from_slice(reader.slice(from, reader.index()).as_bytes());
                Ok(())
            }
        }
    }

    fn array(&mut self, reader: &mut Reader<'j>, depth: usize) -> Result<(), Stop> {
        if depth > NESTING_MAX {
            return Err(Stop::too_deep());
        }
        self.out.push(b'[');
        let mut index = 0;
        let mut item = reader.first_item()?;
        while let Some(peek) = item {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(reader, peek, depth).map_err(|stop| stop.under_item(index))?;
            index += 1;
            item = reader.next_item()?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Copies the object that was peeked; it is itself at `depth`.
    pub(super) fn object(&mut self, reader: &mut Reader<'j>, depth: usize) -> Result<(), Stop> {
        if depth > NESTING_MAX {
            return Err(Stop::too_deep());
        }
        let mut frame = self.keys.open();
        self.out.push(b'{');
        let mut first = true;
        let mut key = reader.first_raw_key()?;
        while let Some(raw) = key {
            if !self.keys.insert(&mut frame, unescape(raw)) {
                return Err(Stop::duplicate_key(&unescape(raw)));
            }
            self.out.extend_from_slice(if first { b"\"" } else { b",\"" });
            self.out.extend_from_slice(raw.as_bytes());
            self.out.extend_from_slice(b"\":");
            let peek = reader.peek()?;
            let under = |stop: Stop| stop.under_key(&unescape(raw));
            self.value(reader, peek, depth).map_err(under)?;
            first = false;
            key = reader.next_raw_key()?;
        }
        self.out.push(b'}');
        self.keys.close(frame);
        Ok(())
    }

    /// Takes a null under a key that has no column: only the key counts.
    pub(super) fn note_key(
        &mut self,
        frame: &mut crate::codec::keys::KeyFrame<'j>,
        key: Cow<'j, str>,
    ) -> Result<(), Stop> {
        if self.keys.insert(frame, key.clone()) { Ok(()) } else { Err(Stop::duplicate_key(&key)) }
    }
}
