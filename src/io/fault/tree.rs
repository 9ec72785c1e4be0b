//! Folders and the names in them: durable, on the way there, and as seen.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::Loss;
use super::contents::Contents;
use super::random::Random;
use super::unsynced::{Fate, Unsynced};

/// A file or folder, whatever its name.
pub(super) type NodeId = u64;

const ROOT: NodeId = 0;

#[derive(Debug)]
enum Node {
    File { contents: Contents, handles: usize },
    Folder(Folder),
}

type Names = BTreeMap<OsString, NodeId>;

#[derive(Debug, Default)]
struct Folder {
    durable: Names,
    unsynced: Unsynced<Change>,
    now: Names,
}

#[derive(Debug)]
struct Change {
    edit: Edit,
    /// The two halves of a rename between folders have the same number.
    pair: Option<u64>,
}

#[derive(Debug)]
enum Edit {
    Put {
        name: OsString,
        node: NodeId,
    },
    Take {
        name: OsString,
    },
    /// Within one folder, which every file system in use does in one piece.
    Move {
        from: OsString,
        to: OsString,
        node: NodeId,
    },
}

impl Folder {
    fn change(&mut self, edit: Edit, pair: Option<u64>) {
        apply(&mut self.now, &edit);
        self.unsynced.push(Change { edit, pair });
    }

    /// Every node that a name leads to, or may lead to after a power loss.
    fn targets(&self) -> impl Iterator<Item = NodeId> {
        let unsynced = self.unsynced.iter().filter_map(|change| match change.edit {
            Edit::Put { node, .. } | Edit::Move { node, .. } => Some(node),
            Edit::Take { .. } => None,
        });
        self.durable.values().chain(self.now.values()).copied().chain(unsynced)
    }
}

fn apply(names: &mut Names, edit: &Edit) {
    match edit {
        Edit::Put { name, node } => {
            names.insert(name.clone(), *node);
        }
        Edit::Take { name } => {
            names.remove(name);
        }
        Edit::Move { from, to, node } => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

/// All files and folders. Its root is always there.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    next_pair: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::Folder(Folder::default()))]), next_node: ROOT + 1, next_pair: 0 }
    }
}

