use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// What randomness is drawn for. Each purpose has a generator of its own, so that drawing more
/// for one changes nothing in another.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// Initial weights.
    Weights,
    /// The order of the pictures in an epoch.
    Order,
    /// Which pictures meet, and how they are augmented.
    Data,
    /// What the image pools return.
    Pool,
    /// How discriminators see pictures.
    DiffAugment,
    /// What dropout leaves out.
    Dropout,
    /// Which patches are compared, and whether their picture is mirrored.
    Patches,
}

/// The generator for a purpose in a step of a run. It depends on nothing else, so a run resumed at
/// step k draws what an uninterrupted one draws, with no state to keep.
pub fn rng(seed: u64, stream: Stream, step: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(stream as u64).to_le_bytes());
    key[16..24].copy_from_slice(&step.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}
