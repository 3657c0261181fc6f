//! Hosts from which tools fetch packages when nothing else is configured, with the source of each
//! line.

/// Tool, hosts, source.
const TABLE: &[(&str, &[&str], &str)] = &[
    ("npm", &["registry.npmjs.org"], "https://docs.npmjs.com/cli/using-npm/config#registry"),
    ("pnpm", &["registry.npmjs.org"], "https://pnpm.io/settings#registry"),
    ("yarn", &["registry.yarnpkg.com"], "https://yarnpkg.com/configuration/yarnrc#npmRegistryServer"),
    ("bun", &["registry.npmjs.org"], "https://bun.com/docs/runtime/bunfig#install-registry"),
    (
        "pip",
        &["pypi.org", "files.pythonhosted.org"],
        "https://pip.pypa.io/en/stable/cli/pip_install/#cmdoption-i",
    ),
    (
        "poetry",
        &["pypi.org", "files.pythonhosted.org"],
        "https://python-poetry.org/docs/repositories/#default-package-source",
    ),
    (
        "cargo",
        &["index.crates.io", "static.crates.io"],
        "https://doc.rust-lang.org/cargo/reference/registries.html#registry-protocols",
    ),
    ("go", &["proxy.golang.org", "sum.golang.org"], "https://go.dev/ref/mod#environment-variables"),
    (
        "maven",
        &["repo.maven.apache.org"],
        "https://maven.apache.org/guides/introduction/introduction-to-the-pom.html#super-pom",
    ),
    (
        "gradle mavenCentral()",
        &["repo.maven.apache.org"],
        "https://docs.gradle.org/current/userguide/supported_repository_types.html",
    ),
    (
        "gradle google()",
        &["dl.google.com"],
        "https://docs.gradle.org/current/userguide/supported_repository_types.html",
    ),
    (
        "gradle gradlePluginPortal()",
        &["plugins.gradle.org", "plugins-artifacts.gradle.org"],
        "https://docs.gradle.org/current/userguide/plugins.html",
    ),
    (
        "gradle plugins",
        &["plugins.gradle.org", "plugins-artifacts.gradle.org"],
        "https://docs.gradle.org/current/userguide/plugins.html",
    ),
    (
        "nuget",
        &["api.nuget.org"],
        "https://learn.microsoft.com/nuget/reference/nuget-config-file#packagesources",
    ),
    ("composer", &["repo.packagist.org"], "https://getcomposer.org/doc/05-repositories.md#packagist"),
];

/// Returns the hosts that a tool goes to by default.
pub(super) fn of(tool: &str) -> &'static [&'static str] {
    TABLE.iter().find(|(known, _, _)| *known == tool).map_or(&[], |(_, hosts, _)| *hosts)
}

#[cfg(test)]
mod tests {
    use super::TABLE;
    use crate::host::HostName;

    #[test]
    fn every_line_has_names_and_a_source() {
        for (tool, hosts, source) in TABLE {
            assert!(!hosts.is_empty() && hosts.iter().all(|host| HostName::parse(host).is_ok()), "{tool}");
            assert!(source.starts_with("https://"), "{tool}");
        }
    }
}
