//! `Mounts` of a new container.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One of `Mounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct MountBody {
    #[serde(rename = "Type")]
    pub(crate) kind: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) read_only: Option<bool>,
    pub(crate) bind_options: Option<BindBody>,
    pub(crate) volume_options: Option<VolumeOptionsBody>,
    pub(crate) tmpfs_options: Option<TmpfsBody>,
}

/// `BindOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct BindBody {
    pub(crate) propagation: Option<String>,
    pub(crate) non_recursive: Option<bool>,
    pub(crate) create_mountpoint: Option<bool>,
}

/// `VolumeOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct VolumeOptionsBody {
    pub(crate) no_copy: Option<bool>,
    pub(crate) labels: Option<BTreeMap<String, Option<String>>>,
    pub(crate) driver_config: Option<DriverBody>,
}

/// `DriverConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DriverBody {
    /// Driver.
    pub(crate) name: Option<String>,
}

/// `TmpfsOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct TmpfsBody {
    pub(crate) size_bytes: Option<i64>,
    pub(crate) mode: Option<u32>,
}
