use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use tensor::{Result, Tensor};

/// A store of earlier fakes (Shrivastava et al., 2017): discriminators that see them too don't
/// chase the generator's latest habit.
pub struct ImagePool {
    capacity: usize,
    images: Vec<Tensor>,
}

impl ImagePool {
    /// An empty pool for `capacity` images; one of none passes images through.
    pub fn new(capacity: usize) -> Self {
        ImagePool {
            capacity,
            images: Vec::new(),
        }
    }

    /// For each image of a batch: itself, and stored, while the pool fills; afterwards, one time
    /// in two, a stored image that it takes the place of.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn query(&mut self, batch: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
        let batch = batch.detach();
        if self.capacity == 0 {
            return Ok(batch);
        }
        let mut out = Vec::new();
        for i in 0..batch.shape().dims()[0] {
            let image = batch.narrow(0, i, 1)?;
            if self.images.len() < self.capacity {
                self.images.push(image.clone());
                out.push(image);
            } else if rng.random_bool(0.5) {
                let place = rng.random_range(0..self.capacity);
                out.push(std::mem::replace(&mut self.images[place], image));
            } else {
                out.push(image);
            }
        }
        Tensor::concat(&out.iter().collect::<Vec<_>>(), 0)
    }

    /// Fills the pool up, with copies of an image.
    ///
    /// # Errors
    /// A fault of the device.
    pub(crate) fn fill(&mut self, image: &Tensor) -> Result<()> {
        while self.images.len() < self.capacity {
            self.images.push(image.scale(1.0)?);
        }
        Ok(())
    }

    /// The stored images.
    pub fn images(&self) -> &[Tensor] {
        &self.images
    }

    /// Forgets all images but those of a side, which alone can be mixed with what comes.
    pub fn keep_size(&mut self, side: usize) {
        self.images
            .retain(|image| image.shape().nchw()[2..] == [side; 2]);
    }

    /// Puts images back that a checkpoint kept.
    pub fn restore(&mut self, images: Vec<Tensor>) {
        self.images = images;
        self.images.truncate(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use tensor::Device;

    use super::*;
    use crate::{Stream, rng};

    fn image(value: f32) -> Tensor {
        Tensor::full([1, 1, 1, 1], value, &Device::Cpu).unwrap()
    }

    #[test]
    fn fills_first_and_then_swaps_half_of_the_time() {
        let mut pool = ImagePool::new(50);
        let mut rng = rng(1, Stream::Pool, 0);
        let mut returned_itself = 0;
        for i in 0..1050 {
            let answer = pool
                .query(&image(i as f32), &mut rng)
                .unwrap()
                .item()
                .unwrap();
            if i < 50 {
                assert_eq!(answer, i as f32, "a filling pool returns the image");
            } else {
                returned_itself += usize::from(answer == i as f32);
            }
        }
        assert_eq!(pool.images().len(), 50);
        assert!(
            (450..550).contains(&returned_itself),
            "{returned_itself} of 1000"
        );
    }

    #[test]
    fn a_pool_of_none_passes_images_through() {
        let mut pool = ImagePool::new(0);
        let batch = Tensor::full([3, 1, 2, 2], 4.0, &Device::Cpu).unwrap();
        let answer = pool.query(&batch, &mut rng(1, Stream::Pool, 0)).unwrap();
        assert_eq!(answer.shape(), batch.shape());
        assert!(pool.images().is_empty());
    }

    #[test]
    fn keeps_images_of_one_size() {
        let mut pool = ImagePool::new(3);
        let sizes = [4, 8, 4].map(|side| Tensor::zeros([1, 1, side, side], &Device::Cpu).unwrap());
        pool.restore(sizes.to_vec());
        pool.keep_size(8);
        assert_eq!(pool.images().len(), 1);
        let answer = pool.query(&sizes[1], &mut rng(1, Stream::Pool, 0));
        assert_eq!(answer.unwrap().shape(), sizes[1].shape());
        assert_eq!(pool.images().len(), 2);
    }

    #[test]
    fn a_batch_is_queried_image_by_image() {
        let mut pool = ImagePool::new(2);
        let batch = Tensor::from_slice(&[1.0, 2.0, 3.0], [3, 1, 1, 1], &Device::Cpu).unwrap();
        let answer = pool.query(&batch, &mut rng(1, Stream::Pool, 0)).unwrap();
        assert_eq!(answer.shape(), batch.shape());
        assert_eq!(pool.images().len(), 2);
    }
}
