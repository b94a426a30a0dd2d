//! Translates a picture: `cargo run --example translate -- runs/demo photograph.jpg drawing.png`.

use std::error::Error;
use std::path::Path;

use henshin::tensor::Device;
use henshin::{Direction, Translator, images};

fn main() -> Result<(), Box<dyn Error>> {
    let [run, input, output]: [String; 3] = Vec::from_iter(std::env::args().skip(1))
        .try_into()
        .map_err(|_| "give a run, a picture and the name of the result")?;
    let translator = Translator::load(run, Direction::AtoB, &Device::best())?;
    let picture = images::decode(Path::new(&input))?;
    images::save_png(Path::new(&output), &translator.translate(&picture)?)?;
    Ok(())
}
