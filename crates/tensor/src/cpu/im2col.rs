//! Convolution as a matrix product: the window under each output position laid out as a column.

/// How a kernel slides over an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Image height and width.
    pub image: [usize; 2],
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Number of positions down and across.
    pub out: [usize; 2],
    pub stride: usize,
    pub padding: usize,
}

/// Output rows that a task computes: enough positions for the matrix product to be efficient, few
/// enough for the strip's columns (`depth` rows) to stay near the core, and at least two strips, so
/// that there is work for two cores in a small image. It depends on the shape alone.
pub(crate) fn rows_per_strip(depth: usize, out: [usize; 2]) -> usize {
    const STRIP_VALUES: usize = 192 << 10;
    let positions = (STRIP_VALUES / depth.max(1)).clamp(64, 4096);
    let height = out[0].max(1);
    let most = (positions / out[1].max(1)).clamp(1, height.div_ceil(2));
    // Strips of one height, so that no core waits for another.
    height.div_ceil(height.div_ceil(most))
}

/// The image coordinate under kernel tap `tap` at position `at`, if it is inside.
#[inline(always)]
fn source(window: &Window, axis: usize, at: usize, tap: usize) -> Option<usize> {
    let i = (at * window.stride + tap).wrapping_sub(window.padding);
    (i < window.image[axis]).then_some(i)
}

/// Positions across whose tap `j` falls inside the image: `start..end`.
fn inside(window: &Window, j: usize) -> std::ops::Range<usize> {
    let Window {
        stride, padding, ..
    } = *window;
    let start = padding.saturating_sub(j).div_ceil(stride);
    let end = (window.image[1] + padding)
        .saturating_sub(j)
        .div_ceil(stride);
    let end = end.min(window.out[1]);
    start.min(end)..end
}

/// The depth index `k` taken apart: channel, kernel row, kernel column.
fn tap(window: &Window, k: usize) -> (usize, usize, usize) {
    let [kh, kw] = window.kernel;
    (k / (kh * kw), k / kw % kh, k % kw)
}

/// Writes rows `depth` (of C·kh·kw) of the columns for output rows `rows` into `columns`.
pub(crate) fn im2col(
    image: &[f32],
    window: &Window,
    depth: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    columns: &mut [f32],
) {
    let [height, width] = window.image;
    let across = window.out[1];
    let mut lines = columns.chunks_exact_mut(across);
    for k in depth {
        let (channel, i, j) = tap(window, k);
        let plane = &image[channel * height * width..][..height * width];
        let inside = inside(window, j);
        for (y, line) in rows.clone().zip(&mut lines) {
            let Some(source_y) = source(window, 0, y, i) else {
                line.fill(0.0);
                continue;
            };
            let source_row = &plane[source_y * width..][..width];
            line[..inside.start].fill(0.0);
            line[inside.end..].fill(0.0);
            let line = &mut line[inside.clone()];
            if line.is_empty() {
                continue;
            }
            let from = &source_row[inside.start * window.stride + j - window.padding..];
            match window.stride {
                1 => line.copy_from_slice(&from[..line.len()]),
                stride => {
                    for (value, &from) in line.iter_mut().zip(from.iter().step_by(stride)) {
                        *value = from;
                    }
                }
            }
        }
    }
}

/// The adjoint of [`im2col`]: adds the columns for output rows `rows` back onto the image's
/// channels `channels`, which `planes` holds.
pub(crate) fn col2im_add(
    columns: &[f32],
    window: &Window,
    channels: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    planes: &mut [f32],
) {
    let [height, width] = window.image;
    let [kh, kw] = window.kernel;
    let across = window.out[1];
    let mut lines = columns.chunks_exact(across);
    for k in channels.start * kh * kw..channels.end * kh * kw {
        let (channel, i, j) = tap(window, k);
        let plane = &mut planes[(channel - channels.start) * height * width..][..height * width];
        let inside = inside(window, j);
        for (y, line) in rows.clone().zip(&mut lines) {
            let Some(target_y) = source(window, 0, y, i) else {
                continue;
            };
            let line = &line[inside.clone()];
            if line.is_empty() {
                continue;
            }
            let row = &mut plane[target_y * width..][..width];
            let onto = &mut row[inside.start * window.stride + j - window.padding..];
            for (onto, &value) in onto.iter_mut().step_by(window.stride).zip(line) {
                *onto += value;
            }
        }
    }
}
