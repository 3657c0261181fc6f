//! Names of copies: what editors, tools and people leave beside a file, with the same text in it.
//!
//! Seen of the real programs: `.env.swp`, `.prod.tfvars.swp` and `..env.un~` (vim), `.env~` (vim,
//! Emacs, nano, cp --backup), `#.env#` (Emacs), `.env.save` (nano), `.env.orig` (git, patch,
//! Mercurial), `x.conf.dpkg-old`, `x.rpmsave`, `x___jb_old___` (JetBrains).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// A copy of a copy of a copy is known.
const ROUNDS: usize = 3;
/// The name is `a`, and `b` behind it where a copy keeps the ending.
const FORMS: &[&str] = &[
    r"^#(?P<a>.+)#$",
    r"^\.#(?P<a>.+)$",
    r"^copy of (?P<a>.+)$",
    r"^\.(?P<a>.+)\.(?:sw[a-z]|un~|kate-swp)$",
    r"^(?P<a>.+)\.(?:sw[a-z]|un~|~[\w.-]*~)$",
    r"^(?P<a>.+)~\d*$",
    r"^(?P<a>.+)___jb_\w+___$",
    r"^(?P<a>.+)[._-](?:bak|backup|bkp|bk|old|orig|original|save|saved|copy|tmp|temp|prev|previous|rej|new|off|disabled|dpkg-\w+|ucf-\w+|rpmsave|rpmnew|rpmorig)[.-]?\d*$",
    r"^(?P<a>.+)[._-]\d{1,14}$",
    r"^(?P<a>.+)[._-]\d{4}-\d\d-\d\d[\w:.-]*$",
    r"^(?P<a>.+?) ?(?:\([^()]*\)|- copy(?: \(\d+\))?| copy(?: \d+)?)(?P<b>(?:\.\w+)*)$",
    r"^(?P<a>.+)[._-](?:bak|backup|old|orig|copy)\d*(?P<b>\.\w+)$",
    r"^(?P<a>.+)\.sync-conflict-[\w-]+(?P<b>(?:\.\w+)*)$",
];

/// Returns the paths of which this may be a copy.
pub(super) fn originals(path: &Path) -> Vec<PathBuf> {
    static PATTERNS: OnceLock<(RegexSet, Vec<Regex>)> = OnceLock::new();
    let (any, patterns) = PATTERNS.get_or_init(|| {
        let regex = |pattern: &&str| RegexBuilder::new(pattern).case_insensitive(true).build();
        let all = RegexSetBuilder::new(FORMS).case_insensitive(true).build();
        let built = all.and_then(|all| Ok((all, FORMS.iter().map(regex).collect::<Result<_, _>>()?)));
        built.unwrap_or_else(|error| unreachable!("tests compile these: {error}"))
    });
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    // Few files are copies.
    if !any.is_match(name) {
        return Vec::new();
    }
    let mut found: Vec<String> = Vec::new();
    let mut round = vec![name.to_owned()];
    for _ in 0..ROUNDS {
        let stripped = round.iter().flat_map(|name| {
            patterns.iter().filter_map(move |form| {
                let captures = form.captures(name)?;
                let end = captures.name("b").map_or("", |end| end.as_str());
                Some(format!("{}{end}", &captures["a"]))
            })
        });
        let mut next: Vec<String> = stripped.collect();
        next.sort();
        next.dedup();
        next.retain(|name| !found.contains(name));
        found.extend(next.iter().cloned());
        round = next;
    }
    found.into_iter().map(|name| path.with_file_name(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_lead_to_their_originals() {
        for (copy, original) in [
            ("a/.env~", "a/.env"),
            (".env.swp", ".env"),
            ("..env.un~", ".env"),
            (".prod.tfvars.swo", "prod.tfvars"),
            ("#.netrc#", ".netrc"),
            (".npmrc.bak", ".npmrc"),
            (".npmrc.bak.1", ".npmrc"),
            (".npmrc.2026-01-31", ".npmrc"),
            ("prod.tfvars.~2~", "prod.tfvars"),
            ("id_rsa (1)", "id_rsa"),
            ("credentials copy 2.json", "credentials.json"),
            ("wp-config-backup.php", "wp-config.php"),
            ("prod - Copy.tfvars", "prod.tfvars"),
            (".pgpass.orig~", ".pgpass"),
            ("settings.sync-conflict-20260131-101112-ABCDEFG.xml", "settings.xml"),
            (".env___jb_old___", ".env"),
        ] {
            let found = originals(Path::new(copy));
            assert!(found.contains(&PathBuf::from(original)), "{copy}: {found:?}");
        }
        for plain in ["main.rs", "old.rs", ".env", "Makefile"] {
            assert_eq!(originals(Path::new(plain)), Vec::<PathBuf>::new(), "{plain}");
        }
    }
}
