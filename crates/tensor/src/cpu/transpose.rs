//! From planes to vectors of channels and back: 16×16 values turned round.

use super::tile::BLOCK;

/// `onto[j · onto_pitch + i] = from[i · from_pitch + j]` for 16×16 values.
///
/// # Safety
/// All of them must be readable and writable.
pub(super) unsafe fn transpose(
    from: *const f32,
    from_pitch: usize,
    onto: *mut f32,
    onto_pitch: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions; the rest by the caller's word.
        return unsafe { avx512(from, from_pitch, onto, onto_pitch) };
    }
    // SAFETY: by the caller's word.
    unsafe { part(from, from_pitch, [BLOCK; 2], onto, onto_pitch) };
}

/// The same for a part of `rows`×`columns` values.
///
/// # Safety
/// All of them must be readable and writable.
pub(super) unsafe fn transpose_part(
    from: *const f32,
    from_pitch: usize,
    [rows, columns]: [usize; 2],
    onto: *mut f32,
    onto_pitch: usize,
) {
    // SAFETY: by the caller's word.
    unsafe {
        match [rows, columns] {
            [BLOCK, BLOCK] => transpose(from, from_pitch, onto, onto_pitch),
            part_of => part(from, from_pitch, part_of, onto, onto_pitch),
        }
    }
}

unsafe fn part(
    from: *const f32,
    from_pitch: usize,
    [rows, columns]: [usize; 2],
    onto: *mut f32,
    onto_pitch: usize,
) {
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
unsafe fn avx512(from: *const f32, from_pitch: usize, onto: *mut f32, onto_pitch: usize) {
    use std::arch::x86_64::*;
    let mut rows = [_mm512_setzero_ps(); BLOCK];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: by the caller's word.
        *row = unsafe { _mm512_loadu_ps(from.add(i * from_pitch)) };
    }
    // Within each quarter of a vector 4×4 values are turned: quarters[4·g + k] holds column 4·q + k of
    // rows 4·g…4·g + 3 in quarter q.
    let mut quarters = [_mm512_setzero_ps(); BLOCK];
    for g in 0..4 {
        let [a, b, c, d] = [
            rows[4 * g],
            rows[4 * g + 1],
            rows[4 * g + 2],
            rows[4 * g + 3],
        ];
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        quarters[4 * g] = _mm512_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low);
        quarters[4 * g + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low);
        quarters[4 * g + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high);
        quarters[4 * g + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high);
    }
    // Then the quarters: column 4·q + k is quarter q of quarters[k], [4 + k], [8 + k] and [12 + k].
    for k in 0..4 {
        let [a, b, c, d] = [
            quarters[k],
            quarters[4 + k],
            quarters[8 + k],
            quarters[12 + k],
        ];
        let ab_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        let ab_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
        let cd_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
        let cd_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
        let columns = [
            _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_even, cd_even),
            _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, cd_odd),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_even, cd_even),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, cd_odd),
        ];
        for (q, column) in columns.into_iter().enumerate() {
            // SAFETY: by the caller's word.
            unsafe { _mm512_storeu_ps(onto.add((4 * q + k) * onto_pitch), column) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let from: Vec<f32> = (0..BLOCK * 19).map(|i| i as f32).collect();
        for [rows, columns] in [[16, 16], [16, 9], [3, 16]] {
            let mut onto = [-1.0; BLOCK * 21];
            // SAFETY: 16 rows of 19 and of 21 values.
            unsafe { transpose_part(from.as_ptr(), 19, [rows, columns], onto.as_mut_ptr(), 21) };
            for (at, &value) in onto.iter().enumerate() {
                let (j, i) = (at / 21, at % 21);
                let inside = i < rows && j < columns;
                assert_eq!(value, if inside { from[i * 19 + j] } else { -1.0 });
            }
        }
    }
}
