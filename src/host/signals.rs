//! Signals that the parent process wants ignored, as `nohup` does.

use std::sync::OnceLock;

static IGNORED: OnceLock<u64> = OnceLock::new();

/// Tells whether a signal was ignored from the start. The first call must come before any handler
/// is set.
pub(crate) fn is_ignored(number: i32) -> bool {
    let mask = *IGNORED.get_or_init(|| {
        std::fs::read_to_string("/proc/self/status").ok().and_then(|text| mask(&text)).unwrap_or(0)
    });
    number
        .checked_sub(1)
        .and_then(|bit| mask.checked_shr(bit.unsigned_abs()))
        .is_some_and(|bits| bits & 1 == 1)
}

/// Reads `SigIgn:` of the kernel's text about a process.
fn mask(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        assert_eq!(mask("Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"), Some(0x1001));
        assert_eq!((mask("Name: x"), mask("SigIgn:\tx")), (None, None));
        assert!(!is_ignored(15) && !is_ignored(0) && !is_ignored(64));
    }
}
