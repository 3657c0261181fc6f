//! Files for containers: as an archive, into a volume through a container that does not run yet.

use bollard::query_parameters::UploadToContainerOptions;

use crate::supervisor::engine::{self, Engine};
use crate::term::{COULD_NOT_RUN, Failure};

/// A file for a container.
pub(crate) struct File<'a> {
    /// Name in the directory.
    pub(crate) name: &'a str,
    /// Content.
    pub(crate) content: &'a [u8],
    /// Mode: the users that may read it.
    pub(crate) mode: u32,
    /// User and group.
    pub(crate) owner: u64,
}

/// A folder for a container.
pub(crate) struct Folder<'a> {
    /// Name in the directory.
    pub(crate) name: &'a str,
    /// User and group, who alone may write in it.
    pub(crate) owner: u64,
}

/// Packs files as the engine takes them.
pub(crate) fn archive(files: &[File<'_>]) -> Result<Vec<u8>, Failure> {
    archive_with(&[], files)
}

/// Packs folders, and files in them, as the engine takes them.
pub(crate) fn archive_with(folders: &[Folder<'_>], files: &[File<'_>]) -> Result<Vec<u8>, Failure> {
    let build = || -> std::io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for folder in folders {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_uid(folder.owner);
            header.set_gid(folder.owner);
            header.set_size(0);
            tar.append_data(&mut header, folder.name, std::io::empty())?;
        }
        for file in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(file.mode);
            header.set_uid(file.owner);
            header.set_gid(file.owner);
            header.set_size(file.content.len() as u64);
            tar.append_data(&mut header, file.name, file.content)?;
        }
        tar.into_inner()
    };
    build()
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot write down the configuration").caused_by(&error))
}

/// Uploads files into a volume, through a container that has the volume and does not run yet.
pub(crate) async fn upload(
    engine: &Engine,
    container: &str,
    directory: &str,
    archive: Vec<u8>,
) -> Result<(), Failure> {
    let options = UploadToContainerOptions { path: directory.to_owned(), ..Default::default() };
    engine
        .api
        .upload_to_container(container, Some(options), bollard::body_full(archive.into()))
        .await
        .map_err(|error| engine::refused(format!("cannot put files into {container}"), &error))
}
