//! Places in the agent's container that ringfence gives a meaning.

/// The project.
pub(crate) const WORKSPACE: &str = "/workspace";
/// Secrets and the prompt, in memory.
pub(crate) const SECRETS: &str = "/run/secrets";
/// The notice of what the agent may reach, read-only.
pub(crate) const NOTICE: &str = "/run/ringfence/notice";
/// Certificate authorities, read-only.
pub(super) const AUTHORITIES: &str = "/etc/ringfence";
/// The authorities in one file.
pub(crate) const BUNDLE: &str = "ca-bundle.pem";
/// Those authorities for Java.
pub(crate) const TRUSTSTORE: &str = "truststore.jks";
/// Password of that store. It keeps nobody out: a store holds no secret, and Java wants a password
/// all the same.
pub(crate) const TRUSTSTORE_PASSWORD: &str = "changeit";
