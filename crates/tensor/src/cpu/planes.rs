//! An image laid out so that a kernel tap is a shift: padded, and for a stride of s taken apart into
//! s×s phases, each the pixels a stride apart.

use super::buffer::{Buffer, SLACK};
use super::simd::{for_each_chunk, vectorised};
use super::tile::WIDE;

/// Zeros that the end of a row may share with the beginning of the next: no more, or the last row's would
/// end behind the memory.
pub(super) const SHARED: usize = WIDE / 2;

/// Every second value, as vectors.
fn every_second(from: &[f32], onto: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            let (pairs, rest) = from.as_chunks::<2>();
            onto.iter_mut()
                .zip(pairs)
                .for_each(|(value, pair)| *value = pair[0]);
            if let (Some(value), [last]) = (onto.get_mut(pairs.len()), rest) {
                *value = *last;
            }
        },
    );
}

/// Planes of some channels.
pub(super) struct Planes<'a> {
    data: Data<'a>,
    /// Step from a channel to the next.
    pub channel: usize,
    /// Step from a phase to the next.
    pub phase: usize,
    /// Step from a row to the next.
    pub pitch: usize,
}

enum Data<'a> {
    Own(Buffer),
    /// The image itself, where it needs no padding.
    Image(&'a Buffer),
}

impl<'a> Planes<'a> {
    /// Phase (i, j) of a channel shows at (y, x) the pixel (y·stride + i − before₀, x·stride + j −
    /// before₁), or zero outside of the image; it has `extent` rows and columns. What a window sees to the
    /// right of a row is the beginning of the next: where both are zeros one stretch of them serves both.
    pub fn new(
        image: &'a Buffer,
        [h, w]: [usize; 2],
        stride: usize,
        before: [usize; 2],
        extent: [usize; 2],
    ) -> Self {
        let channels = image.len() / (h * w).max(1);
        let [rows, pitch] = extent;
        let phase = rows * pitch;
        let channel = stride * stride * phase;
        if stride == 1 && before == [0; 2] && extent == [h, w] {
            return Planes {
                data: Data::Image(image),
                channel,
                phase,
                pitch,
            };
        }
        let mut planes = Buffer::new(channels * channel);
        if planes.is_dry() {
            return Planes {
                data: Data::Own(planes),
                channel,
                phase,
                pitch,
            };
        }
        // Pixels of phase j across that the image has: `start..end`, the first being pixel `from`.
        let across = |j: usize| {
            let start = before[1].saturating_sub(j).div_ceil(stride).min(pitch);
            let end = (w + before[1]).saturating_sub(j).div_ceil(stride);
            let end = end.clamp(start, pitch);
            (start, end, (start * stride + j).wrapping_sub(before[1]))
        };
        for_each_chunk(&mut planes, pitch, |at, lines| {
            for (i, line) in lines.chunks_exact_mut(pitch).enumerate() {
                let row = at / pitch + i;
                let (c, part, y) = (
                    row / (stride * stride * rows),
                    row / rows % (stride * stride),
                    row % rows,
                );
                let y = (y * stride + part / stride).wrapping_sub(before[0]);
                if y >= h {
                    line.fill(0.0);
                    continue;
                }
                let (start, end, from) = across(part % stride);
                line[..start].fill(0.0);
                line[end..].fill(0.0);
                if start < end {
                    let line = &mut line[start..end];
                    let from = &image[(c * h + y) * w..][from..w];
                    match stride {
                        1 => line.copy_from_slice(&from[..line.len()]),
                        2 => every_second(from, line),
                        _ => line
                            .iter_mut()
                            .zip(from.iter().step_by(stride))
                            .for_each(|(value, &from)| *value = from),
                    }
                }
            }
        });
        Planes {
            data: Data::Own(planes),
            channel,
            phase,
            pitch,
        }
    }

    /// The values. A tile that starts at the last position reads past it, and so does its last tap: zeros
    /// follow.
    pub fn as_ptr(&self) -> *const f32 {
        const { assert!(SLACK >= 2 * WIDE) };
        match &self.data {
            Data::Own(planes) => planes.as_ptr_with_slack(),
            Data::Image(image) => image.as_ptr_with_slack(),
        }
    }
}
