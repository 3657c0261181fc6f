//! Files that a person hands over by name: `--secret NAME[=FILE]`, `--prompt FILE`.

use std::fmt;
use std::path::Path;

use crate::host::open::{self, Refused};
use crate::term::{COULD_NOT_RUN, Failure};

/// The largest of them.
const LARGEST: u64 = 1 << 20;

/// A file for the agent that lies in memory only.
#[derive(Clone)]
pub(crate) struct Handed {
    /// Name in the agent's folder.
    pub(crate) name: String,
    /// Content of the file. Never shown.
    pub(crate) content: Vec<u8>,
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handed({}, …)", self.name)
    }
}

impl Handed {
    /// Reads `NAME`, from the caller's environment, or `NAME=FILE`.
    pub(crate) fn secret(given: &str) -> Result<Handed, Failure> {
        let (name, file) = given.split_once('=').map_or((given, None), |(name, file)| (name, Some(file)));
        let good = (1..=100).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !name.starts_with('.')
            && name != PROMPT;
        if !good {
            return Err(Failure::new(COULD_NOT_RUN, "--secret: that cannot be the name of a secret")
                .hint("write --secret NAME, or --secret NAME=FILE, with a NAME of letters, digits, `-`, `_` and `.`"));
        }
        let content = match file {
            Some(file) => read("--secret", Path::new(file))?,
            None => {
                std::env::var_os(name).map(std::os::unix::ffi::OsStringExt::into_vec).ok_or_else(|| {
                    Failure::new(COULD_NOT_RUN, format!("--secret {name}: the variable is not set here"))
                        .hint(format!(
                            "export it before the run, or read it from a file: --secret {name}=FILE"
                        ))
                })?
            }
        };
        Ok(Handed { name: name.to_owned(), content })
    }

    /// Tells whether the file is the prompt, which is no secret.
    pub(crate) fn is_prompt(&self) -> bool {
        self.name == PROMPT
    }

    /// Reads `--prompt FILE`.
    pub(crate) fn prompt(file: &Path) -> Result<Handed, Failure> {
        Ok(Handed { name: PROMPT.to_owned(), content: read("--prompt", file)? })
    }
}

/// The prompt's name.
const PROMPT: &str = "prompt";

fn read(option: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = || Failure::new(COULD_NOT_RUN, format!("{option}: cannot read {}", file.display()));
    open::read(file, LARGEST).map_err(|refused| match refused {
        Refused::TooLarge(most) => cannot().hint(format!("give a file of at most {} KiB", most >> 10)),
        refused => refused.explain(cannot()),
    })
}
