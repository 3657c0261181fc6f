//! Places in the agent's container that ringfence gives a meaning.

/// The project.
pub const WORKSPACE: &str = "/workspace";
/// Secrets and the prompt, in memory.
pub const SECRETS: &str = "/run/secrets";
/// Certificate authorities, read-only.
pub const AUTHORITIES: &str = "/etc/ringfence";
/// The authorities in one file.
pub const BUNDLE: &str = "ca-bundle.pem";
/// Those authorities for Java.
pub const TRUSTSTORE: &str = "truststore.jks";
/// Password of that store. It keeps nobody out: a store holds no secret, and Java wants a password
/// all the same.
pub const TRUSTSTORE_PASSWORD: &str = "changeit";
