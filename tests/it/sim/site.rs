//! Every place where the product asks for a sync.

/// A place where the product asks for a sync, told by what it follows and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// Log: the frames of a group.
    LogGroup,
    /// Log: the cut that takes a write to a full disk back.
    LogTakenBack,
    /// Log: the header of a segment that an append begins.
    LogSegment,
    /// Log: the name of that segment.
    LogSegmentName,
    /// Log, recovery: the header and the copied frames of a segment.
    LogCopy,
    /// Log, recovery: the name of that segment.
    LogCopyName,
    /// Log: the removal of a segment.
    LogRemoval,
    /// Log: the name of its folder.
    LogFolder,
    /// Commit: a data file.
    CommitData,
    /// Commit: the names of data files.
    CommitDataNames,
    /// Commit: the manifest.
    CommitManifest,
    /// Commit: the manifest's name.
    CommitVersions,
    /// Commit: the names of the folders in the dataset.
    CommitDataset,
    /// First commit: the name of the dataset's folder.
    CommitParent,
    /// The symlink's name.
    Link,
    /// The name of a folder that datasets or links lie in, made for them.
    Folders,
    /// Opening: a file of the head that is written anew.
    OpenCopy,
    /// Opening: a data file of the head.
    OpenData,
    /// Opening: the names of data files.
    OpenDataNames,
    /// Opening: the head's manifest.
    OpenManifest,
    /// Opening: the manifest's name.
    OpenVersions,
    /// Opening: the names of the folders in the dataset.
    OpenDataset,
    /// Opening: the name of the dataset's folder.
    OpenParent,
    /// Setting a head aside: its new name.
    AsideTorn,
    /// Setting a head aside: the end of its old name.
    AsideVersions,
    /// Setting a head aside: the name of the folder for those.
    AsideDataset,
    /// A tag: its file.
    Tag,
    /// A tag: its name.
    TagNames,
    /// A tag: the name of the folder of tags.
    TagFolder,
    /// Deletion: the end of the symlink.
    RemoveLink,
    /// Deletion: the end of the dataset's folder.
    RemoveDataset,
}

impl Site {
    /// Those of the write-ahead log.
    pub const LOG: [Site; 8] = [
        Site::LogGroup,
        Site::LogTakenBack,
        Site::LogSegment,
        Site::LogSegmentName,
        Site::LogCopy,
        Site::LogCopyName,
        Site::LogRemoval,
        Site::LogFolder,
    ];

    /// Those of the datasets.
    pub const TABLES: [Site; 23] = [
        Site::CommitData,
        Site::CommitDataNames,
        Site::CommitManifest,
        Site::CommitVersions,
        Site::CommitDataset,
        Site::CommitParent,
        Site::Link,
        Site::Folders,
        Site::OpenCopy,
        Site::OpenData,
        Site::OpenDataNames,
        Site::OpenManifest,
        Site::OpenVersions,
        Site::OpenDataset,
        Site::OpenParent,
        Site::AsideTorn,
        Site::AsideVersions,
        Site::AsideDataset,
        Site::Tag,
        Site::TagNames,
        Site::TagFolder,
        Site::RemoveLink,
        Site::RemoveDataset,
    ];
}
