//! Messages between the supervisor, the fence and the guard.
//!
//! ```text
//!  supervisor ──FirstFiles (stdin)──▶ fence ─┬─fence.json, guard.json (volume)─▶ guard
//!                                       ▲    └─line + sockets (SCM_RIGHTS)─────▶   │
//!                                       └──────────── ready, heartbeat ◀───────────┘
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use netpolicy::floor::Surroundings;
use netpolicy::policy::Policy;
use netpolicy::ruleset::{ConnectionBounds, Cut, GATE_CONNECTIONS, Permit};
use serde::{Deserialize, Serialize};

use crate::wire::WorkflowId;
use crate::wire::event::Start;
use crate::wire::init::InitKeys;
use crate::wire::notice::NoticeFacts;
use crate::wire::planned::PlannedConditions;

/// The volume that the fence and the guard share, and nobody else.
pub(crate) const SHARED: &str = "/run/ringfence";
/// The volume for the agent's authorities, where the fence has it: only to be filled before
/// the fence runs.
pub(crate) const TRUST: &str = "/run/trust";
/// The volume of what the agent is handed over in memory, where the fence has it: to be written by
/// `fence put`.
pub(crate) const HANDED: &str = "/run/handed";
/// The volume of the agent's notice, where the fence has it.
pub(crate) const NOTICE: &str = "/run/notice";
/// Name of the notice in its volume.
pub(crate) const NOTICE_FILE: &str = "policy.json";
/// Socket at which the guard waits for the fence.
pub(crate) const GUARD_SOCKET: &str = "/run/ringfence/guard.sock";
/// The fence's [`FenceConfig`].
pub(crate) const FENCE_CONFIG: &str = "/run/ringfence/fence.json";
/// The guard's [`GuardConfig`].
pub(crate) const GUARD_CONFIG: &str = "/run/ringfence/guard.json";
/// PEM of the authorities that the guard's encrypted upstreams may show; absent where no upstream
/// is encrypted.
pub(crate) const GUARD_ROOTS: &str = "/run/ringfence/roots.pem";
/// `user:password` for the proxy, for the guard's user alone; absent where the policy names no
/// credentials.
pub(crate) const GUARD_CREDENTIALS: &str = "/run/ringfence/proxy-credentials";
/// The agent's filter of system calls, where the engine wants it as a file: it is read when the
/// agent's container is made, before anybody has the volume.
pub(crate) const FILTER: &str = "/run/ringfence/seccomp.json";
/// The name under which the engine tells the guard where the host is, in its `/etc/hosts`.
pub(crate) const HOST_ALIAS: &str = "host.docker.internal";
/// Descriptors of a connection at the gate: the agent's end and the server's.
pub(crate) const CONNECTION_FILES: u32 = 2;
/// A guard's other descriptors: sockets of the fence, questions to upstreams, attempts beside the
/// first, pipes.
pub(crate) const OTHER_FILES: u32 = 2048;
/// Number of files that a guard may have open, at the largest bounds.
pub(crate) const GUARD_FILES: u32 = GATE_CONNECTIONS * CONNECTION_FILES + OTHER_FILES;
/// The most that one run's events may be, in bytes: then nothing goes out any more. The engine
/// keeps more than that of the guard's output, so that it never rotates a log's beginning away.
pub(crate) const EVENTS_BYTES: u64 = 256 << 20;
/// Time between two signs of life of the guard.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(250);
/// Silence after which the fence takes the guard for dead. A busy machine makes pauses of seconds;
/// nothing passes meanwhile, since nobody copies bytes while the guard stands still.
pub(crate) const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two signs of life that the guard writes down.
pub(crate) const PAUSE_TOLD: Duration = Duration::from_secs(1);

/// Status of a guard whose fence is gone, or has given it up.
pub(crate) const FENCE_GONE: u8 = 3;

/// The made-up zone in whose name the filter says no. No other name server has it.
pub(crate) const FILTER_ZONE: &str = "ringfence.invalid.";

/// Folder in which the fence has the files of this machine that the agent is given, numbered.
pub(crate) const GIVEN: &str = "/run/given";
/// Folder in which the helper that counts the agent's files has the volumes that the image
/// declares, numbered.
pub(crate) const COUNTED: &str = "/run/counted";

/// Directory or file of the supervisor's machine that the agent is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// Path in the fence's container.
    pub(crate) at: String,
    /// Path on the supervisor's machine.
    pub(crate) source: String,
    /// The device that it must be on.
    pub(crate) device: u64,
    /// The inode that it must be.
    pub(crate) inode: u64,
    /// The boot id of the kernel whose numbers these are.
    #[serde(default)]
    pub(crate) kernel: Option<String>,
    /// Content that the mount must have instead, where the supervisor's kernel is another one and
    /// inode numbers mean nothing.
    #[serde(default)]
    pub(crate) nonce: Option<Nonce>,
}

