//! Objects: their names, their kinds, and what commits and trees say.

use std::fmt;

use sha1_checked::Digest as _;

/// The name of an object.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ObjectId(Vec<u8>);

/// The hash that gives a repository's objects their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
}

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A commit.
    Commit,
    /// A folder.
    Tree,
    /// A file's content.
    Blob,
    /// A signed or annotated tag.
    Tag,
}

/// One name in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Kind and permissions.
    pub(crate) mode: u32,
    /// The object.
    pub(crate) id: ObjectId,
}

/// The mode of a folder in a tree.
pub(crate) const FOLDER: u32 = 0o040_000;

impl Form {
    /// Returns the number of bytes of a name.
    pub(crate) fn length(self) -> usize {
        match self {
            Form::Sha1 => 20,
            Form::Sha256 => 32,
        }
    }

    /// Says whether this is the name of that content. Content that was made to collide has no name.
    pub(crate) fn names(self, id: &ObjectId, kind: Kind, content: &[u8]) -> bool {
        let head = format!("{} {}\0", kind.word(), content.len());
        match self {
            Form::Sha1 => {
                let mut hash = sha1_checked::Sha1::new();
                hash.update(&head);
                hash.update(content);
                let result = hash.try_finalize();
                !result.has_collision() && result.hash()[..] == id.0[..]
            }
            Form::Sha256 => {
                use sha2::Digest as _;
                let sum = sha2::Sha256::new().chain_update(&head).chain_update(content).finalize();
                sum[..] == id.0[..]
            }
        }
    }

    /// Reads a name in hexadecimal digits.
    pub(crate) fn parse(self, text: &[u8]) -> Option<ObjectId> {
        let lower = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bytes = hex::decode(text).ok().filter(|_| lower)?;
        self.take(&bytes)
    }

    /// Takes the bytes of a name.
    pub(crate) fn take(self, bytes: &[u8]) -> Option<ObjectId> {
        (bytes.len() == self.length()).then(|| ObjectId(bytes.to_vec()))
    }
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];

    /// Gives the kind that git calls so.
    pub(crate) fn called(word: &[u8]) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word().as_bytes() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
            Kind::Tag => "tag",
        }
    }
}

impl ObjectId {
    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Reads which tree a commit has.
pub(crate) fn tree_of(commit: &[u8], form: Form) -> Option<ObjectId> {
    let line = commit.split(|byte| *byte == b'\n').next()?;
    form.parse(line.strip_prefix(b"tree ")?)
}

/// Finds a name in a tree. An outer none: the tree cannot be read, or has the name twice.
#[allow(clippy::option_option, reason = "unreadable, or without the name")]
pub(crate) fn find(tree: &[u8], name: &[u8], form: Form) -> Option<Option<Named>> {
    let (mut rest, mut found) = (tree, None);
    while !rest.is_empty() {
        let space = rest.iter().take(7).position(|byte| *byte == b' ')?;
        let digits = std::str::from_utf8(&rest[..space]).ok()?;
        let mode = u32::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+'))?;
        rest = &rest[space + 1..];
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (here, behind) = (&rest[..end], &rest[end + 1..]);
        if here.is_empty() || here.contains(&b'/') {
            return None;
        }
        let (id, behind) = behind.split_at_checked(form.length())?;
        if here == name {
            if found.is_some() {
                return None;
            }
            found = Some(Named { mode, id: form.take(id)? });
        }
        rest = behind;
    }
    Some(found)
}
