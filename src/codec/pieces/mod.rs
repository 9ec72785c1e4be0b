//! Cutting a body of any length between its records.

mod piece;

use bytes::Bytes;

pub use piece::Piece;

use crate::codec::{DecodeError, Form};

/// Where the scan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space has come.
    Start,
    /// Between lines.
    BetweenLines,
    /// Between objects that stand one after another.
    BetweenObjects,
    /// In an array, where an item comes next; before the first one the array may end.
    BeforeItem { first: bool },
    /// In an array, behind an item.
    BehindItem,
    /// Behind the array.
    BehindArray,
    /// In a record.
    Within(Record),
    /// All that comes is ignored: the piece or error that ends the load is made.
    Ended,
}

/// How the end of a record is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// By the line's end.
    Line,
    /// By its own last bracket; sound records end so.
    Object,
    /// A word, number or string as an array's item: by a comma or the array's end, outside of strings.
    Item,
    /// What stands in the place of an object, an array or a string: by its last character.
    Bracketed,
    /// A word or number in the place of an object: by what cannot go on it.
    Word,
}

/// A place in the whole body, from 1; columns count characters.
#[derive(Clone, Copy, Debug)]
struct Place {
    line: u64,
    column: u64,
}

/// Cuts a body that comes bit by bit into pieces that [`crate::codec::decode`] takes. Each byte is looked at once, however
/// the body is split; a piece, a record and white space of a piece's size are held at most. Only what stands around the
/// records is checked here.
#[derive(Debug)]
pub struct Pieces {
    piece_bytes_max: usize,
    piece_records_max: u64,
    record_bytes_max: u64,
    state: State,
    /// In a record: how many brackets are open, whether in a string, whether behind its backslash.
    open: u64,
    in_string: bool,
    escaped: bool,
    /// Where the next byte stands.
    place: Place,
    /// Whether records are an array's items.
    in_array: bool,
    /// The whole records of the piece; in an array behind a bracket.
    whole: Vec<u8>,
    /// What has come between the last whole record and the next.
    gap: Vec<u8>,
    /// The record that is being read.
    record: Vec<u8>,
    record_place: Place,
    /// Where the piece begins.
    piece_place: Place,
    /// Whole records in the piece.
    records: u64,
    /// Records of the pieces before.
    first_record: u64,
    failed: Option<DecodeError>,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

impl Pieces {
    /// A cutter into pieces of at most so many bytes (but at least one record) and records. A record over
    /// `record_bytes_max` is refused before it is held. [`Form::Json`] is read as a sequence is.
    pub fn new(form: Form, piece_bytes_max: usize, piece_records_max: u64, record_bytes_max: u64) -> Self {
        let begin = Place { line: 1, column: 1 };
        Self {
            piece_bytes_max,
            piece_records_max: piece_records_max.max(1),
            record_bytes_max,
            state: if form == Form::Ndjson { State::BetweenLines } else { State::Start },
            open: 0,
            in_string: false,
            escaped: false,
            place: begin,
            in_array: false,
            whole: Vec::new(),
            gap: Vec::new(),
            record: Vec::new(),
            record_place: begin,
            piece_place: begin,
            records: 0,
            first_record: 0,
            failed: None,
        }
    }

    /// The line of the body at which the next byte stands, from 1.
    pub fn line(&self) -> u64 {
        self.place.line
    }

    /// Bytes of the body that are held.
    pub fn held(&self) -> usize {
        self.whole.len() + self.gap.len() + self.record.len()
    }

    /// Whether whole records wait for the piece to be full.
    pub const fn has_whole(&self) -> bool {
        self.records > 0
    }

    /// Ends the piece behind its last whole record, so that it need not wait for what comes next; none where it has none.
    pub fn cut(&mut self) -> Option<Piece> {
        let piece = self.has_whole().then(|| self.take_piece(true))?;
        // Where no whole record is held, the gap before the next one is left out.
        self.gap.clear();
        Some(piece)
    }

