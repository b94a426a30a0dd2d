use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;

/// A picture as the bytes of a PNG file.
///
/// # Panics
/// When it has no pixels.
pub fn encode_png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture
        .write_with_encoder(PngEncoder::new(&mut bytes))
        .expect("memory takes all that is written");
    bytes
}

/// A picture as the bytes of a JPEG file, of a quality from 1 to 100.
///
/// # Panics
/// When it has no pixels, or more than 65,535 a side.
pub fn encode_jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))
        .expect("memory takes all that is written");
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::Rgb;

    use super::*;

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let picture = RgbImage::from_fn(17, 9, |x, y| Rgb([(10 * x) as u8, (20 * y) as u8, 77]));
        let decode = |bytes| {
            let name = Path::new("x");
            crate::decode_bytes(name, bytes, Rgb([0; 3]), 1 << 20).unwrap()
        };
        assert_eq!(decode(encode_png(&picture)), picture);
        let lossy = decode(encode_jpeg(&picture, 95));
        assert_eq!(lossy.dimensions(), picture.dimensions());
        let pairs = lossy.as_raw().iter().zip(picture.as_raw());
        assert!(pairs.into_iter().all(|(a, b)| a.abs_diff(*b) < 40));
    }
}
