//! Platform of an image, as engines write it: `linux/arm64/v8`.

use std::fmt::{Display, Formatter};

/// Platform of the one variant of an image that an engine described.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImagePlatform {
    os: String,
    architecture: String,
    variant: String,
}

impl ImagePlatform {
    /// Reads what an engine says; none where it does not say system and processor.
    pub(crate) fn read(os: &str, architecture: &str, variant: &str) -> Option<ImagePlatform> {
        let is_word = |text: &str| {
            text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let is_read = [os, architecture, variant].into_iter().all(is_word)
            && !os.is_empty()
            && !architecture.is_empty();
        let [os, architecture, variant] = [os, architecture, variant].map(str::to_owned);
        is_read.then_some(ImagePlatform { os, architecture, variant })
    }

    /// Tells whether this is the platform that a client asks for: `OS`, `ARCHITECTURE`,
    /// `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`.
    pub(crate) fn is_meant_by(&self, asked: &str) -> bool {
        let own = normal(&self.architecture, &self.variant);
        let is_os = |os: &str| os.eq_ignore_ascii_case(&self.os);
        match asked.split('/').collect::<Vec<_>>()[..] {
            [word] => is_os(word) || normal(word, "") == own,
            [os, architecture] => is_os(os) && normal(architecture, "") == own,
            [os, architecture, variant] => is_os(os) && normal(architecture, variant) == own,
            _ => false,
        }
    }
}

impl Display for ImagePlatform {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_str() {
            "" => Ok(()),
            variant => write!(formatter, "/{variant}"),
        }
    }
}

/// Returns processor and variant under the names that engines give them.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", other) => ("amd64", other),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("aarch64", other) => ("arm64", other),
        ("i386", _) => ("386", ""),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_known_under_each_of_its_names() {
        let of = |text: &str| {
            let parts: Vec<&str> = text.split('/').collect();
            ImagePlatform::read(parts[0], parts[1], parts.get(2).copied().unwrap_or_default()).unwrap()
        };
        for (own, asked, is_meant) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/x86_64", true),
            ("linux/amd64", "linux/amd64/v1", true),
            ("linux/amd64", "amd64", true),
            ("linux/amd64", "linux", true),
            ("linux/amd64", "LINUX/AMD64", true),
            ("linux/amd64", "linux/386", false),
            ("linux/amd64", "386", false),
            ("linux/amd64", "linux/amd64/v2", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/amd64", "linux/amd64,linux/386", false),
            ("linux/amd64", "linux/amd64/v1/x", false),
            ("linux/386", "linux/i386", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64", "linux/aarch64/v8", true),
            ("linux/arm64", "linux/arm", false),
            ("linux/arm/v7", "linux/arm", true),
            ("linux/arm/v6", "linux/arm", false),
            ("linux/arm/v6", "linux/arm/v6", true),
        ] {
            assert_eq!(of(own).is_meant_by(asked), is_meant, "{own}: {asked}");
        }
        assert_eq!(of("linux/arm64/v8").to_string(), "linux/arm64/v8");
        assert_eq!(of("linux/amd64").to_string(), "linux/amd64");
    }

    #[test]
    fn what_an_engine_does_not_say_is_no_platform() {
        for (os, architecture, variant) in
            [("", "amd64", ""), ("linux", "", ""), ("linux", "a/b", ""), ("linux", "amd64", "v 1")]
        {
            assert_eq!(ImagePlatform::read(os, architecture, variant), None, "{os} {architecture} {variant}");
        }
    }
}
