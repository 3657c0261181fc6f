//! Bytes and files that an agent has on the engine's disk, as the helper that counts them says it:
//! one JSON object a line.

use serde::{Deserialize, Serialize};

/// The longest line, in bytes.
pub(crate) const LONGEST: usize = 4096;

/// The find of one look. Bytes are blocks on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct DiskUse {
    /// Bytes of what was made or changed in the container's own layer since the agent began.
    pub(crate) layer: u64,
    /// Bytes of the same in volumes that the image declares.
    pub(crate) volumes: u64,
    /// Bytes of files without a name that a process keeps open, on any disk.
    pub(crate) nameless: u64,
    /// Files and folders, all these together.
    pub(crate) files: u64,
    /// Tells whether a bound ended the look before it had seen everything.
    pub(crate) cut_short: bool,
}

/// Reason for which a line is not one of the helper's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The line is too long.
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    /// The line is no JSON of this form.
    #[error("it is not what was expected")]
    Form(#[from] serde_json::Error),
}

impl DiskUse {
    /// Reads one line.
    pub(crate) fn parse(text: &[u8]) -> Result<DiskUse, Unfit> {
        if text.len() > LONGEST {
            return Err(Unfit::Long);
        }
        Ok(serde_json::from_slice(text)?)
    }

    /// Writes one line, with its end.
    pub(crate) fn text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let found = DiskUse { layer: 1, volumes: 2, nameless: 3, files: u64::MAX, cut_short: true };
        let text = found.text().unwrap();
        assert_eq!(DiskUse::parse(&text).unwrap(), found);
        let text = String::from_utf8(text).unwrap();
        for bad in [
            String::new(),
            "{}".to_owned(),
            text.replace("\"layer\":1", "\"layer\":-1"),
            text.replace("\"layer\":1", "\"layer\":1,\"more\":1"),
            format!("{text}{text}"),
            format!("{}{text}", " ".repeat(LONGEST)),
        ] {
            assert!(DiskUse::parse(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(80)]);
        }
    }
}
