//! What has happened in schedules.

/// What has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub appends: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub open: u64,
    pub duplicates: u64,
    pub flushes: u64,
    pub trims: u64,
    pub closes: u64,
    pub creations: u64,
    pub deletions: u64,
    pub tags: u64,
    pub forks: u64,
    pub stops: u64,
    pub kills: u64,
    pub power_losses: u64,
    pub failed_starts: u64,
    pub log_failures: u64,
    pub files_lost: u64,
    pub names_lost: u64,
    pub looks: u64,
}

impl Figures {
    /// Adds those of another schedule.
    pub fn add(&mut self, other: &Figures) {
        let Figures { appends, acknowledged, refused, open, duplicates, flushes, trims, closes, creations, .. } = other;
        self.appends += appends;
        self.acknowledged += acknowledged;
        self.refused += refused;
        self.open += open;
        self.duplicates += duplicates;
        self.flushes += flushes;
        self.trims += trims;
        self.closes += closes;
        self.creations += creations;
        let Figures { deletions, stops, kills, power_losses, failed_starts, log_failures, .. } = other;
        self.deletions += deletions;
        self.stops += stops;
        self.kills += kills;
        self.power_losses += power_losses;
        self.failed_starts += failed_starts;
        self.log_failures += log_failures;
        self.tags += other.tags;
        self.forks += other.forks;
        self.files_lost += other.files_lost;
        self.names_lost += other.names_lost;
        self.looks += other.looks;
    }
}
