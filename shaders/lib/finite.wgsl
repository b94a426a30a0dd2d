// Whether a number is finite. By its bits: drivers may compare as if all numbers were.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
