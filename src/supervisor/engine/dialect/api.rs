//! Versions of Docker's API.

use std::fmt;

use bollard::models::SystemVersion;

/// The lowest version that has all that ringfence asks for (Docker 20.10).
const LOWEST: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// A version of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    /// The number before the dot.
    pub(crate) major: usize,
    /// The number behind it.
    pub(crate) minor: usize,
}

/// Versions that an engine speaks, as far down as ringfence can use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApiRange {
    /// The oldest.
    pub(crate) lowest: ApiVersion,
    /// The newest.
    pub(crate) highest: ApiVersion,
}

impl ApiVersion {
    fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.split_once('.')?;
        Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl ApiRange {
    /// Reads the range from an engine's answer. An engine that names no lowest version speaks all
    /// that ringfence can use.
    ///
    /// # Errors
    /// When a version is missing or unreadable, or the range has nothing that ringfence can use.
    pub(super) fn of(about: &SystemVersion) -> Result<ApiRange, String> {
        let read = |text: &str| {
            ApiVersion::parse(text)
                .ok_or_else(|| format!("`{}` is no version of an API", text.escape_debug()))
        };
        let highest = about.api_version.as_deref().ok_or("it does not say which API it speaks")?;
        let highest = read(highest)?;
        if highest < LOWEST {
            return Err(format!(
                "it speaks API {highest}, {LOWEST} (Docker 20.10) is the lowest that will do"
            ));
        }
        let named = about.min_api_version.as_deref().filter(|text| !text.is_empty());
        let lowest = named.map(read).transpose()?.unwrap_or(LOWEST).max(LOWEST);
        if lowest > highest {
            return Err(format!("it speaks no API: {lowest} at least and {highest} at most"));
        }
        Ok(ApiRange { lowest, highest })
    }

    /// Tells whether the engine speaks this version.
    pub(crate) fn has(&self, version: ApiVersion) -> bool {
        (self.lowest..=self.highest).contains(&version)
    }
}

impl fmt::Display for ApiRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.lowest, self.highest)
    }
}
