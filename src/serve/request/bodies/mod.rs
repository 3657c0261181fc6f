//! Bodies as types. A body holds the fields that have the rules *passed*, *judged* and
//! *remembered*, and no others; a test compares.

mod create;
mod host_config;
mod mounts;
mod others;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::create::{CreateBody, EndpointBody, HealthBody, Words, empty_values};
pub(crate) use self::host_config::{HostBody, PortBody, UlimitBody};
pub(crate) use self::mounts::MountBody;
pub(crate) use self::others::{
    ConnectBody, DisconnectBody, ExecBody, ExecStartBody, NetworkBody, UpdateBody, VolumeBody,
};
#[cfg(test)]
pub(crate) use self::{
    create::NetworkingBody,
    host_config::{LogBody, RestartBody},
    mounts::{BindBody, DriverBody, TmpfsBody, VolumeOptionsBody},
};