/// The abstract socket in the agent's network namespace at which the fence waits for the agent's
/// first program, `src/inside/init`.
pub(crate) const INIT_SOCKET: &[u8] = b"ringfence-init";

/// File that must lie at a place in the agent's container before the agent begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cover {
    /// The place.
    pub(crate) at: String,
    /// The device of what is laid over it.
    pub(crate) device: u64,
    /// Inode of the file that is laid over the place.
    pub(crate) inode: u64,
    /// File beneath the cover.
    #[serde(default)]
    pub(crate) beneath: Option<Beneath>,
}

/// A covered file, as the fence sees it: without covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beneath {
    /// Path in the fence's container.
    pub(crate) at: String,
    /// The device that it was on when the cover was made.
    pub(crate) device: u64,
    /// The inode that it was.
    pub(crate) inode: u64,
}

/// A file that only one directory has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nonce {
    /// Name of the file.
    pub(crate) name: String,
    /// All that is in it.
    pub(crate) content: String,
}

/// Configuration of the fence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FenceConfig {
    /// The workflow's id.
    pub(crate) workflow: String,
    /// The (range, port) pairs that lead to the gate.
    pub(crate) permits: Vec<Permit>,
    /// Packets that are dropped silently.
    #[serde(default)]
    pub(crate) cut: Cut,
    /// Bounds of permitted connections; the smallest where nobody says.
    #[serde(default)]
    pub(crate) connections: ConnectionBounds,
    /// Set when the lock of every device must hold, which older kernels do not have: for a runtime
    /// that may send frames itself.
    #[serde(default)]
    pub(crate) devices: bool,
    /// Mounts that must be there. They are looked at once, before anything else.
    #[serde(default)]
    pub(crate) given: Vec<Given>,
    /// Set when the fence must find the engine's limits on itself: for an engine that cannot say
    /// whether it keeps them.
    #[serde(default)]
    pub(crate) limits: bool,
    /// Covers that the agent's first program must find before it becomes the agent.
    #[serde(default)]
    pub(crate) covers: Vec<Cover>,
    /// Words by which that program is known, where there are covers.
    #[serde(default)]
    pub(crate) init: Option<InitKeys>,
    /// The boot id of the kernel whose addresses the floor has, where the supervisor took its own
    /// for the engine's. The fence must be on it.
    #[serde(default)]
    pub(crate) kernel: Option<String>,
}

/// A file that the agent is handed over in memory.
#[derive(Serialize, Deserialize)]
pub(crate) struct HandedFile {
    /// Name of the file.
    pub(crate) name: String,
    /// Permissions of the file.
    pub(crate) mode: u32,
    /// Content in base64.
    pub(crate) content: String,
}

/// The files that a run begins with, as they arrive on the fence's stdin: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FirstFiles {
    /// Text of the [`FenceConfig`].
    pub(crate) fence: String,
    /// Text of the [`GuardConfig`].
    pub(crate) guard: String,
    /// The agent's notice.
    pub(crate) notice: String,
}

/// Configuration of the guard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GuardConfig {
    /// The workflow's id.
    pub(crate) workflow: WorkflowId,
    /// The policy, whole.
    pub(crate) policy: Policy,
    /// The addresses of the machine and of the engine, which nothing may reach.
    pub(crate) surroundings: Surroundings,
    /// Unix time in milliseconds after which everything is refused.
    pub(crate) deadline_unix_ms: Option<u64>,
    /// Bounds of permitted connections; the smallest where nobody says.
    #[serde(default)]
    pub(crate) connections: ConnectionBounds,
    /// Record of who started what, for the first line of the log.
    pub(crate) start: Start,
    /// Facts for the agent's notice; none where the agent has no notice.
    #[serde(default)]
    pub(crate) notice: Option<NoticeFacts>,
    /// Conditions that are planned.
    #[serde(default)]
    pub(crate) planned: PlannedConditions,
}

/// The sockets that are handed over, in the order of the line that goes with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HandedSocket {
    /// Listening TCP: permitted connections arrive here, redirected.
    Gate,
    /// Listening TCP: port 53 to any address arrives here.
    DnsTcp,
    /// UDP: port 53 to any address arrives here.
    DnsUdp,
    /// Netlink, bound to the log group of refused packets.
    Nflog,
}

/// The line that goes with the sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// Version of this message: 1.
    pub(crate) v: u8,
    /// The agent's address.
    pub(crate) own: Ipv4Addr,
    /// Roles of the sockets.
    pub(crate) sockets: Vec<HandedSocket>,
}
