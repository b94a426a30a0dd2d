use image::RgbImage;

/// By how many levels pixels of one thing differ between two frames, for noise and what the codec made of it:
/// with this difference the share of what was before falls to 1/e.
const NOISE: f32 = 10.0;
/// Pixels around one, in each direction, whose differences count as its own.
const REACH: usize = 3;
/// With this difference, as the root of the mean square over all pixels, a new scene begins.
const CUT: f32 = 40.0;

/// Makes translations of a video's frames steady. Each becomes a mean of itself and what was shown before, and the
/// same mean is taken of the inputs:
///
/// y(t) = w·y(t−1) + (1−w)·G(x(t)),  m(t) = w·m(t−1) + (1−w)·x(t),  w = share·exp(−d²/10²),
///
/// with a weight for each pixel: d² is the mean square of x(t) − m(t−1), in grey levels, over the 7×7 pixels around
/// it. So w says whether what y is a mean of still looks like the input. Where that stands still but for noise,
/// noise of the translation gets less: the mean of |y(t) − y(t−1)| falls to (1−w)/√(1+w) of what it was. Where
/// something moves, fast or slowly, w is next to nothing, and the translation stays as it is. When the whole picture
/// differs by more than 40 levels, a new scene begins.
#[derive(Debug)]
pub struct Smoothing {
    share: f32,
    before: Option<Before>,
}

/// The means, before they are rounded: rounded, they would come to rest beside.
#[derive(Debug)]
struct Before {
    size: (u32, u32),
    inputs: Vec<f32>,
    shown: Vec<f32>,
}

impl Smoothing {
    /// Takes so much of what was before, from 0 (nothing) to less than 1.
    ///
    /// # Panics
    /// For any other share.
    pub fn new(share: f32) -> Self {
        assert!((0.0..1.0).contains(&share), "a share of {share}");
        Smoothing {
            share,
            before: None,
        }
    }

    /// What is shown for the next frame and its translation.
    ///
    /// # Panics
    /// When the two are of different sizes.
    pub fn next(&mut self, input: &RgbImage, translated: RgbImage) -> RgbImage {
        assert_eq!(input.dimensions(), translated.dimensions());
        if self.share == 0.0 {
            return translated;
        }
        let [mut inputs, mut shown] = [input, &translated].map(values);
        if let Some(before) = self.before.take()
            && let Some(changes) = before.changes(&inputs, input.dimensions())
        {
            let shares: Vec<f32> = changes
                .iter()
                .map(|change| self.share * (-change / (NOISE * NOISE)).exp())
                .collect();
            mix(&mut inputs, &before.inputs, &shares);
            mix(&mut shown, &before.shown, &shares);
        }
        let rounded = shown.iter().map(|value| value.round() as u8).collect();
        self.before = Some(Before {
            size: input.dimensions(),
            inputs,
            shown,
        });
        RgbImage::from_raw(input.width(), input.height(), rounded)
            .expect("there are as many values as before")
    }
}

impl Before {
    /// The mean square of the differences around each pixel; none in a new scene.
    fn changes(&self, inputs: &[f32], size: (u32, u32)) -> Option<Vec<f32>> {
        if size != self.size {
            return None;
        }
        let pixels = inputs.chunks_exact(3).zip(self.inputs.chunks_exact(3));
        let squares: Vec<f32> = pixels
            .map(|(new, old)| {
                let pairs = new.iter().zip(old);
                pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 3.0
            })
            .collect();
        let all: f64 = squares.iter().map(|&square| f64::from(square)).sum();
        let is_cut = all > f64::from(CUT * CUT) * squares.len() as f64;
        let [width, height] = [size.0, size.1].map(|side| side as usize);
        (!is_cut).then(|| means(&means(&squares, 1, width), width, height))
    }
}

fn values(picture: &RgbImage) -> Vec<f32> {
    picture.iter().map(|&value| value.into()).collect()
}

/// Takes of each old pixel its share, and the rest of the new one.
fn mix(new: &mut [f32], old: &[f32], shares: &[f32]) {
    let pixels = new.chunks_exact_mut(3).zip(old.chunks_exact(3));
    for ((new, old), share) in pixels.zip(shares) {
        for (new, old) in new.iter_mut().zip(old) {
            *new += share * (old - *new);
        }
    }
}

