//! Bodies of appends to records, outside any lock.

use std::sync::Arc;

use crate::backend::RecordForm;
use crate::codec::{Body, DecodeError, DecodeLimits, Decoded, PreparedSchema, Room, Sifted, Target, sift};
use crate::model::{Problem, SchemaMode, Timestamp};
use crate::schema::WideColumns;
use crate::topic::append::Basis;
use crate::topic::log::{Log, Ruling};
use crate::topic::{AppendRequest, InflightPermit, Topic};

/// Text from this size on is decoded on a thread of its own, so that it holds up nobody else; Arrow always is.
const DECODE_INLINE_BYTES: usize = 64 << 10;
/// Text from this size on waits for no turn to be decoded: it would keep others from theirs for a tenth of a second.
const DECODE_IN_TURN_BYTES: usize = 8 << 20;

/// Refuses what a topic that is made for this append with defaults would refuse, so that none is made for nothing.
///
/// # Errors
/// As those of [`Topic::append`].
pub(crate) async fn check_first(
    ask: &AppendRequest,
    limits: &DecodeLimits,
    now: Timestamp,
    permit: &mut InflightPermit,
) -> Result<(), Problem> {
    if let Ruling::Refuse(problem) = Log::empty().rule(ask, now) {
        return Err(problem);
    }
    let (form, mode) = (RecordForm::EvolvingColumns, SchemaMode::Evolve);
    let limits = *limits;
    let checked = move |ask: &AppendRequest, room: &Room| {
        decode_body(ask, (form, mode), None, &WideColumns::default(), &limits, false, room).map(drop)
    };
    if ask.body.is_text_below(DECODE_INLINE_BYTES) {
        return checked(ask, &Room::default()).map_err(DecodeError::into_problem);
    }
    let (body, ask) = (permit.held(), ask.clone());
    let decoded = permit.hold_in(move |room| checked(&ask, room)).await;
    permit.shrink_to(body);
    decoded.map_err(DecodeError::into_problem)
}

impl Topic {
    /// Decodes what the service itself has written.
    pub(super) async fn decode_unbounded(&self, ask: &AppendRequest, basis: &Basis) -> Result<Decoded, DecodeError> {
        let limits = DecodeLimits { record_bytes_max: u64::MAX, records_max: u64::MAX, errors_max: 1 };
        let mut permit = InflightPermit::none();
        self.decode_within(ask, basis, false, limits, &mut permit).await.map(|sifted| sifted.taken)
    }

    /// Decodes records that were within the limits of their time.
    pub(super) async fn decode_again(&self, ask: &AppendRequest, basis: &Basis) -> Result<Sifted, DecodeError> {
        let limits = DecodeLimits { record_bytes_max: u64::MAX, records_max: u64::MAX, ..self.services.decode_limits };
        self.decode_within(ask, basis, true, limits, &mut InflightPermit::none()).await
    }

    /// Decodes a body; what it becomes beyond its own size is held by `permit` as well.
    pub(super) async fn decode(
        &self,
        ask: &AppendRequest,
        basis: &Basis,
        sifts: bool,
        permit: &mut InflightPermit,
    ) -> Result<Sifted, DecodeError> {
        self.decode_within(ask, basis, sifts, self.services.decode_limits, permit).await
    }

    async fn decode_within(
        &self,
        ask: &AppendRequest,
        basis: &Basis,
        sifts: bool,
        limits: DecodeLimits,
        permit: &mut InflightPermit,
    ) -> Result<Sifted, DecodeError> {
        let form = self.factory.form();
        let mode = self.settings.load().schema_mode.unwrap_or(SchemaMode::Strict);
        if ask.body.is_text_below(DECODE_INLINE_BYTES) {
            let (schema, room) = (basis.prepared.as_deref(), Room::default());
            let sifted = decode_body(ask, (form, mode), schema, &basis.wide, &limits, sifts, &room)?;
            if !sifted.refused.is_empty() {
                permit.hold(sifted.refused_bytes()).await?;
            }
            return Ok(sifted);
        }
        // What may wait for room in between takes no turn: it would keep from theirs those whose end gives room.
        let turn = if !sifts && ask.body.is_text_below(DECODE_IN_TURN_BYTES) {
            Arc::clone(&self.services.decoders).acquire_owned().await.ok()
        } else {
            None
        };
        let (ask, schema, wide) = (ask.clone(), basis.prepared.clone(), basis.wide.clone());
        let decoding = move |room: &Room| {
            let _turn = turn;
            decode_body(&ask, (form, mode), schema.as_deref(), &wide, &limits, sifts, room)
        };
        permit.hold_in(decoding).await
    }
}

fn decode_body(
    ask: &AppendRequest,
    (form, mode): (RecordForm, SchemaMode),
    schema: Option<&PreparedSchema>,
    wide: &WideColumns,
    limits: &DecodeLimits,
    sifts: bool,
    room: &Room,
) -> Result<Sifted, DecodeError> {
    let target = match form {
        RecordForm::Documents => Target::Documents,
        RecordForm::StrictColumns | RecordForm::EvolvingColumns => Target::Columns { schema, mode, wide },
    };
    match &ask.body {
        Body::Text { text, form } if sifts => sift(text, *form, target, limits, room),
        // Rows of Arrow are typed as a whole: they fit or are refused.
        body => body.decode(target, limits, room).map(|taken| Sifted { taken, refused: Vec::new() }),
    }
}
