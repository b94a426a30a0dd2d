/// Whether a JPEG file goes on to its end-of-image marker.
///
/// The header's segments are stepped over first, since a thumbnail inside one has an end of its
/// own; after the start of scan the marker cannot occur by chance, because `FF` within coded data
/// is always followed by `00`.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];

    let mut at = 2; // after the start-of-image marker
    while let Some(&[0xFF, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xFF {
            at += 1; // padding
        } else if marker == START_OF_SCAN {
            return bytes[at..].windows(2).any(|pair| pair == END_OF_IMAGE);
        } else {
            at += 2 + usize::from(u16::from_be_bytes([high, low]));
        }
    }
    false
}