/// The mean of each value and its neighbours along a line: of `len` values, that lie `step` apart.
fn means(values: &[f32], step: usize, len: usize) -> Vec<f32> {
    let mean = |i: usize| {
        let at = i / step % len;
        let [before, after] = [at, len - 1 - at].map(|there| there.min(REACH));
        let line = &values[i - before * step..=i + after * step];
        line.iter().step_by(step).sum::<f32>() / (before + 1 + after) as f32
    };
    (0..values.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;
    use rand_distr::{Distribution, Normal};

    use super::*;

    fn noisy(level: f32, deviation: f32, rng: &mut ChaCha8Rng) -> RgbImage {
        let noise = Normal::new(level, deviation).unwrap();
        RgbImage::from_fn(64, 48, |_, _| {
            Rgb([0; 3].map(|_: u8| noise.sample(rng).round() as u8))
        })
    }

    /// The mean change between frames, in levels.
    fn flicker(frames: &[RgbImage]) -> f64 {
        let pairs = frames
            .windows(2)
            .flat_map(|pair| pair[0].iter().zip(pair[1].iter()));
        let changes: Vec<f64> = pairs.map(|(a, b)| a.abs_diff(*b).into()).collect();
        changes.iter().sum::<f64>() / changes.len() as f64
    }

    /// What is shown of translations, and the translations, for inputs that stand still but for noise.
    fn still(share: f32, noise: f32) -> [Vec<RgbImage>; 2] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut smoothing = Smoothing::new(share);
        let both = (0..60).map(|_| {
            let translated = noisy(128.0, 12.0, &mut rng);
            let input = noisy(100.0, noise, &mut rng);
            (smoothing.next(&input, translated.clone()), translated)
        });
        let (shown, translated): (Vec<_>, Vec<_>) = both.unzip();
        // When the first frame has been forgotten.
        [shown, translated].map(|frames| frames[30..].to_vec())
    }

    #[test]
    fn what_stands_still_flickers_as_little_as_the_formula_says() {
        for (share, noise) in [(0.0, 0.0), (0.5, 0.0), (0.8, 0.0), (0.8, 4.0)] {
            let [shown, translated] = still(share, noise);
            // The mean of the inputs has some of their noise: x − m has a variance of 2/(1+w) times theirs.
            let w = (0..30).fold(share, |w, _| {
                share * (-2.0 / (1.0 + w) * noise * noise / (NOISE * NOISE)).exp()
            });
            let expected = f64::from((1.0 - w) / (1.0 + w).sqrt());
            let factor = flicker(&shown) / flicker(&translated);
            assert!(
                (factor / expected - 1.0).abs() < 0.05,
                "{share}, {noise}: {factor} instead of {expected}"
            );
        }
    }

    #[test]
    fn what_moves_stays_as_it_is() {
        let mut smoothing = Smoothing::new(0.9);
        for at in 0..20 {
            // An edge on its way to the right, light before and dark behind, and its translation.
            let edge = |dark, light| {
                RgbImage::from_fn(
                    64,
                    8,
                    |x, _| Rgb([if x < 3 * at { dark } else { light }; 3]),
                )
            };
            let translated = edge(30, 220);
            let shown = smoothing.next(&edge(60, 180), translated.clone());
            let worst = shown
                .iter()
                .zip(translated.iter())
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert_eq!(worst, Some(0), "at {at}");
        }
    }

    #[test]
    fn what_moves_slowly_leaves_no_trail() {
        let mut smoothing = Smoothing::new(0.9);
        let mut trail = 0;
        for t in 0..90 {
            // A soft edge that moves by a fifth of a pixel a frame, and is a hard one in the translation. By the
            // change from frame to frame alone, a trail of 38 levels were left.
            let at = t as f32 / 5.0 + 15.0;
            let input = RgbImage::from_fn(64, 8, |x, _| {
                let beyond = 1.0 / (1.0 + ((x as f32 - at) / 0.5).exp());
                Rgb([(150.0 + 60.0 * beyond).round() as u8; 3])
            });
            let translated =
                RgbImage::from_fn(64, 8, |x, _| Rgb([if x < at as u32 { 255 } else { 0 }; 3]));
            let shown = smoothing.next(&input, translated);
            if t >= 30 {
                trail = trail.max(255 - shown.get_pixel(at as u32 - 3, 4).0[0]);
            }
        }
        assert!(trail <= 3, "{trail}");
    }

    #[test]
    fn a_new_scene_begins_anew() {
        let mut smoothing = Smoothing::new(0.9);
        let grey = |level| RgbImage::from_pixel(9, 9, Rgb([level; 3]));
        // A corner that both scenes have.
        let scene = |level: u8| {
            RgbImage::from_fn(40, 40, |x, y| Rgb([if x + y < 20 { 50 } else { level }; 3]))
        };
        let flat = |level| RgbImage::from_pixel(40, 40, Rgb([level; 3]));
        smoothing.next(&scene(60), flat(10));
        assert_eq!(
            smoothing.next(&scene(60), flat(30)),
            flat(12),
            "the same one"
        );
        assert_eq!(smoothing.next(&scene(160), flat(200)), flat(200));
        // So does a picture of another size.
        assert_eq!(smoothing.next(&grey(160), grey(40)), grey(40));
    }

    #[test]
    fn means_are_of_what_is_there() {
        let values: Vec<f32> = (0..30).map(|i| (i * i % 11) as f32).collect();
        let [width, height] = [6, 5];
        let found = means(&means(&values, 1, width), width, height);
        for (i, found) in found.into_iter().enumerate() {
            let [x, y] = [i % width, i / width];
            let near = |a: usize, b: usize| a.abs_diff(b) <= REACH;
            let around: Vec<f32> = (0..30)
                .filter(|j| near(j % width, x) && near(j / width, y))
                .map(|j| values[j])
                .collect();
            let mean = around.iter().sum::<f32>() / around.len() as f32;
            assert!((found - mean).abs() < 1e-4, "at {x}, {y}: {found}, {mean}");
        }
    }
}
