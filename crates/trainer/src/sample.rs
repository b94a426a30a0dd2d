//! Sample sheets: the same test pictures, there and back, as training goes on.

use anyhow::Result;
use cyclegan::CycleGan;
use images::Sheet;
use tensor::{Device, Tensor};

use crate::data::Pictures;
use crate::run_dir::RunDir;

/// Rows of a sheet.
const ROWS: usize = 6;
/// Sheets show pictures at least this large.
const SHOWN: usize = 128;

/// The fixed test pictures of a run.
pub struct Samples {
    a: Vec<Vec<f32>>,
    b: Vec<Vec<f32>>,
    size: usize,
}

impl Samples {
    /// Picks pictures, to be shown at a size.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn pick(pictures: &Pictures, size: usize) -> Result<Self> {
        let [a, b] = pictures.spread(ROWS, size)?;
        Ok(Samples { a, b, size })
    }

    /// Bytes that sheets at a size take: the test pictures, what is shown of them, and the sheet.
    pub fn memory(size: usize) -> u64 {
        let pixels = 3 * (size * size) as u64;
        let shown = pixels * (SHOWN.div_ceil(size).max(1) as u64).pow(2);
        let rows = ROWS as u64;
        rows * (2 * 4 * pixels + 6 * (pixels + shown))
    }

    /// Translates the pictures and writes `samples/NNNNNN.png`.
    ///
    /// # Errors
    /// When the device fails or the file can't be written.
    pub fn write(&self, model: &CycleGan, dir: &RunDir, device: &Device) -> Result<()> {
        let scale = SHOWN.div_ceil(self.size).max(1) as u32;
        let captions =
            ["real A", "fake B", "A again", "real B", "fake A", "B again"].map(String::from);
        let mut sheet = Sheet::new(6).scale(scale).captions(captions);
        for (a, b) in self.a.iter().zip(self.b.iter().cycle()) {
            let shape = [1, 3, self.size, self.size];
            let real_a = Tensor::from_slice(a, shape, device)?;
            let real_b = Tensor::from_slice(b, shape, device)?;
            let there = model.sample(&real_a, &real_b)?;
            let row = [
                &real_a,
                &there.fake_b,
                &there.rec_a,
                &real_b,
                &there.fake_a,
                &there.rec_b,
            ];
            for picture in row {
                sheet.push(images::from_chw(&picture.to_vec()?, self.size, self.size)?);
            }
        }
        let path = dir.samples().join(format!("{:06}.png", model.steps()));
        Ok(images::save_png(&path, &sheet.render())?)
    }
}
