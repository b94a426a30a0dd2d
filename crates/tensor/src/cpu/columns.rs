//! Convolution by columns: the window under each output position laid out as a column, and a matrix
//! product. For shapes with few positions.

#![allow(unsafe_code, reason = "tasks write separate parts of one result")]

use rayon::prelude::*;

use super::dry::each;
use super::gemm::{Matrix, MatrixMut, SharedOut, gemm};
use super::{Buffer, Convolution, dry};

/// Output rows that a task computes: enough positions for the matrix product to be efficient, few
/// enough for the strip's columns (`depth` rows) to stay near the core, and at least two strips, so
/// that there is work for two cores in a small image. It depends on the shape alone.
fn rows_per_strip(depth: usize, out: [usize; 2]) -> usize {
    const STRIP_VALUES: usize = 192 << 10;
    let positions = (STRIP_VALUES / depth.max(1)).clamp(64, 4096);
    let height = out[0].max(1);
    let most = (positions / out[1].max(1)).clamp(1, height.div_ceil(2));
    // Strips of one height, so that no core waits for another.
    height.div_ceil(height.div_ceil(most))
}

/// The image coordinate under kernel tap `tap` at position `at`, if it is inside.
#[inline(always)]
fn source(conv: &Convolution, axis: usize, at: usize, tap: usize) -> Option<usize> {
    let i = (at * conv.stride + tap).wrapping_sub(conv.padding);
    (i < conv.image[axis]).then_some(i)
}

/// Positions across whose tap `j` falls inside the image: `start..end`.
fn inside(conv: &Convolution, j: usize) -> std::ops::Range<usize> {
    let Convolution {
        stride, padding, ..
    } = *conv;
    let start = padding.saturating_sub(j).div_ceil(stride);
    let end = (conv.image[1] + padding).saturating_sub(j).div_ceil(stride);
    let end = end.min(conv.out[1]);
    start.min(end)..end
}

/// The depth index `k` taken apart: channel, kernel row, kernel column.
fn tap(conv: &Convolution, k: usize) -> (usize, usize, usize) {
    let [kh, kw] = conv.kernel;
    (k / (kh * kw), k / kw % kh, k % kw)
}

