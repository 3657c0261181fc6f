//! Mounts as `docker run` has them, and how to write them here.

/// Tells whether this is the long form of docker's `--mount`: `type=bind,source=…`.
pub(super) fn is_long_form(given: &str) -> bool {
    let keys = ["type=", "source=", "src=", "target=", "destination=", "dst="];
    given.contains(',') && given.split(',').any(|part| keys.iter().any(|key| part.trim().starts_with(key)))
}

/// Explains why a `--mount` or `-v` in docker's syntax is refused, and what to write instead.
/// Returns nothing for a text that docker does not understand either.
pub(crate) fn mount(given: &str) -> Option<(String, String)> {
    if is_long_form(given) { Some(long_form(given)) } else { short_form(given) }
}

/// Explains `type=bind,source=SRC,target=DST,readonly`.
fn long_form(given: &str) -> (String, String) {
    let why = |what: &str| format!("docker's long form of a mount is not read here{what}");
    let (mut kind, mut source, mut target, mut read_only) = ("volume", "", "", false);
    for part in given.split(',') {
        match part.trim().split_once('=').unwrap_or((part.trim(), "")) {
            ("type", value) => kind = value,
            ("source" | "src", value) => source = value,
            ("target" | "destination" | "dst", value) => target = value,
            ("readonly" | "ro", value) => read_only = !matches!(value, "0" | "false"),
            _ => {}
        }
    }
    match kind {
        "tmpfs" => (why(""), format!("write --tmpfs {}", or(target, "DST"))),
        "bind" => {
            let end = if read_only { "" } else { ":rw" };
            (why(""), format!("write -v {}:{}{end}", or(source, "SRC"), or(target, "DST")))
        }
        _ => (
            why(", and volumes of the engine are not given to agents"),
            format!(
                "write -v ./DIRECTORY:{}, or :rw behind it for one that the agent may write",
                or(target, "DST")
            ),
        ),
    }
}

/// Explains `SRC:DST:OPTION,…`, or a path alone.
fn short_form(given: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = given.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] if target.starts_with('/') => {
            let why = "volumes of the engine are not given to agents";
            return Some((
                why.to_owned(),
                format!("write --tmpfs {target} for a directory in memory, or -v SRC:{target}"),
            ));
        }
        [source, target, options] => (source, target, options),
        _ => return None,
    };
    let mut writable = true;
    let mut reasons = Vec::new();
    for option in options.split(',') {
        let why = match option {
            "ro" => {
                writable = false;
                continue;
            }
            "rw" => continue,
            "cached" | "delegated" | "consistent" => "changes nothing on Linux",
            "z" | "Z" => "would give the files of this machine another label of SELinux",
            "nocopy" | "volume-nocopy" => "is about volumes of the engine",
            "U" => "would give the files of this machine another owner",
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                "is not taken: mounts stay apart"
            }
            _ => return None,
        };
        reasons.push(format!("`{option}` {why}"));
    }
    let end = if writable { ":rw" } else { "" };
    let why =
        if reasons.is_empty() { "one of `ro` and `rw` is enough".to_owned() } else { reasons.join(", ") };
    let other =
        if writable { format!(", or {source}:{target} if it need not be written") } else { String::new() };
    Some((why, format!("write -v {source}:{target}{end}{other}")))
}

fn or<'a>(text: &'a str, word: &'a str) -> &'a str {
    if text.is_empty() { word } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_dockers_gets_the_words_to_write() {
        for (given, words) in [
            ("type=bind,src=/a,dst=/b", "write -v /a:/b:rw"),
            ("type=bind,source=./a,target=/b,readonly", "write -v ./a:/b"),
            ("source=./a,destination=/b,type=bind,ro=true", "write -v ./a:/b"),
            ("type=bind,src=/a:b,dst=/b,ro=false", "write -v /a:b:/b:rw"),
            ("type=tmpfs,dst=/t,tmpfs-size=1m", "write --tmpfs /t"),
            (
                "src=cache,dst=/c",
                "write -v ./DIRECTORY:/c, or :rw behind it for one that the agent may write",
            ),
            ("/a:/b:cached", "write -v /a:/b:rw, or /a:/b if it need not be written"),
            ("/a:/b:ro,z", "write -v /a:/b"),
            ("/a:/b:rw,Z,rshared", "write -v /a:/b:rw, or /a:/b if it need not be written"),
            ("/b", "write --tmpfs /b for a directory in memory, or -v SRC:/b"),
        ] {
            assert_eq!(mount(given).expect(given).1, words, "{given}");
        }
        for given in ["", "a", "/a:/b:x", "a:b:c:d", "/a:/b:ro,x"] {
            assert!(mount(given).is_none(), "{given}");
        }
        assert!(!is_long_form("/a,type/b:/c") && !is_long_form("/src=x:/y"));
    }
}
