//! Which kernel this is.

/// A number that a kernel draws when it starts and tells to whoever reads `/proc`: two that are the same are one kernel.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
