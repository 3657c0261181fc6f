//! The token that a person's glab has for an instance: glab is asked, since it alone knows where it
//! keeps tokens.

use std::io::Read;
use std::process::Stdio;

use super::instance::Instance;
use crate::host::programs;

/// No token is longer.
const LONGEST: u64 = 4096;

/// Asks `glab config get token`; why there is none, never with the token. Outside of any
/// repository, whose settings an agent may have written.
pub(crate) fn token(instance: &Instance) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("glab cannot be asked: {error}");
    let mut child = programs::command("glab")
        .map_err(cannot)?
        .args(["config", "get", "token", "--host", &instance.authority()])
        .current_dir("/")
        .env("NO_PROMPT", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let mut text = String::new();
    let read = child.stdout.take().map(|out| out.take(LONGEST).read_to_string(&mut text));
    let ended = child.wait().map_err(cannot)?;
    let token = text.trim();
    match read {
        Some(Ok(_)) if ended.success() && !token.is_empty() && !token.contains(char::is_whitespace) => {
            Ok(token.to_owned())
        }
        _ => Err(format!("glab has no token for {}", instance.authority())),
    }
}
