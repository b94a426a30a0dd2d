//! From planes to vectors of channels and back: 16×16 values turned round.

#![allow(unsafe_code, reason = "vector instructions and pointers")]

use super::tile::BLOCK;

/// `onto[j · onto_pitch + i] = from[i · from_pitch + j]` for up to 16 `rows` i and `columns` j.
///
/// # Safety
/// All of them must be readable and writable.
pub(super) unsafe fn transpose(
    from: *const f32,
    from_pitch: usize,
    [rows, columns]: [usize; 2],
    onto: *mut f32,
    onto_pitch: usize,
) {
    debug_assert!(rows <= BLOCK && columns <= BLOCK);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions; the rest by the caller's word.
        return unsafe { avx512(from, from_pitch, [rows, columns], onto, onto_pitch) };
    }
    for j in 0..columns {
        for i in 0..rows {
            // SAFETY: by the caller's word.
            unsafe { *onto.add(j * onto_pitch + i) = *from.add(i * from_pitch + j) };
        }
    }
}

/// Pairs, fours, eights and sixteens change places.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(
    from: *const f32,
    from_pitch: usize,
    [rows, columns]: [usize; 2],
    onto: *mut f32,
    onto_pitch: usize,
) {
    use std::arch::x86_64::*;
    let first = |n: usize| ((1u32 << n) - 1) as u16;
    let mut from_rows = [_mm512_setzero_ps(); BLOCK];
    // Not even under an empty mask: where no memory is mapped that takes microseconds.
    for (i, row) in from_rows.iter_mut().enumerate().take(rows) {
        // SAFETY: by the caller's word.
        *row = unsafe { _mm512_maskz_loadu_ps(first(columns), from.add(i * from_pitch)) };
    }
    // Within each quarter of a vector 4×4 values are turned: quarters[4·g + k] holds column 4·q + k of
    // rows 4·g…4·g + 3 in quarter q.
    let mut quarters = [_mm512_setzero_ps(); BLOCK];
    for (quarters, rows) in quarters
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(from_rows.as_chunks::<4>().0)
    {
        let [a, b, c, d] = *rows;
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        *quarters = [
            _mm512_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
            _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ];
    }
    // Then the quarters: column 4·q + k is quarter q of quarters[k], [4 + k], [8 + k] and [12 + k].
    for k in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|g| quarters[g + k]);
        let ab_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        let ab_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
        let cd_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
        let cd_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
        let turned = [
            _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_even, cd_even),
            _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, cd_odd),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_even, cd_even),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, cd_odd),
        ];
        for (q, column) in turned.into_iter().enumerate() {
            if 4 * q + k < columns {
                // SAFETY: by the caller's word.
                unsafe {
                    let onto = onto.add((4 * q + k) * onto_pitch);
                    match rows {
                        BLOCK => _mm512_storeu_ps(onto, column),
                        _ => _mm512_mask_storeu_ps(onto, first(rows), column),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let from: Vec<f32> = (0..BLOCK * 19).map(|i| i as f32).collect();
        for [rows, columns] in [[16, 16], [16, 9], [3, 16], [5, 7]] {
            let mut onto = [-1.0; BLOCK * 21];
            // SAFETY: 16 rows of 19 and of 21 values.
            unsafe { transpose(from.as_ptr(), 19, [rows, columns], onto.as_mut_ptr(), 21) };
            for (at, &value) in onto.iter().enumerate() {
                let (j, i) = (at / 21, at % 21);
                let inside = i < rows && j < columns;
                assert_eq!(value, if inside { from[i * 19 + j] } else { -1.0 });
            }
        }
    }
}
