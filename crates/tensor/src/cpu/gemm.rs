//! The matrix product, by the crate `gemm`.

#![allow(
    unsafe_code,
    reason = "the crate `gemm` takes pointers, and tasks write separate parts of one result"
)]

use gemm_common::Parallelism;

/// Products summed in one go. Networks that normalise nearly flat planes, as fresh ones do, multiply
/// rounding errors by up to 1/√eps a layer.
const DEPTH_STRETCH: usize = 128;

/// A matrix to read: element (i, j) stands at `data[i * rows + j * cols]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    /// Step from a row to the next.
    pub rows: usize,
    /// Step from a column to the next.
    pub cols: usize,
}

/// A matrix to write, row-major, in memory that other threads may be writing elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct MatrixMut<'a> {
    pub out: SharedOut<'a>,
    /// Where element (0, 0) stands.
    pub at: usize,
    /// Step from a row to the next.
    pub rows: usize,
}

/// An output that several tasks fill, each its own part. The parts interleave (a strip of rows in
/// every channel), so slices can't express them.
#[derive(Clone, Copy)]
pub(crate) struct SharedOut<'a> {
    pointer: *mut f32,
    len: usize,
    lifetime: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks that write through it keep their parts disjoint, as its methods demand.
unsafe impl Send for SharedOut<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedOut<'_> {}

impl<'a> SharedOut<'a> {
    pub fn new(out: &'a mut [f32]) -> Self {
        let len = out.len();
        SharedOut {
            pointer: out.as_mut_ptr(),
            len,
            lifetime: std::marker::PhantomData,
        }
    }

    /// Writes `from`, `plus` added to each value, from `at` on.
    ///
    /// # Safety
    /// No other task may touch these values meanwhile.
    #[inline(always)]
    pub unsafe fn write(&self, at: usize, from: &[f32], plus: f32) {
        assert!(at + from.len() <= self.len);
        // SAFETY: inside by the assertion, ours by the caller's word.
        let onto = unsafe { std::slice::from_raw_parts_mut(self.pointer.add(at), from.len()) };
        onto.iter_mut()
            .zip(from)
            .for_each(|(onto, value)| *onto = value + plus);
    }

    /// The first value; tasks must keep to their own parts.
    pub fn as_mut_ptr(&self) -> *mut f32 {
        self.pointer
    }
}

/// `dst = a·b`, or `dst += a·b`, for an m×k and a k×n matrix, on the calling thread.
///
/// # Safety
/// No other task may touch the m×n elements of `dst` meanwhile.
pub(crate) unsafe fn gemm(
    [m, n, k]: [usize; 3],
    dst: MatrixMut<'_>,
    accumulate: bool,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, row: usize, cols: usize, col: usize| {
        rows.saturating_sub(1) * row + cols.saturating_sub(1) * col
    };
    assert!(
        dst.at + last(m, dst.rows, n, 1) < dst.out.len,
        "product larger than its place"
    );
    assert!(
        k == 0 || last(m, a.rows, k, a.cols) < a.data.len(),
        "left matrix too short"
    );
    assert!(
        k == 0 || last(k, b.rows, n, b.cols) < b.data.len(),
        "right matrix too short"
    );
    // Summed a stretch of the depth at a time: rounding errors grow with the root of it otherwise.
    for start in (0..k.max(1)).step_by(DEPTH_STRETCH) {
        // SAFETY: every index stays inside by the assertions; the destination is ours by the
        // caller's word.
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                m,
                n,
                (k - start).min(DEPTH_STRETCH),
                dst.out.pointer.add(dst.at),
                1,
                dst.rows as isize,
                accumulate || start > 0,
                a.data.as_ptr().wrapping_add(start * a.cols),
                a.cols as isize,
                a.rows as isize,
                b.data.as_ptr().wrapping_add(start * b.rows),
                b.cols as isize,
                b.rows as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}
