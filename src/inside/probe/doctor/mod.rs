//! Looks of the doctor inside containers: `ringfence probe container` and `ringfence probe fence`.
//! Each prints one line of JSON, the last on its stdout, and ends.
//!
//! ```text
//!  container: no power, no network ─▶ /proc, /sys, /dev ─▶ Inside
//!  fence:     the fence's own container, without a guard ─▶ features one by one, then the whole fence, proven ─▶ Fence
//! ```

mod container;
mod features;

use std::time::Duration;

use serde::Serialize;

use crate::term::Failure;
use crate::wire::probe::{Feature, Fence};

pub(crate) use self::container::namespaces;

/// A probe that hangs ends itself: nobody may be left to remove it.
const LIMIT: Duration = Duration::from_secs(40);

/// Prints what a process sees of its container.
pub(crate) fn container() -> Result<(), Failure> {
    end_in_time();
    say(&container::look())
}

/// Prints what the kernel can do of what the fence is made of, makes the fence, and prints what is
/// in doubt.
pub(crate) fn fence() -> Result<(), Failure> {
    end_in_time();
    let mut features = features::probe();
    let mut doubts = Vec::new();
    match crate::inside::fence::rehearse() {
        Ok(missing) => {
            let unnamed =
                |word: &&str| !features.iter().any(|f: &Feature| f.error.is_some() && f.name.contains(word));
            let unnamed: Vec<&str> = missing.into_iter().filter(unnamed).collect();
            features.extend(unnamed.into_iter().map(|name| Feature {
                name: format!("{name} in the whole fence"),
                needed: false,
                error: Some("the fence said so".to_owned()),
            }));
        }
        Err(failure) => {
            doubts.push(failure.message);
            doubts.extend(failure.causes);
        }
    }
    say(&Fence { features, doubts })
}

fn end_in_time() {
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        std::process::exit(1);
    });
}

fn say(found: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(found)
        .map_err(|error| Failure::new(1, "cannot write JSON").caused_by(&error))?;
    crate::term::print(&format!("\n{text}\n"))
}
