//! Old versions go: each append makes one, and opening lists them all.

use lance::Dataset;
use lance::dataset::cleanup::CleanupPolicyBuilder;

use crate::table::TableError;

/// How many of the newest versions stay, besides those with a tag.
pub(super) const VERSIONS_KEPT: usize = 20;
/// After how many commits the others go.
pub(super) const COMMITS_BETWEEN: u64 = 20;

/// Removes what only versions before the newest [`VERSIONS_KEPT`] name, except versions with a tag. Files of commits that
/// failed go when they are seven days old: nothing tells them from those of a commit under way.
pub(super) async fn remove_old_versions(dataset: &Dataset) -> Result<(), TableError> {
    let policy = CleanupPolicyBuilder::default().retain_n_versions(dataset, VERSIONS_KEPT).await?;
    let policy = policy.error_if_tagged_old_versions(false).build();
    dataset.cleanup_with_policy(policy).await?;
    Ok(())
}
