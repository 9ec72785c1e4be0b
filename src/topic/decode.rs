//! Bodies of appends to records, outside any lock.

use crate::backend::RecordForm;
use crate::codec::{Body, DecodeError, DecodeLimits, Decoded, PreparedSchema, Sifted, Target, sift};
use crate::model::{Problem, SchemaMode, Timestamp};
use crate::schema::WideColumns;
use crate::topic::append::Basis;
use crate::topic::log::{Log, Ruling};
use crate::topic::{AppendRequest, Topic};

/// Bodies from this size on are decoded on a thread of their own, so that they hold up nobody else.
const DECODE_INLINE_BYTES: usize = 64 << 10;

/// Refuses what a topic that is made for this append with defaults would refuse, so that none is made for nothing.
///
/// # Errors
/// As those of [`Topic::append`].
pub(crate) fn check_first(ask: &AppendRequest, limits: &DecodeLimits, now: Timestamp) -> Result<(), Problem> {
    if let Ruling::Refuse(problem) = Log::empty().rule(ask, now) {
        return Err(problem);
    }
    let (form, mode) = (RecordForm::EvolvingColumns, SchemaMode::Evolve);
    let decoded = decode_body(ask, (form, mode), None, &WideColumns::default(), limits, false);
    decoded.map(drop).map_err(DecodeError::into_problem)
}

impl Topic {
    /// Decodes what the service itself has written.
    pub(super) async fn decode_unbounded(&self, ask: &AppendRequest, basis: &Basis) -> Result<Decoded, DecodeError> {
        let limits = DecodeLimits { record_bytes_max: u64::MAX, records_max: u64::MAX, errors_max: 1 };
        self.decode_within(ask, basis, false, limits).await.map(|sifted| sifted.taken)
    }

    /// Decodes records that were within the limits of their time.
    pub(super) async fn decode_again(&self, ask: &AppendRequest, basis: &Basis) -> Result<Sifted, DecodeError> {
        let limits = DecodeLimits { record_bytes_max: u64::MAX, records_max: u64::MAX, ..self.services.decode_limits };
        self.decode_within(ask, basis, true, limits).await
    }

    pub(super) async fn decode(&self, ask: &AppendRequest, basis: &Basis, sifts: bool) -> Result<Sifted, DecodeError> {
        self.decode_within(ask, basis, sifts, self.services.decode_limits).await
    }

    async fn decode_within(
        &self,
        ask: &AppendRequest,
        basis: &Basis,
        sifts: bool,
        limits: DecodeLimits,
    ) -> Result<Sifted, DecodeError> {
        let form = self.factory.form();
        let mode = self.settings.load().schema_mode.unwrap_or(SchemaMode::Strict);
        if ask.body.bytes() < DECODE_INLINE_BYTES {
            return decode_body(ask, (form, mode), basis.prepared.as_deref(), &basis.wide, &limits, sifts);
        }
        let (ask, schema, wide) = (ask.clone(), basis.prepared.clone(), basis.wide.clone());
        let decoding = move || decode_body(&ask, (form, mode), schema.as_deref(), &wide, &limits, sifts);
        match tokio::task::spawn_blocking(decoding).await {
            Ok(decoded) => decoded,
            Err(err) => std::panic::resume_unwind(err.into_panic()),
        }
    }
}

fn decode_body(
    ask: &AppendRequest,
    (form, mode): (RecordForm, SchemaMode),
    schema: Option<&PreparedSchema>,
    wide: &WideColumns,
    limits: &DecodeLimits,
    sifts: bool,
) -> Result<Sifted, DecodeError> {
    let target = match form {
        RecordForm::Documents => Target::Documents,
        RecordForm::StrictColumns | RecordForm::EvolvingColumns => Target::Columns { schema, mode, wide },
    };
    match &ask.body {
        Body::Text { text, form } if sifts => sift(text, *form, target, limits),
        // Rows of Arrow are typed as a whole: they fit or are refused.
        body => body.decode(target, limits).map(|taken| Sifted { taken, refused: Vec::new() }),
    }
}
