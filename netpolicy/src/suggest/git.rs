//! git: remotes and submodules, after the substitutions that the configuration asks for.

use super::collector::Collector;
use super::ini::{self, Setting};

pub(super) fn read(name: &str, text: &str, found: &mut Collector) {
    let what = if name == ".gitmodules" { "git submodule" } else { "git remote" };
    let settings = ini::git(text);
    let substitutions: Vec<(&str, &str)> = settings
        .iter()
        .filter(|setting| setting.key == "insteadof")
        .filter_map(|setting| Some((setting.value.as_str(), subsection(&setting.section, "url")?)))
        .collect();
    for setting in &settings {
        if let Some(url) = address(setting) {
            let longest = substitutions
                .iter()
                .filter(|(begin, _)| url.starts_with(begin))
                .max_by_key(|(begin, _)| begin.len());
            match longest {
                Some((begin, base)) => {
                    found.reference(setting.line, &format!("{base}{}", &url[begin.len()..]), what);
                }
                None if url.contains(':') => found.reference(setting.line, url, what),
                // A path.
                None => {}
            }
        }
    }
}

/// Returns the address in a setting that git connects to.
fn address(setting: &Setting) -> Option<&str> {
    let remote = ["remote", "submodule"].iter().any(|kind| subsection(&setting.section, kind).is_some());
    let lfs = setting.section.eq_ignore_ascii_case("lfs") || subsection(&setting.section, "lfs").is_some();
    let known = (remote && matches!(setting.key.as_str(), "url" | "pushurl" | "lfsurl"))
        || (lfs && matches!(setting.key.as_str(), "url" | "pushurl"));
    known.then_some(setting.value.as_str())
}

/// Returns the subsection of `[kind "subsection"]`.
fn subsection<'s>(section: &'s str, kind: &str) -> Option<&'s str> {
    let (name, rest) = section.split_once(|c: char| c.is_whitespace() || c == '"')?;
    let rest = rest.trim().trim_start_matches('"');
    name.eq_ignore_ascii_case(kind).then(|| rest.strip_suffix('"').unwrap_or(rest))
}
