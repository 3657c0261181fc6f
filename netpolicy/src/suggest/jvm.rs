//! maven and gradle: repositories and mirrors, wrappers.

use super::found::{Found, numbered};

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    match name {
        "pom.xml" | "settings.xml" => maven(name, text, found),
        "gradle-wrapper.properties" | "maven-wrapper.properties" => wrapper(text, found),
        _ => gradle(text, found),
    }
}

fn maven(name: &str, text: &str, found: &mut Found) {
    let (mut repository, mut publishing, mut packages) = (false, false, false);
    for (line, content) in numbered(text) {
        for tag in tags(content) {
            match tag {
                "repository" | "pluginRepository" | "mirror" => repository = true,
                "/repository" | "/pluginRepository" | "/mirror" => repository = false,
                "distributionManagement" => publishing = true,
                "/distributionManagement" => publishing = false,
                "dependencies" | "plugins" => packages = true,
                _ => {}
            }
        }
        if content.contains("<mirrorOf>*</mirrorOf>") {
            found.mirrored(&["maven"]);
        }
        if let (Some((_, value)), true, false) = (content.split_once("<url>"), repository, publishing) {
            found.urls_in(line, value, "maven repository");
        }
    }
    if packages && name == "pom.xml" {
        found.default_of("maven");
    }
}

/// The names of a line's tags, with the slash of a closing one.
fn tags(line: &str) -> impl Iterator<Item = &str> {
    line.split('<').skip(1).filter_map(|rest| rest.split(['>', ' ']).next())
}

fn gradle(text: &str, found: &mut Found) {
    for (line, content) in numbered(text) {
        if content.starts_with("//") {
            continue;
        }
        for (call, tool) in [
            ("mavenCentral()", "gradle mavenCentral()"),
            ("google()", "gradle google()"),
            ("gradlePluginPortal()", "gradle gradlePluginPortal()"),
        ] {
            if content.contains(call) {
                found.default_of(tool);
            }
        }
        let repository =
            ["url", "setUrl", "maven(", "maven {", "ivy {", "uri("].iter().any(|word| content.contains(word));
        if repository {
            found.urls_in(line, content, "gradle repository");
        }
    }
}

fn wrapper(text: &str, found: &mut Found) {
    for (line, content) in numbered(text) {
        let wanted = content.starts_with("distributionUrl") || content.starts_with("wrapperUrl");
        if wanted {
            // A colon is escaped in properties.
            found.urls_in(line, &content.replace("\\:", ":"), "build tool wrapper");
        }
    }
}
