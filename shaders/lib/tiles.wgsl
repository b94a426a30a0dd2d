// Winograd's convolution cuts a batch of planes into tiles, an invocation each. These are the parameters
// of its transforms, and where a tile and its transform stand.

struct Params {
    // Tiles of the whole batch, times channels.
    len: u32,
    channels: u32,
    // Of a plane.
    height: u32,
    width: u32,
    // Tiles of a plane, down and across.
    down: u32,
    across: u32,
    // From one place of transformed tiles to the next, one channel, one tile.
    place: u32,
    channel: u32,
    tile: u32,
    // Around an image.
    padding: u32,
    // Whether to add one to a result; if not, `bias` is anything.
    has_bias: u32,
}

// Whether neighbouring invocations have neighbouring channels; else they have neighbouring tiles.
override CHANNELS_FIRST: bool = false;
override WORKGROUP: u32 = 64u;

struct Tile {
    channel: u32,
    // The plane's first pixel.
    plane: u32,
    // In tiles.
    y: u32,
    x: u32,
    // Its transform's first value.
    transformed: u32,
}

fn tile_at(i: u32) -> Tile {
    let tiles = params.len / params.channels;
    var channel = i / tiles;
    var tile = i - channel * tiles;
    if CHANNELS_FIRST {
        tile = i / params.channels;
        channel = i - tile * params.channels;
    }
    let row = tile / params.across;
    let item = row / params.down;
    return Tile(
        channel,
        (item * params.channels + channel) * params.height * params.width,
        row - item * params.down,
        tile - row * params.across,
        channel * params.channel + tile * params.tile,
    );
}
