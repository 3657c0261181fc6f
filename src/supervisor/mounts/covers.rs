//! Covers that the first program in an agent's container must find before it begins the agent.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::supervisor::spec::agent::AgentSpec;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::{Beneath, Cover, GIVEN};
use crate::workspace::masks::Served;

/// Returns the covers that the program must find: none where nothing is covered, or where the agent
/// does not begin by it.
pub(crate) fn expected(agent: &AgentSpec) -> Result<Vec<Cover>, Failure> {
    if agent.by_init.is_none() {
        return Ok(Vec::new());
    }
    let cover = |served: &Served| {
        let found = served.source.metadata().map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot look at {}", served.source.display()))
                .caused_by(&error)
        })?;
        Ok(Cover {
            at: served.target.clone(),
            device: found.dev(),
            inode: found.ino(),
            beneath: beneath(agent, served),
        })
    };
    agent.served.iter().map(cover).collect()
}

/// Returns the covered file, where the fence has the directory that it is in.
fn beneath(agent: &AgentSpec, served: &Served) -> Option<Beneath> {
    let original = served.original?;
    let within = |target: &str| Path::new(&served.target).strip_prefix(target).ok();
    let all = agent.binds.all.iter().enumerate();
    let found = all.filter_map(|(index, bind)| Some((index, bind.target.len(), within(&bind.target)?)));
    let (index, _, below) = found.max_by_key(|(_, length, _)| *length)?;
    let at = format!("{GIVEN}/{index}/{}", below.to_str()?);
    Some(Beneath { at, device: original.device, inode: original.inode })
}
