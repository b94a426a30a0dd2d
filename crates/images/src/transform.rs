use image::{RgbImage, imageops};

/// The part of a picture whose upper left corner is at (x, y); it must lie inside.
pub fn crop(picture: &RgbImage, x: u32, y: u32, width: u32, height: u32) -> RgbImage {
    imageops::crop_imm(picture, x, y, width, height).to_image()
}

/// Lays `part` over a picture, its upper left corner at (x, y); what sticks out is left off.
pub fn paste(picture: &mut RgbImage, part: &RgbImage, x: u32, y: u32) {
    imageops::replace(picture, part, x.into(), y.into());
}

/// The picture mirrored left to right.
pub fn mirror(picture: &RgbImage) -> RgbImage {
    imageops::flip_horizontal(picture)
}

/// The picture made wider and higher by repeating its last column and row.
pub fn extend(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    crop_extended(picture, 0, 0, width, height)
}

/// The part whose upper left corner is at (x, y) of the picture [`extend`]ed as far as that needs.
pub fn crop_extended(picture: &RgbImage, x: u32, y: u32, width: u32, height: u32) -> RgbImage {
    let (last_x, last_y) = (picture.width() - 1, picture.height() - 1);
    RgbImage::from_fn(width, height, |right, down| {
        *picture.get_pixel((x + right).min(last_x), (y + down).min(last_y))
    })
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn extending_repeats_the_edge_and_cropping_takes_it_off() {
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 7]));
        let extended = extend(&picture, 5, 4);
        assert_eq!(extended.get_pixel(4, 3), &Rgb([2, 1, 7]));
        assert_eq!(crop(&extended, 0, 0, 3, 2), picture);
        let part = crop_extended(&picture, 1, 1, 4, 3);
        assert_eq!(part, crop(&extended, 1, 1, 4, 3));
        let mut pasted = RgbImage::new(3, 2);
        paste(&mut pasted, &extended, 0, 0);
        assert_eq!(pasted, picture);
        assert_eq!(mirror(&picture).get_pixel(0, 1), &Rgb([2, 1, 7]));
    }
}
