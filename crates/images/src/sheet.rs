use font8x8::legacy::BASIC_LEGACY;
use image::{Rgb, RgbImage, imageops};

const GLYPH: u32 = 8;
const INK: Rgb<u8> = Rgb([40, 40, 40]);

/// A contact sheet: pictures in a grid, row by row, each centred in its cell, with captions where
/// wanted.
///
/// ```
/// # use images::{RgbImage, Sheet};
/// # let (photo, drawn) = (RgbImage::new(64, 64), RgbImage::new(64, 64));
/// let mut sheet = Sheet::new(2).scale(2).captions(["photo", "drawn"]);
/// sheet.push(photo);
/// sheet.push(drawn);
/// let picture = sheet.render();
/// ```
#[derive(Clone, Debug)]
pub struct Sheet {
    columns: usize,
    tiles: Vec<RgbImage>,
    captions: Vec<String>,
    labels: Vec<String>,
    scale: u32,
    gap: u32,
    background: Rgb<u8>,
}

impl Sheet {
    /// The space between pictures unless told otherwise, in pixels of the sheet.
    pub const GAP: u32 = 4;

    /// What captions take above the first gap, with gaps of [`Sheet::GAP`].
    pub const CAPTION: u32 = GLYPH + Self::GAP;

    /// An empty sheet of so many columns (at least one), on white, with gaps of 4 pixels.
    pub fn new(columns: usize) -> Self {
        Self {
            columns: columns.max(1),
            tiles: Vec::new(),
            captions: Vec::new(),
            labels: Vec::new(),
            scale: 1,
            gap: Self::GAP,
            background: Rgb([255; 3]),
        }
    }

    /// Shows every pixel as a square of `scale` × `scale` (nearest neighbour), so that small
    /// pictures can be seen.
    pub fn scale(mut self, scale: u32) -> Self {
        self.scale = scale.max(1);
        self
    }

    /// The space between pictures, in pixels of the sheet.
    pub fn gap(mut self, gap: u32) -> Self {
        self.gap = gap;
        self
    }

    /// What shows between the pictures.
    pub fn background(mut self, colour: [u8; 3]) -> Self {
        self.background = Rgb(colour);
        self
    }

    /// Captions above the columns, from the left; cut where they are wider than the column.
    pub fn captions<T: Into<String>>(mut self, captions: impl IntoIterator<Item = T>) -> Self {
        self.captions = captions.into_iter().map(Into::into).collect();
        self
    }

    /// Labels left of the rows, from the top.
    pub fn labels<T: Into<String>>(mut self, labels: impl IntoIterator<Item = T>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Puts a picture into the next cell.
    pub fn push(&mut self, picture: RgbImage) {
        self.tiles.push(picture);
    }

    /// Draws the sheet. Cells are as large as the largest picture.
    pub fn render(&self) -> RgbImage {
        let cell_width = self.scale * self.tiles.iter().map(RgbImage::width).max().unwrap_or(0);
        let cell_height = self.scale * self.tiles.iter().map(RgbImage::height).max().unwrap_or(0);
        let rows = self.tiles.len().div_ceil(self.columns) as u32;
        let label_width = self
            .labels
            .iter()
            .map(|label| text_width(label) + self.gap)
            .max()
            .unwrap_or(0);
        let caption_height = if self.captions.is_empty() {
            0
        } else {
            GLYPH + self.gap
        };

        let x_of = |column: usize| label_width + self.gap + column as u32 * (cell_width + self.gap);
        let y_of = |row: usize| caption_height + self.gap + row as u32 * (cell_height + self.gap);
        let mut sheet =
            RgbImage::from_pixel(x_of(self.columns), y_of(rows as usize), self.background);

        for (column, caption) in self.captions.iter().take(self.columns).enumerate() {
            let spare = cell_width.saturating_sub(text_width(caption));
            draw_text(
                &mut sheet,
                x_of(column) + spare / 2,
                self.gap,
                cell_width,
                caption,
            );
        }
        for (row, label) in self.labels.iter().take(rows as usize).enumerate() {
            draw_text(
                &mut sheet,
                self.gap,
                y_of(row) + cell_height.saturating_sub(GLYPH) / 2,
                label_width,
                label,
            );
        }
        for (i, tile) in self.tiles.iter().enumerate() {
            let tile = enlarge(tile, self.scale);
            let x = x_of(i % self.columns) + (cell_width - tile.width()) / 2;
            let y = y_of(i / self.columns) + (cell_height - tile.height()) / 2;
            imageops::replace(&mut sheet, &tile, x.into(), y.into());
        }
        sheet
    }
}

fn enlarge(tile: &RgbImage, scale: u32) -> RgbImage {
    RgbImage::from_fn(tile.width() * scale, tile.height() * scale, |x, y| {
        *tile.get_pixel(x / scale, y / scale)
    })
}

fn text_width(text: &str) -> u32 {
    text.chars().count() as u32 * GLYPH
}

/// Draws as many whole letters as fit into `width`; signs outside ASCII become question marks.
fn draw_text(sheet: &mut RgbImage, left: u32, top: u32, width: u32, text: &str) {
    for (i, sign) in text.chars().take((width / GLYPH) as usize).enumerate() {
        let glyph = BASIC_LEGACY
            .get(sign as usize)
            .unwrap_or(&BASIC_LEGACY['?' as usize]);
        for (y, bits) in (0..).zip(glyph) {
            for x in (0..GLYPH).filter(|x| bits >> x & 1 == 1) {
                let (x, y) = (left + i as u32 * GLYPH + x, top + y);
                if x < sheet.width() && y < sheet.height() {
                    sheet.put_pixel(x, y, INK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_tiles_with_gaps_scale_and_captions() {
        let mut sheet = Sheet::new(2)
            .scale(3)
            .gap(2)
            .background([1, 2, 3])
            .captions(["a", "much too long"])
            .labels(["é"]);
        for shade in [10, 20, 30] {
            sheet.push(RgbImage::from_pixel(5, 4, Rgb([shade; 3])));
        }
        let picture = sheet.render();
        // label 8 + gap, then gap, cell 15, gap, cell 15, gap; caption 8 + gap, then gap, cell 12,
        // gap, cell 12, gap
        assert_eq!(
            picture.dimensions(),
            (10 + 2 + 15 + 2 + 15 + 2, 10 + 2 + 12 + 2 + 12 + 2)
        );
        assert_eq!(picture.get_pixel(12, 12).0, [10; 3]);
        assert_eq!(picture.get_pixel(12 + 17, 12).0, [20; 3]);
        assert_eq!(picture.get_pixel(12, 12 + 14).0, [30; 3]);
        assert_eq!(picture.get_pixel(12 + 17, 12 + 14).0, [1, 2, 3]);
        assert!(picture.pixels().any(|pixel| *pixel == INK));
    }

    #[test]
    fn an_empty_sheet_is_still_a_picture() {
        assert!(Sheet::new(0).render().width() > 0);
    }
}