impl Tree {
    fn folder(&self, id: NodeId) -> io::Result<&Folder> {
        match self.nodes.get(&id) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File { .. }) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn folder_mut(&mut self, id: NodeId) -> io::Result<&mut Folder> {
        match self.nodes.get_mut(&id) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File { .. }) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        id
    }

    fn find(&self, path: &Path) -> io::Result<NodeId> {
        names(path)?.into_iter().try_fold(ROOT, |id, name| {
            self.folder(id)?.now.get(&name).copied().ok_or_else(|| ErrorKind::NotFound.into())
        })
    }

    /// The folder that holds the path's last name, and that name.
    fn place(&self, path: &Path) -> io::Result<(NodeId, OsString)> {
        let name = names(path)?.pop().ok_or(ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().ok_or(ErrorKind::InvalidInput)?)?;
        self.folder(folder)?;
        Ok((folder, name))
    }

    /// The file at a path.
    pub(super) fn find_file(&self, path: &Path) -> io::Result<NodeId> {
        let id = self.find(path)?;
        self.file(id).map(|_| id)
    }

    /// The contents of a file.
    pub(super) fn file(&self, id: NodeId) -> io::Result<&Contents> {
        match self.nodes.get(&id) {
            Some(Node::File { contents, .. }) => Ok(contents),
            Some(Node::Folder(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The contents of a file, to change.
    pub(super) fn file_mut(&mut self, id: NodeId) -> io::Result<&mut Contents> {
        match self.nodes.get_mut(&id) {
            Some(Node::File { contents, .. }) => Ok(contents),
            Some(Node::Folder(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let (folder, name) = self.place(path)?;
        if self.folder(folder)?.now.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let node = self.add(Node::File { contents: Contents::default(), handles: 0 });
        self.folder_mut(folder)?.change(Edit::Put { name, node }, None);
        Ok(node)
    }

    pub(super) fn create_folders(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path)? {
            at = match self.folder(at)?.now.get(&name) {
                Some(node) => *node,
                None => {
                    let node = self.add(Node::Folder(Folder::default()));
                    self.folder_mut(at)?.change(Edit::Put { name, node }, None);
                    node
                }
            };
        }
        self.folder(at).map(|_| ())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.folder(self.find(path)?)?.now.keys().map(PathBuf::from).collect())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.find_file(path)?;
        let (folder, name) = self.place(path)?;
        self.folder_mut(folder)?.change(Edit::Take { name }, None);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find_file(from)?;
        let ((source, from), (target, to)) = (self.place(from)?, self.place(to)?);
        if let Some(replaced) = self.folder(target)?.now.get(&to) {
            self.file(*replaced)?;
            if *replaced == node {
                return Ok(());
            }
        }
        if source == target {
            self.folder_mut(source)?.change(Edit::Move { from, to, node }, None);
        } else {
            let pair = Some(self.next_pair);
            self.next_pair += 1;
            self.folder_mut(target)?.change(Edit::Put { name: to, node }, pair);
            self.folder_mut(source)?.change(Edit::Take { name: from }, pair);
        }
        Ok(())
    }

    pub(super) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        let folder = self.folder_mut(id)?;
        for change in folder.unsynced.settle() {
            apply(&mut folder.durable, &change.edit);
        }
        self.drop_unreachable();
        Ok(())
    }

    pub(super) fn fail_sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        self.folder_mut(id)?.unsynced.doubt();
        Ok(())
    }

    /// Counts an open handle: the file stays while there is one, whatever its names.
    pub(super) fn opened(&mut self, id: NodeId) {
        if let Some(Node::File { handles, .. }) = self.nodes.get_mut(&id) {
            *handles += 1;
        }
    }

    /// Counts a handle less.
    pub(super) fn closed(&mut self, id: NodeId) {
        if let Some(Node::File { handles, .. }) = self.nodes.get_mut(&id) {
            *handles = handles.saturating_sub(1);
        }
    }

    /// All handles are gone at once.
    pub(super) fn close_all(&mut self) {
        for node in self.nodes.values_mut() {
            if let Node::File { handles, .. } = node {
                *handles = 0;
            }
        }
        self.drop_unreachable();
    }

    /// Bytes of room that the files with a name or a handle take.
    pub(super) fn room(&self) -> u64 {
        let named = self.reach(|folder| folder.now.values().copied().collect());
        let room = |(id, node): (&NodeId, &Node)| match node {
            Node::File { contents, handles } if *handles > 0 || named.contains(id) => contents.now().room(),
            Node::File { .. } | Node::Folder(_) => 0,
        };
        self.nodes.iter().map(room).sum()
    }

    /// Leaves what a power loss leaves.
    pub(super) fn lose_power(&mut self, random: &mut Random) -> Loss {
        let mut loss = Loss::default();
        let mut pairs: BTreeMap<u64, bool> = BTreeMap::new();
        for node in self.nodes.values_mut() {
            match node {
                Node::File { contents, .. } => contents.lose_power(random, &mut loss),
                Node::Folder(folder) => lose_names(folder, random, &mut pairs, &mut loss),
            }
        }
        self.close_all();
        loss
    }

    fn reach(&self, targets: impl Fn(&Folder) -> Vec<NodeId>) -> BTreeSet<NodeId> {
        let (mut reached, mut rest) = (BTreeSet::new(), vec![ROOT]);
        while let Some(id) = rest.pop() {
            if reached.insert(id)
                && let Some(Node::Folder(folder)) = self.nodes.get(&id)
            {
                rest.extend(targets(folder));
            }
        }
        reached
    }

    fn drop_unreachable(&mut self) {
        let reached = self.reach(|folder| folder.targets().collect());
        self.nodes.retain(|id, node| reached.contains(id) || matches!(node, Node::File { handles: 1.., .. }));
    }
}

fn lose_names(folder: &mut Folder, random: &mut Random, pairs: &mut BTreeMap<u64, bool>, loss: &mut Loss) {
    for (change, fate) in folder.unsynced.resolve(random) {
        let drawn = match fate {
            Fate::Sure => {
                apply(&mut folder.durable, &change.edit);
                continue;
            }
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Damaged => random.coin(),
        };
        // A journal takes both halves of a rename between folders or neither.
        let kept = change.pair.map_or(drawn, |pair| *pairs.entry(pair).or_insert(drawn));
        if kept {
            loss.names_kept += 1;
            apply(&mut folder.durable, &change.edit);
        } else {
            loss.names_lost += 1;
        }
    }
    folder.now = folder.durable.clone();
}

/// The names along a path; a relative one begins at the root too.
fn names(path: &Path) -> io::Result<Vec<OsString>> {
    let name = |component| match component {
        Component::Normal(name) => Some(Ok(name.to_owned())),
        Component::RootDir | Component::CurDir => None,
        Component::ParentDir | Component::Prefix(_) => Some(Err(ErrorKind::InvalidInput.into())),
    };
    path.components().filter_map(name).collect()
}
