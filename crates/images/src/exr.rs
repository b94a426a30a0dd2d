use std::io::Cursor;

use exr::meta::{BlockDescription, MetaData};
use image::{ImageResult, Limits};

/// Refuses an EXR file of layers, or blocks of them, that are beyond the limits. The decoder looks at the part
/// that is shown only, and makes room for a block as large as the file says.
pub(crate) fn check(bytes: &[u8], limits: &Limits) -> ImageResult<()> {
    let Ok(found) = MetaData::read_from_buffered(Cursor::new(bytes), false) else {
        return Ok(()); // the decoder says why
    };
    for header in &found.headers {
        let size = header.layer_size;
        let [width, height] = [size.0, size.1].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        limits.check_dimensions(width, height)?;
        let [across, down] = match header.blocks {
            BlockDescription::Tiles(tiles) => [tiles.tile_size.0, tiles.tile_size.1],
            BlockDescription::ScanLines => [size.0, header.compression.scan_lines_per_block()],
        };
        let block = across.saturating_mul(down);
        let block = block.saturating_mul(header.channels.bytes_per_pixel);
        limits.clone().reserve_usize(block)?;
    }
    Ok(())
}
