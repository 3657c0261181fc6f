//! Messages of the agent's protocol: a length, then so many bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest message, as OpenSSH has it.
const LONGEST: usize = 256 << 10;

/// Reads a message; none at the end.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Grown as bytes come: a length alone takes no memory.
    let mut message = Vec::new();
    let most = u64::try_from(length).unwrap_or(u64::MAX);
    from.take(most).read_to_end(&mut message).await?;
    (message.len() == length).then_some(Some(message)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Writes a message.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_read_whole_or_not_at_all() {
        let mut written = Vec::new();
        write(&mut written, b"a request").await.unwrap();
        assert_eq!(read(&mut &written[..]).await.unwrap(), Some(b"a request".to_vec()));
        assert_eq!(read(&mut &b""[..]).await.unwrap(), None);
        assert!(read(&mut &written[..8]).await.is_err());
        assert!(read(&mut &b"\xff\xff\xff\xffmore"[..]).await.is_err(), "longer than any");
        let longest = [&(LONGEST as u32 + 1).to_be_bytes()[..], &vec![0; LONGEST + 1]].concat();
        assert!(read(&mut &longest[..]).await.is_err());
    }
}
