//! go: modules come through the proxy, whatever their own hosts are. Its environment is not looked at.

use super::found::{Found, numbered};

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    let module = |line: &str| match name {
        "go.sum" => line.contains(" h1:"),
        _ => {
            line.starts_with("require ")
                || (line.contains(" v") && line.contains('.') && !line.starts_with("//"))
        }
    };
    if numbered(text).any(|(_, line)| module(line)) {
        found.default_of("go");
    }
}
