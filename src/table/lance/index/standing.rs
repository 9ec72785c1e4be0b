//! How the indexes of a table stand.

use super::survey::{Part, Survey, survey};
use crate::model::Offset;
use crate::table::lance::open::Version;
use crate::table::lance::table::Inner;
use crate::table::{IndexDefinition, IndexStanding, IndexState, TableError};

impl Inner {
    /// How each of the indexes stands.
    pub(in crate::table::lance) async fn standing(&self, earliest: Offset) -> Result<Vec<IndexStanding>, TableError> {
        let wanted = self.indexes.wanted();
        let version = self.version().await?;
        let found = match &version {
            Some(version) => Some((version, survey(version, &wanted).await?)),
            None => None,
        };
        Ok(wanted.iter().map(|definition| self.standing_of(definition, found.as_ref(), earliest)).collect())
    }

    fn standing_of(
        &self,
        definition: &IndexDefinition,
        found: Option<&(&Version, Survey<'_>)>,
        earliest: Offset,
    ) -> IndexStanding {
        let mut parts: Vec<(&Version, &Part<'_>)> = Vec::new();
        if let Some((version, survey)) = found {
            parts.extend(survey.parts.iter().filter(|it| it.definition.id == definition.id).map(|it| (*version, it)));
        }
        let rows = parts.iter().map(|(version, part)| part.rows_from(version, earliest)).min().unwrap_or(0);
        let is_there = |(version, part): &(&Version, &Part<'_>)| {
            // Where it had nothing of what it is to begin with, it is ready, whatever has come since.
            let has_been_seen =
                || self.indexes.hollow_to(part) >= definition.from || self.indexes.is_hollow(part, version);
            part.is_begun || (version.layout.next >= definition.from && has_been_seen())
        };
        // What it is to begin with may be nothing.
        let has_nothing = definition.from <= earliest;
        let is_ready = has_nothing || (!parts.is_empty() && parts.iter().all(is_there));
        let known = self.indexes.known.lock();
        let known = known.get(&definition.id);
        let error = known.and_then(|known| known.trouble.as_ref()).map(|trouble| trouble.error.clone());
        let state = match (is_ready, &error) {
            (true, _) => IndexState::Ready,
            (false, Some(_)) => IndexState::Failed,
            (false, None) => IndexState::Building,
        };
        let progress = known.and_then(|known| known.progress.as_ref()).map_or(0.0, |progress| progress.share());
        IndexStanding { id: definition.id, state, progress: if is_ready { 1.0 } else { progress }, rows, error }
    }
}
