//! Lists the tensors of a file of weights: name, extents, and the sum of all values.
//!
//! ```text
//! cargo run -p exchange --example tensors -- FILE
//! ```

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("usage: tensors FILE")?
        .into();
    for array in exchange::read(&path)?.arrays {
        let sum: f64 = array.values.iter().map(|value| f64::from(*value)).sum();
        println!("{}\t{:?}\t{sum}", array.name, array.shape);
    }
    Ok(())
}
