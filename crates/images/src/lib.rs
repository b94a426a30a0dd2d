//! Pictures in and out, shared by data preparation and training.
//!
//! - [`list`] finds the pictures of a folder, [`decode`] reads one of any format as 8-bit RGB,
//!   [`save_png`] writes one, [`save_png_rows`] one that is never in memory as a whole;
//!   [`encode_png`] and [`encode_jpeg`] make bytes
//! - [`Animation`] reads animated GIF, WebP and PNG frame by frame, [`save_animation`] writes GIF and
//!   PNG, [`read_ppm`] takes pictures from a stream; [`Smoothing`] makes translations of frames steady
//! - [`resize`] and [`resize_f32`] are bicubic with antialiasing, as Pillow's and PyTorch's are
//! - [`warp`] takes pixels from anywhere: turned, scaled, moved
//! - [`jitter`] changes brightness, contrast and saturation
//! - [`to_chw`] and [`from_chw`] convert between pixels and what a network takes: planar f32 in
//!   −1…1
//! - [`Sheet`] lays pictures out in a grid, to be looked at

mod animation;
mod decode;
mod encode;
mod error;
mod exr;
mod jitter;
mod jpeg;
mod list;
mod planar;
mod ppm;
mod resize;
mod save;
mod save_animation;
mod sheet;
mod smooth;
mod transform;
mod warp;

pub use animation::{Animation, Frame};
pub use decode::{MAX_BYTES, MAX_SIDE, decode, decode_bytes, decode_onto};
pub use encode::{encode_jpeg, encode_png};
pub use error::Error;
pub use image::{Rgb, RgbImage};
pub use jitter::{Jitter, jitter};
pub use list::{list, natural_order};
pub use planar::{from_chw, to_chw};
pub use ppm::read_ppm;
pub use resize::{resize, resize_f32};
pub use save::{PngRows, save_png, save_png_rows};
pub use save_animation::{AnimationFormat, AnimationFrames, save_animation};
pub use sheet::Sheet;
pub use smooth::Smoothing;
pub use transform::{crop, crop_extended, extend, mirror, paste};
pub use warp::{Affine, warp};

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
