//! Identity of the kernel and of the machine.

/// Returns the machine's id, which it got when it was installed, as far as its system keeps one.
pub(crate) fn machine_id() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns a number that a kernel draws when it starts and tells every reader of `/proc`: two equal
/// numbers are one kernel.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
