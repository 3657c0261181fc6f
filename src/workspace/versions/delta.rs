//! Deltas, as packs hold them: an object as copies from another one and new bytes.

use super::store::Fault;

/// Reads the sizes that a delta begins with: of the object that it is based on, and of its result.
pub(super) fn sizes(delta: &[u8]) -> Result<(usize, usize), Fault> {
    let mut rest = delta;
    Ok((size(&mut rest)?, size(&mut rest)?))
}

/// Makes the object that a delta describes.
pub(crate) fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut rest = delta;
    let (from, to) = (size(&mut rest)?, size(&mut rest)?);
    if from != base.len() {
        return Err(Fault::Damaged);
    }
    // The size is only said so far.
    let mut out = Vec::with_capacity(to.min(1 << 20));
    while let Some(command) = rest.split_off_first() {
        let part = if command & 0x80 != 0 {
            let offset = number(&mut rest, *command, 4)?;
            let length = match number(&mut rest, command >> 4, 3)? {
                0 => 0x10000,
                length => length,
            };
            base.get(offset..offset + length)
        } else if *command != 0 {
            rest.split_off(..usize::from(*command))
        } else {
            None
        };
        let part = part.ok_or(Fault::Damaged)?;
        if out.len() + part.len() > to {
            return Err(Fault::Damaged);
        }
        out.extend_from_slice(part);
    }
    if out.len() == to { Ok(out) } else { Err(Fault::Damaged) }
}

/// Reads a number, seven bits a byte, the lowest first.
fn size(rest: &mut &[u8]) -> Result<usize, Fault> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = rest.split_off_first().ok_or(Fault::Damaged)?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::TooLarge)
}

/// Reads a number of as many bytes as bits are set.
fn number(rest: &mut &[u8], bits: u8, most: usize) -> Result<usize, Fault> {
    let mut value = 0;
    for place in (0..most).filter(|place| bits >> place & 1 == 1) {
        value |= usize::from(*rest.split_off_first().ok_or(Fault::Damaged)?) << (8 * place);
    }
    Ok(value)
}
