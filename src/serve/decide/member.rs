//! A container behind the socket as it will be made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::serve::answer::asked::AskedFor;
use crate::serve::request::names::MemberName;
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::image_platform::ImagePlatform;
use crate::wire::EngineId;

/// A container as it will be made. Everything in it was decided; nothing is the client's unread.
#[derive(Debug, Clone)]
pub(crate) struct MemberSpec {
    /// Name that the client gave.
    pub(crate) name: Option<MemberName>,
    /// The group whose fence it joins.
    pub(crate) group: GroupKey,
    /// The member in whose very fence it is to be: `NetworkMode: container:…`.
    pub(crate) beside: Option<EngineId>,
    /// Set when it reaches nothing: `NetworkMode: none`.
    pub(crate) cut_off: bool,
    /// Image; by its id, what was looked at is what runs.
    pub(crate) image: Image,
    /// Entrypoint; none: the image's.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// Command; none: the image's, unless an entrypoint is given.
    pub(crate) command: Option<Vec<String>>,
    /// `NAME=VALUE` as the client sent them, without proxies.
    pub(crate) env: Vec<String>,
    /// User; none: the image's.
    pub(crate) user: Option<String>,
    /// Working directory; none: the image's.
    pub(crate) workdir: Option<String>,
    /// Shell of health checks.
    pub(crate) shell: Option<Vec<String>>,
    /// Streams.
    pub(crate) streams: MemberStreams,
    /// Signal of a stop.
    pub(crate) stop_signal: Option<String>,
    /// Seconds of a stop.
    pub(crate) stop_timeout: Option<i64>,
    /// Health check; none: the image's.
    pub(crate) health: Option<HealthAsk>,
    /// The client's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Mounts.
    pub(crate) mounts: Vec<MemberMount>,
    /// Places in memory, with their options.
    pub(crate) tmpfs: BTreeMap<String, String>,
    /// Limits.
    pub(crate) limits: MemberLimits,
    /// Capabilities that root keeps, without `CAP_`.
    pub(crate) capabilities: Vec<String>,
    /// Set when the image cannot be written.
    pub(crate) read_only: bool,
    /// Set when the engine's init begins it, unless ringfence's first program does.
    pub(crate) init: bool,
    /// Further groups of its user.
    pub(crate) groups: Vec<String>,
    /// Settings of its own IPC namespace.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Platform of the image, with which the engine is always asked for it.
    pub(crate) platform: ImagePlatform,
    /// Names in the fence: aliases, host name, container name.
    pub(crate) names: Vec<String>,
    /// Further names of other members.
    pub(crate) names_of: Vec<(String, EngineId)>,
    /// The client's wishes that the engine does not know.
    pub(crate) asked: AskedFor,
    /// Warnings for the client.
    pub(crate) warnings: Vec<String>,
}

impl MemberSpec {
    /// Returns program and arguments as the engine would put them together. An entrypoint of the
    /// client's takes the image's command away, save an empty list; one empty word is none.
    pub(crate) fn argv(&self) -> Vec<String> {
        let keeps = self.entrypoint.as_deref().is_none_or(<[String]>::is_empty);
        let images: &[String] = if keeps { &self.image.command } else { &[] };
        let command = self.command.as_deref().unwrap_or(images);
        self.entrypoint_in_effect().iter().chain(command).cloned().collect()
    }

    /// Returns the words of that which are the entrypoint's.
    pub(crate) fn entrypoint_in_effect(&self) -> &[String] {
        match self.entrypoint.as_deref() {
            None => &self.image.entrypoint[..],
            Some([word]) if word.is_empty() => &[],
            Some(words) => words,
        }
    }

    /// Returns its working directory: its own, or its image's.
    pub(crate) fn workdir_in_effect(&self) -> &str {
        self.workdir.as_deref().unwrap_or(&self.image.workdir)
    }

    /// Tells whether it begins as root, by its own user or its image's.
    pub(crate) fn is_root(&self) -> bool {
        let user = self.user.as_deref().unwrap_or(&self.image.user);
        matches!(user.split(':').next(), None | Some("" | "0" | "root"))
    }
}

/// Key of a group: containers of one group share a fence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupKey {
    /// The group with this key; it is made where there is none.
    Joins(String),
    /// A new group of its own.
    Alone,
}

/// Streams of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "named as in the API")]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct MemberStreams {
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
}

/// Health check. Times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct HealthAsk {
    pub(crate) test: Vec<String>,
    pub(crate) interval: Option<i64>,
    pub(crate) timeout: Option<i64>,
    pub(crate) retries: Option<i64>,
    pub(crate) start_period: Option<i64>,
    pub(crate) start_interval: Option<i64>,
}

/// Mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberMount {
    /// Its source.
    pub(crate) source: MountSource,
    /// Place in the container.
    pub(crate) target: String,
    /// Set when the container may write it.
    pub(crate) writable: bool,
}

/// Source of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountSource {
    /// File or directory below a root.
    Path {
        /// Path without links.
        path: PathBuf,
        /// Set when the directory is made first, as the user.
        make: bool,
        /// Set when what is mounted below it stays away.
        alone: bool,
    },
    /// A volume of this socket's.
    Volume {
        /// Its name; none: a new one.
        name: Option<String>,
        /// Labels of a new one.
        labels: BTreeMap<String, String>,
        /// Set when it is not filled from the image.
        no_copy: bool,
    },
    /// Memory.
    Memory {
        /// Bytes.
        size: u64,
        /// Permissions.
        mode: Option<u32>,
    },
}

/// Limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberLimits {
    /// Bytes; swap is equal, so none is added.
    pub(crate) memory: u64,
    /// Bytes that are wished for.
    pub(crate) reservation: Option<u64>,
    /// CPUs, in billionths.
    pub(crate) nano_cpus: i64,
    /// Weight beside others.
    pub(crate) cpu_shares: Option<i64>,
    /// List of CPUs.
    pub(crate) cpuset_cpus: Option<String>,
    /// List of memory nodes.
    pub(crate) cpuset_mems: Option<String>,
    /// Processes and threads.
    pub(crate) pids: u64,
    /// Bytes of `/dev/shm`.
    pub(crate) shm: u64,
    /// Limits of each process, by name: soft and hard.
    pub(crate) ulimits: BTreeMap<String, (i64, i64)>,
    /// Order in which the kernel ends programs.
    pub(crate) oom_score: Option<i64>,
}