/// Writes rows `depth` (of C·kh·kw) of the columns for output rows `rows` into `columns`.
fn im2col(
    image: &[f32],
    conv: &Convolution,
    depth: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    columns: &mut [f32],
) {
    let [height, width] = conv.image;
    let across = conv.out[1];
    let mut lines = columns.chunks_exact_mut(across);
    for k in depth {
        let (channel, i, j) = tap(conv, k);
        let plane = &image[channel * height * width..][..height * width];
        let inside = inside(conv, j);
        for (y, line) in rows.clone().zip(&mut lines) {
            let Some(source_y) = source(conv, 0, y, i) else {
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
            let from = &source_row[inside.start * conv.stride + j - conv.padding..];
            match conv.stride {
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
fn col2im_add(
    columns: &[f32],
    conv: &Convolution,
    channels: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    planes: &mut [f32],
) {
    let [height, width] = conv.image;
    let [kh, kw] = conv.kernel;
    let across = conv.out[1];
    let mut lines = columns.chunks_exact(across);
    for k in channels.start * kh * kw..channels.end * kh * kw {
        let (channel, i, j) = tap(conv, k);
        let plane = &mut planes[(channel - channels.start) * height * width..][..height * width];
        let inside = inside(conv, j);
        for (y, line) in rows.clone().zip(&mut lines) {
            let Some(target_y) = source(conv, 0, y, i) else {
                continue;
            };
            let line = &line[inside.clone()];
            if line.is_empty() {
                continue;
            }
            let row = &mut plane[target_y * width..][..width];
            let onto = &mut row[inside.start * conv.stride + j - conv.padding..];
            for (onto, &value) in onto.iter_mut().step_by(conv.stride).zip(line) {
                *onto += value;
            }
        }
    }
}

/// Fills the channels of an image with their biases, so that products can be added onto them.
fn fill_bias(image: &mut [f32], plane: usize, bias: Option<&[f32]>) {
    let Some(bias) = bias else {
        return image.fill(0.0);
    };
    for (plane, bias) in image.chunks_exact_mut(plane).zip(bias.iter().cycle()) {
        plane.fill(*bias);
    }
}

/// See [`Convolution::forward`]. Strip by strip of output rows: columns of the strip, then weight ×
/// columns. The strips depend on the shape alone, so the result does not depend on the number of cores.
pub(super) fn forward(
    conv: &Convolution,
    image: &[f32],
    weight: &Buffer,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let Convolution {
        items,
        channels: [c, m],
        image: [h, w],
        out: [down, across],
        ..
    } = *conv;
    let depth = conv.depth();
    fill_bias(out, down * across, bias);
    let strip = rows_per_strip(depth, conv.out);
    let strips = down.div_ceil(strip);
    let out = SharedOut::new(out);
    each(items * strips, |task| {
        let (item, first) = (task / strips, task % strips * strip);
        let rows = first..(first + strip).min(down);
        let positions = rows.len() * across;
        let mut columns = Buffer::new(depth * positions);
        if columns.is_dry() {
            return;
        }
        let image = &image[item * c * h * w..][..c * h * w];
        im2col(image, conv, 0..depth, rows.clone(), &mut columns);
        let plane = down * across;
        let dst = MatrixMut {
            out,
            at: item * m * plane + rows.start * across,
            rows: plane,
        };
        let weight = Matrix {
            data: weight,
            rows: depth,
            cols: 1,
        };
        let columns = Matrix {
            data: &columns,
            rows: positions,
            cols: 1,
        };
        // SAFETY: tasks differ in item or in rows.
        unsafe { gemm([m, positions, depth], dst, true, weight, columns) };
    });
}

/// See [`Convolution::image_grad`]. A task makes a few channels: weightᵀ × gradient gives their
/// columns, which are added back.
pub(super) fn image_grad(
    conv: &Convolution,
    grad: &[f32],
    weight: &Buffer,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let Convolution {
        items,
        channels: [c, m],
        image: [height, width],
        kernel: [kh, kw],
        out: [h, w],
        ..
    } = *conv;
    let (plane, positions, depth) = (height * width, h * w, conv.depth());
    fill_bias(out, plane, bias);
    // Products with few rows are slow, so a task has at least 64 of them where it can.
    let block = 64usize.div_ceil(kh * kw).min(c.div_ceil(2)).max(1);
    let room = |taps: usize| Buffer::new(taps * rows_per_strip(taps, conv.out) * w);
    if dry::is_on() {
        each(items * c.div_ceil(block), |_| drop(room(block * kh * kw)));
        return;
    }
    out.par_chunks_mut(c * plane)
        .enumerate()
        .for_each(|(item, image)| {
            let from = &grad[item * m * positions..][..m * positions];
            image
                .par_chunks_mut(block * plane)
                .enumerate()
                .for_each(|(task, planes)| {
                    let channels = task * block..(task * block + planes.len() / plane);
                    let first = channels.start * kh * kw;
                    let taps = channels.len() * kh * kw;
                    let strip = rows_per_strip(taps, conv.out);
                    let mut columns = room(taps);
                    for start in (0..h).step_by(strip) {
                        let rows = start..(start + strip).min(h);
                        let across = rows.len() * w;
                        let dst = MatrixMut {
                            out: SharedOut::new(&mut columns),
                            at: 0,
                            rows: across,
                        };
                        let weight = Matrix {
                            data: &weight[first..],
                            rows: 1,
                            cols: depth,
                        };
                        let grad = Matrix {
                            data: &from[start * w..],
                            rows: positions,
                            cols: 1,
                        };
                        // SAFETY: the columns are this task's own.
                        unsafe { gemm([taps, across, m], dst, false, weight, grad) };
                        col2im_add(
                            &columns[..taps * across],
                            conv,
                            channels.clone(),
                            rows,
                            planes,
                        );
                    }
                });
        });
}

/// See [`Convolution::weight_grad`]. A task makes a few columns of the M×(C·kh·kw) gradient, so that
/// none has to be added up across tasks and the result does not depend on the number of cores.
pub(super) fn weight_grad(conv: &Convolution, image: &[f32], grad: &[f32], out: &mut [f32]) {
    let Convolution {
        items,
        channels: [c, m],
        image: [h, w],
        out: [down, across],
        ..
    } = *conv;
    let depth = conv.depth();
    // At least two tasks, columns in multiples of 16 (a vector), 576 at the most.
    let block = depth.div_ceil(2).next_multiple_of(16).min(576);
    let strip = rows_per_strip(block, conv.out);
    let out = SharedOut::new(out);
    each(depth.div_ceil(block), |task| {
        let columns_of = task * block..((task + 1) * block).min(depth);
        let taps = columns_of.len();
        let mut columns = Buffer::new(taps * strip * across);
        if columns.is_dry() {
            return;
        }
        let dst = MatrixMut {
            out,
            at: columns_of.start,
            rows: depth,
        };
        for item in 0..items {
            let image = &image[item * c * h * w..][..c * h * w];
            let grad = &grad[item * m * down * across..][..m * down * across];
            for start in (0..down).step_by(strip) {
                let rows = start..(start + strip).min(down);
                let positions = rows.len() * across;
                let columns = &mut columns[..taps * positions];
                im2col(image, conv, columns_of.clone(), rows, columns);
                let grad = Matrix {
                    data: &grad[start * across..],
                    rows: down * across,
                    cols: 1,
                };
                let columns = Matrix {
                    data: columns,
                    rows: 1,
                    cols: positions,
                };
                let accumulate = (item, start) != (0, 0);
                // SAFETY: tasks differ in columns.
                unsafe { gemm([m, taps, positions], dst, accumulate, grad, columns) };
            }
        }
    });
}
