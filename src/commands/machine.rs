//! This machine with the files that decide over runs, gathered from the rooms that know them.

use crate::layers;
use crate::supervisor::engine::Choice;
use crate::supervisor::helper_image;
use crate::workspace::machine::{Known, Machine};

/// Returns this machine, with the engine that will be asked.
pub(crate) fn with(engine: &Choice) -> Machine {
    Machine::here(&Known {
        sockets: engine.sockets.clone(),
        configuration: engine.configuration.clone(),
        helper_bundle: helper_image::named(),
        policies: layers::fixed_files(),
    })
}
