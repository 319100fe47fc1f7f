//! Crockford's base 32, in groups of four digits: what people copy from one place to another, with a checksum behind it.

use zeroize::Zeroizing;

use crate::digest::sha256;

/// No I, L, O or U to be misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Why a text does not give the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Not as many digits, or a character that no digit looks like.
    Shape,
    /// The checksum does not match: something was misread.
    Checksum,
}

/// `bytes` and the first `check` bytes of their SHA-256 as digits. Together they must be a multiple of five bytes.
pub(crate) fn to_text(bytes: &[u8], check: usize) -> String {
    let whole = bytes.len() + check;
    // Room for all of it from the start: growing would leave what may be a key behind in freed memory.
    let mut all = Zeroizing::new(Vec::with_capacity(whole));
    all.extend_from_slice(bytes);
    all.extend_from_slice(sha256(&[bytes]).get(..check).unwrap_or_default());
    let digits = whole / 5 * 8;
    let mut text = String::with_capacity(digits + digits / 4);
    for five in all.chunks(5) {
        let value = five.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        for shift in (0..8).rev() {
            if text.len() % 5 == 4 {
                text.push('-');
            }
            let digit = (value >> (shift * 5)) & 31;
            text.push(usize::try_from(digit).ok().and_then(|i| ALPHABET.get(i)).map_or('?', |d| char::from(*d)));
        }
    }
    text
}

/// Reads what a person typed: any case, any spacing, O for 0 and I or L for 1.
pub(crate) fn parse<const N: usize>(text: &str, check: usize) -> Result<Zeroizing<[u8; N]>, Unread> {
    let whole = N + check;
    let mut all = Zeroizing::new(Vec::with_capacity(whole));
    let (mut value, mut count) = (0_u64, 0_usize);
    for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let digit = ALPHABET.iter().position(|d| char::from(*d) == c).ok_or(Unread::Shape)?;
        value = value << 5 | u64::try_from(digit).unwrap_or_default();
        count += 1;
        if count > whole / 5 * 8 {
            return Err(Unread::Shape);
        }
        if count % 8 == 0 {
            all.extend_from_slice(value.to_be_bytes().get(3..).unwrap_or_default());
            value = 0;
        }
    }
    let (bytes, checksum) = all.split_at_checked(N).filter(|_| all.len() == whole).ok_or(Unread::Shape)?;
    if sha256(&[bytes]).get(..check) != Some(checksum) {
        return Err(Unread::Checksum);
    }
    bytes.try_into().map(Zeroizing::new).map_err(|_| Unread::Shape)
}
