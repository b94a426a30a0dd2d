use tensor::{Result, Tensor};

/// The patch-wise contrastive loss of Park et al. (2020): how surely each patch finds, among the P patches
/// of the picture that it was made from, the one in its place. Cross-entropy of the likenesses qᵢ·kⱼ divided by
/// `temperature`, in the mean over patches. N×C×P features of length one, of which `keys` are taken as they are.
///
/// # Errors
/// When the shapes differ or are not N×C×P.
pub fn patch_nce(queries: &Tensor, keys: &Tensor, temperature: f32) -> Result<Tensor> {
    let keys = keys.detach();
    let alike = queries.mul(&keys)?;
    let [_, n, _, patches] = alike.shape().nchw();
    let in_place = alike.sum_to([n, 1, patches])?.scale(1.0 / temperature)?;
    // No likeness is larger than one: distances from that have no overflow to fear.
    let likenesses = keys.transposed_matmul(queries)?;
    let below = likenesses.scale_add(1.0 / temperature, -1.0 / temperature)?;
    let all = below.exp()?.sum_to([n, 1, patches])?.ln()?;
    all.scale_add(1.0, 1.0 / temperature)?
        .sub(&in_place)?
        .mean()
}

#[cfg(test)]
mod tests {
    use tensor::{Device, grad};

    use super::*;

    /// Two pictures of three patches with two features of length one.
    fn features(turn: f32) -> Tensor {
        let angle = |n: usize, p: usize| turn * (1 + n) as f32 + 0.9 * p as f32;
        let mut values = Vec::new();
        for n in 0..2 {
            values.extend((0..3).map(|p| angle(n, p).cos()));
            values.extend((0..3).map(|p| angle(n, p).sin()));
        }
        Tensor::from_slice(&values, [2, 2, 3], &Device::Cpu).unwrap()
    }

    #[test]
    fn it_is_the_cross_entropy_of_the_place_among_all_places() {
        let (queries, keys, temperature) = (features(0.3).with_grad(), features(0.1), 0.07);
        let (q, k) = (queries.to_vec().unwrap(), keys.to_vec().unwrap());
        let mut expected = 0.0;
        for n in 0..2 {
            let like = |i: usize, j: usize| -> f64 {
                let of = |x: &[f32], c: usize, p: usize| f64::from(x[(n * 2 + c) * 3 + p]);
                let dot: f64 = (0..2).map(|c| of(&q, c, i) * of(&k, c, j)).sum();
                (dot / f64::from(temperature)).exp()
            };
            for i in 0..3 {
                let all: f64 = (0..3).map(|j| like(i, j)).sum();
                expected -= (like(i, i) / all).ln() / 6.0;
            }
        }
        let loss = patch_nce(&queries, &keys, temperature).unwrap();
        let given = f64::from(loss.item().unwrap());
        assert!((given - expected).abs() < 1e-5, "{given} for {expected}");
        assert!(grad(&loss, &[&queries]).is_ok());
    }
}
