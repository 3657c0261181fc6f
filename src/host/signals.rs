//! Signals that the parent process wants ignored, as `nohup` does.

use std::sync::OnceLock;

static IGNORED: OnceLock<u64> = OnceLock::new();

/// Tells whether a signal was ignored from the start. The first call must come before any handler
/// is set.
pub(crate) fn is_ignored(number: i32) -> bool {
    let mask = *IGNORED.get_or_init(|| {
        std::fs::read_to_string("/proc/self/status").ok().and_then(|text| mask(&text)).unwrap_or(0)
    });
    is_in(mask, number)
}

/// Tells whether a signal is in a mask, which begins with signal 1.
fn is_in(mask: u64, number: i32) -> bool {
    let bit = u32::try_from(number).ok().and_then(|number| number.checked_sub(1));
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|bits| bits & 1 == 1)
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
        let ignored: Vec<i32> = (-2..=66).filter(|number| is_in(0x1003, *number)).collect();
        assert_eq!(ignored, [1, 2, 13]);
    }
}
