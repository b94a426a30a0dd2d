// How upsampling by a whole factor places new pixels between old ones; bilinear if BILINEAR.

struct Between {
    // The two old pixels, and the weight of the second.
    first: u32,
    second: u32,
    weight: f32,
}

// In whole numbers, so that every device agrees: with pixel centres at ½ and corners not aligned,
// new pixel i stands at (2·i + 1 − factor) / (2·factor) among the old.
fn between(i: u32, factor: u32, extent: u32) -> Between {
    if !BILINEAR {
        return Between(i / factor, i / factor, 0.0);
    }
    let at = max(2u * i + 1u, factor) - factor;
    let first = at / (2u * factor);
    let weight = f32(at - first * 2u * factor) / f32(2u * factor);
    return Between(first, min(first + 1u, extent - 1u), weight);
}