    /// Takes the body's next bytes; the pieces that are complete with them.
    ///
    /// # Errors
    /// [`DecodeError`] for what stands between records and for a record over its limit, placed in the whole body; the
    /// pieces before it have been given.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, DecodeError> {
        let mut pieces = Vec::new();
        for byte in bytes {
            if self.state == State::Ended {
                break;
            }
            self.step(*byte, &mut pieces);
            if *byte == b'\n' {
                self.place = Place { line: self.place.line + 1, column: 1 };
            } else if byte & 0xc0 != 0x80 {
                self.place.column += 1;
            }
        }
        match &self.failed {
            Some(error) if pieces.is_empty() => Err(error.clone()),
            _ => Ok(pieces),
        }
    }

    /// Ends the body; the last pieces, two at most. What is cut short is in them, so that decoding tells what is missing.
    ///
    /// # Errors
    /// [`DecodeError`] as from [`Pieces::push`], and [`DecodeError::EmptyBatch`] where the whole body has no record.
    pub fn finish(mut self) -> Result<Vec<Piece>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut pieces = Vec::new();
        match self.state {
            State::Within(Record::Line) => self.complete(&mut pieces),
            State::Within(Record::Word | Record::Bracketed) => self.refuse_alone(&mut pieces),
            State::Within(Record::Item | Record::Object) => {
                self.append();
                pieces.push(self.take_piece(false));
            }
            State::BeforeItem { .. } | State::BehindItem => {
                if self.records == 0 && self.first_record > 0 {
                    // What is wrong is the end of the body.
                    self.gap.clear();
                    self.piece_place = self.place;
                }
                self.whole.append(&mut self.gap);
                pieces.push(self.take_piece(false));
            }
            State::Start | State::BetweenLines | State::BetweenObjects | State::BehindArray | State::Ended => {}
        }
        if self.records > 0 {
            pieces.push(self.take_piece(true));
        }
        if pieces.is_empty() && self.first_record == 0 { Err(DecodeError::EmptyBatch) } else { Ok(pieces) }
    }

    fn step(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        match self.state {
            State::Within(Record::Line) if byte == b'\n' => {
                self.complete(pieces);
                self.gap.push(byte);
                self.state = State::BetweenLines;
            }
            State::Within(Record::Line) => self.keep(byte, pieces),
            State::Within(Record::Word) => {
                if is_space(byte) || matches!(byte, b'{' | b'[' | b'"') {
                    self.refuse_alone(pieces);
                } else {
                    self.keep(byte, pieces);
                }
            }
            State::Within(kind) => self.step_in_brackets(byte, kind, pieces),
            _ if is_space(byte) => self.space(byte, pieces),
            State::Start if byte == b'[' => {
                self.in_array = true;
                self.whole.push(byte);
                self.piece_place = self.place;
                self.gap.clear();
                self.state = State::BeforeItem { first: true };
            }
            State::Start | State::BetweenObjects => self.begin_object(byte, pieces),
            State::BetweenLines => self.begin(byte, Record::Line, pieces),
            State::BeforeItem { first: true } | State::BehindItem if byte == b']' => self.state = State::BehindArray,
            State::BeforeItem { .. } if !matches!(byte, b',' | b']') => {
                let kind = if matches!(byte, b'{' | b'[') { Record::Object } else { Record::Item };
                self.begin(byte, kind, pieces);
                self.open_with(byte);
            }
            State::BeforeItem { .. } => self.refuse("a value was expected", pieces),
            State::BehindItem if byte == b',' => {
                self.gap.push(byte);
                self.state = State::BeforeItem { first: false };
            }
            State::BehindItem => self.refuse("a comma or the array's end was expected", pieces),
            State::BehindArray => self.refuse("something follows the value", pieces),
            State::Ended => {}
        }
    }

    fn begin_object(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        let kind = match byte {
            b'{' => Record::Object,
            b'[' | b'"' => Record::Bracketed,
            _ => Record::Word,
        };
        self.begin(byte, kind, pieces);
        self.open_with(byte);
    }

    fn begin(&mut self, byte: u8, kind: Record, pieces: &mut Vec<Piece>) {
        self.state = State::Within(kind);
        self.record_place = self.place;
        self.keep(byte, pieces);
    }

    /// Notes what a record's first byte opens.
    fn open_with(&mut self, byte: u8) {
        self.open = u64::from(matches!(byte, b'{' | b'['));
        self.in_string = byte == b'"';
        self.escaped = false;
    }

    /// A byte inside of an item, an object, or what stands in its place.
    fn step_in_brackets(&mut self, byte: u8, kind: Record, pieces: &mut Vec<Piece>) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b',' | b']' if kind == Record::Item && self.open == 0 => {
                    self.complete(pieces);
                    self.state = State::BehindItem;
                    return self.step(byte, pieces);
                }
                b'"' => self.in_string = true,
                b'{' | b'[' => self.open += 1,
                b'}' | b']' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
        self.keep(byte, pieces);
        let ended = self.open == 0 && !self.in_string;
        match self.state {
            State::Within(Record::Object) if ended => {
                self.complete(pieces);
                self.state = if self.in_array { State::BehindItem } else { State::BetweenObjects };
            }
            State::Within(Record::Bracketed) if ended => self.refuse_alone(pieces),
            _ => {}
        }
    }

    /// Adds a byte to the record. What is past the limit is not held: white space can only be what follows the value.
    fn keep(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if (self.record.len() as u64) < self.record_bytes_max {
            self.record.push(byte);
        } else if !is_space(byte) {
            let (limit, record) = (self.record_bytes_max, self.first_record + self.records);
            self.fail(DecodeError::RecordTooLarge { limit, record, line: self.record_place.line }, pieces);
        }
    }

    /// White space between records. Much of it is not held but ends the piece.
    fn space(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if self.gap.len() < self.piece_bytes_max {
            return self.gap.push(byte);
        }
        if self.records > 0 {
            let piece = self.take_piece(true);
            pieces.push(piece);
        }
        // Where no whole record is held, the gap before the next one is left out.
        self.gap.clear();
    }

    /// The record has ended: it joins the piece, or the piece is full without it.
    fn complete(&mut self, pieces: &mut Vec<Piece>) {
        let bytes = self.whole.len() + self.gap.len() + self.record.len();
        if self.records > 0 && (bytes >= self.piece_bytes_max || self.records >= self.piece_records_max) {
            let piece = self.take_piece(true);
            pieces.push(piece);
        }
        self.append();
        self.records += 1;
    }

    /// Adds the gap and the record to the piece; the first record begins the piece.
    fn append(&mut self) {
        if self.records == 0 {
            self.gap.clear();
            self.piece_place = self.record_place;
        }
        self.whole.append(&mut self.gap);
        self.whole.append(&mut self.record);
    }

    /// Takes the piece, with its array's end where it is `closed`.
    fn take_piece(&mut self, closed: bool) -> Piece {
        let form = match (self.in_array, self.state) {
            (true, _) => Form::Json,
            (false, State::BetweenLines | State::Within(Record::Line)) => Form::Ndjson,
            (false, _) => Form::Sequence,
        };
        let brackets: &[u8] = if self.in_array { b"[" } else { b"" };
        let mut body = std::mem::replace(&mut self.whole, brackets.to_vec());
        if self.in_array && closed {
            body.push(b']');
        }
        // The column of a piece's first byte; its bracket takes one more than the record had before it.
        let before = i64::try_from(self.piece_place.column).unwrap_or(i64::MAX) - 1 - brackets.len() as i64;
        let piece = Piece {
            body: Bytes::from(body),
            form,
            first_line: self.piece_place.line,
            first_record: self.first_record,
            column_shift: before,
        };
        self.first_record += self.records;
        self.records = 0;
        piece
    }

    /// What stands in the place of an object makes a piece of its own, whose decoding says what is wrong with it.
    fn refuse_alone(&mut self, pieces: &mut Vec<Piece>) {
        if self.records > 0 {
            let piece = self.take_piece(true);
            pieces.push(piece);
        }
        // As an array's item it is one record, even where it is an array itself.
        self.in_array = true;
        self.whole = b"[".to_vec();
        self.append();
        let piece = self.take_piece(true);
        pieces.push(piece);
        self.state = State::Ended;
    }

    /// What stands between records is no JSON.
    fn refuse(&mut self, reason: &'static str, pieces: &mut Vec<Piece>) {
        let Place { line, column } = self.place;
        self.fail(DecodeError::InvalidJson { line, column, reason }, pieces);
    }

    /// Ends the load behind the whole records.
    fn fail(&mut self, error: DecodeError, pieces: &mut Vec<Piece>) {
        if self.records > 0 {
            let piece = self.take_piece(true);
            pieces.push(piece);
        }
        self.failed = Some(error);
        self.state = State::Ended;
    }
}

#[cfg(test)]
mod tests;
