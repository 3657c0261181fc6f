//! Policies that ship with ringfence, by name and version.

/// One shipped policy.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name, for example `gitlab`.
    pub name: &'static str,
    /// Its version; a published version never changes.
    pub version: u32,
    /// The policy, in YAML.
    pub text: &'static str,
}

/// Every preset, sorted by name and version.
pub const PRESETS: &[Preset] =
    &[Preset { name: "gitlab", version: 1, text: include_str!("../presets/gitlab.yml") }];

/// Finds `name@version`, or the newest version of a bare `name`.
pub fn find(reference: &str) -> Option<&'static Preset> {
    match reference.split_once('@') {
        Some((name, version)) => {
            let version: u32 = version.parse().ok()?;
            PRESETS.iter().find(|preset| preset.name == name && preset.version == version)
        }
        None => PRESETS.iter().filter(|preset| preset.name == reference).max_by_key(|preset| preset.version),
    }
}
