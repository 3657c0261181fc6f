//! Values that a supervisor and the helper of an ssh agent agree on.

/// Folder in the fence's container for the helper's socket: in the volume that the agent has
/// read-only.
pub(crate) const FOLDER: &str = "ssh";
/// Name of the socket in it.
pub(crate) const SOCKET: &str = "agent.sock";
/// Name of the file of known hosts in it.
pub(crate) const KNOWN_HOSTS: &str = "known_hosts";
/// The user that the helper runs as, and the owner of the folder: in no passwd file, no other
/// helper's, and owner of nothing else.
pub(crate) const HELPER_ID: u64 = 65530;
/// User and group of the helper, as an engine is asked for them.
pub(crate) const HELPER: &str = "65530:65530";
/// Connections at once.
pub(crate) const CONNECTIONS: usize = 16;
