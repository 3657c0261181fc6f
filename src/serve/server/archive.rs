//! Archives on their way into a container: a plain tar, and nothing that the engine would unpack by
//! a program first. An engine may take that program from the container, as root.

use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};

use super::http::{Body, BodyError, streamed};
use crate::serve::denied::Denied;

/// A block of a tar.
const BLOCK: usize = 512;
/// The place of a tar's mark.
const MARK: std::ops::Range<usize> = 257..262;
/// Beginnings by which engines know that something is packed.
const PACKED: [&[u8]; 5] =
    [b"BZh", &[0x1f, 0x8b], &[0xfd, b'7', b'z'], &[0x28, 0xb5, 0x2f, 0xfd], &[0x04, 0x22, 0x4d, 0x18]];

/// Reads the first block, and returns the whole where it is the beginning of a plain tar.
///
/// # Errors
/// When it is anything else.
pub(crate) async fn plain(body: Incoming) -> Result<Body, Denied> {
    let mut pieces = body.into_data_stream();
    let mut first = Vec::new();
    while first.len() < BLOCK {
        match pieces.next().await {
            Some(Ok(piece)) => first.extend_from_slice(&piece),
            Some(Err(error)) => return Err(Denied::new(400, format!("the archive was lost: {error}"))),
            None => break,
        }
    }
    check(&first)?;
    let rest = pieces.map(|piece| piece.map_err(BodyError::from));
    let whole = futures_util::stream::once(async move { Ok(Bytes::from(first)) }).chain(rest);
    Ok(streamed(whole))
}

/// Refuses what is not the beginning of a plain tar.
fn check(first: &[u8]) -> Result<(), Denied> {
    let refused = || Denied::new(400, "the archive is no plain tar; send it unpacked");
    let block = first.get(..BLOCK).ok_or_else(refused)?;
    // Skippable frames of zstd begin with one of sixteen bytes.
    let is_skippable = block[1..4] == [0x2a, 0x4d, 0x18] && block[0] & 0xf0 == 0x50;
    let is_packed = is_skippable || PACKED.iter().any(|mark| block.starts_with(mark));
    let is_empty = block.iter().all(|byte| *byte == 0);
    match !is_packed && (is_empty || &block[MARK] == b"ustar") {
        true => Ok(()),
        false => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_tar_passes() {
        let tar = |name: &str| {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, &[][..]).unwrap();
            archive.into_inner().unwrap()
        };
        assert!(check(&tar("plain")).is_ok());
        assert!(check(&[0; 1024]).is_ok(), "an empty archive");
        // The name is the first thing in a tar, and engines look there for a packer's mark.
        assert!(check(&tar("BZh91AY")).is_err());
        for bad in [&b""[..], b"short", &[0x1f, 0x8b, 8, 0], &[1; 512]] {
            assert!(check(bad).is_err());
        }
    }
}
