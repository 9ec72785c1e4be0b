//! Schema versions as they are told.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::catalog::SchemaText;
use crate::model::{ErrorCode, Problem, SchemaVersion};
use crate::topic::{SchemaListing, Topic};

/// Bytes of a page of schema versions, about; but one is always told.
const PAGE_BYTES_MAX: usize = 8 << 20;

impl Topic {
    /// The schema versions after one, oldest first, at most so many; and whether there are more.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `internal`.
    pub async fn schemas(
        &self,
        after: Option<SchemaVersion>,
        limit: usize,
    ) -> Result<(Vec<SchemaListing>, bool), Problem> {
        self.check_columns()?;
        let page = self.services.catalog.schema_texts(self.id, after, limit, PAGE_BYTES_MAX).await;
        let (texts, more) = page.map_err(|err| self.catalog_problem(&err))?;
        let listings = texts.iter().map(listing).collect::<Result<_, Problem>>()?;
        Ok((listings, more))
    }

    /// One schema version, none for the newest.
    ///
    /// # Errors
    /// `not_found` where there is none, and as [`Topic::schemas`].
    pub async fn schema(&self, version: Option<SchemaVersion>) -> Result<SchemaListing, Problem> {
        self.check_columns()?;
        let text = self.services.catalog.schema_text(self.id, version).await;
        let text = text.map_err(|err| self.catalog_problem(&err))?;
        let none = || Problem::new(ErrorCode::NotFound, "The topic has no such schema version.");
        listing(&text.ok_or_else(none)?)
    }
}

/// The member object of the API. What the catalog holds as JSON is passed on as it is.
#[derive(Serialize)]
struct Told<'a> {
    version: u32,
    fields: &'a RawValue,
    fingerprint: &'a str,
    created_at: String,
    cause: &'static str,
    changes: &'a RawValue,
}

fn listing(text: &SchemaText) -> Result<SchemaListing, Problem> {
    let told = Told {
        version: text.version.get(),
        fields: &text.fields,
        fingerprint: &text.fingerprint,
        created_at: text.created_at.to_string(),
        cause: text.cause.as_str(),
        changes: &text.changes,
    };
    let json = to_raw_value(&told).map_err(|error| {
        tracing::error!(%error, "a schema version could not be written as JSON");
        Problem::internal()
    })?;
    Ok(SchemaListing { version: text.version, fingerprint: text.fingerprint.clone(), json })
}
