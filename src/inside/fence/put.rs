//! Files that arrive on stdin, into the volume in memory that the agent will have.

use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::failed;
use crate::term::Failure;
use crate::wire::handover::{HANDED, HandedFile};

/// Writes the files in one line of JSON on stdin, with the rights of the user that this program
/// runs as.
pub(crate) fn put() -> Result<(), Failure> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).map_err(failed("cannot read files from stdin"))?;
    // What is wrong with the line is not told: it holds secrets.
    let unreadable = || Failure::new(super::FAILED, "the files on stdin are not what was expected");
    let files: Vec<HandedFile> = serde_json::from_str(&text).map_err(|_| unreadable())?;
    for file in files {
        let content = STANDARD.decode(&file.content).map_err(|_| unreadable())?;
        write(&file, &content).map_err(failed(format!("cannot write the secret {}", file.name)))?;
    }
    Ok(())
}

fn write(file: &HandedFile, content: &[u8]) -> std::io::Result<()> {
    let name = Path::new(&file.name).file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
    let path = Path::new(HANDED).join(name);
    let mut opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    opened.write_all(content)?;
    opened.set_permissions(std::fs::Permissions::from_mode(file.mode))
}
