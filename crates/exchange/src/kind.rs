use half::{bf16, f16};

/// What numbers are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Kind {
    /// That of a class of PyTorch's.
    pub fn of_storage(class: &str) -> Option<Self> {
        Some(match class.strip_suffix("Storage")? {
            "Double" => Kind::F64,
            "Float" => Kind::F32,
            "Half" => Kind::F16,
            "BFloat16" => Kind::BF16,
            "Long" => Kind::I64,
            "Int" => Kind::I32,
            "Short" => Kind::I16,
            "Char" => Kind::I8,
            "Byte" => Kind::U8,
            "Bool" => Kind::Bool,
            _ => return None,
        })
    }

    /// That of safetensors.
    pub fn of_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype;
        Some(match dtype {
            Dtype::F64 => Kind::F64,
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            Dtype::I64 => Kind::I64,
            Dtype::I32 => Kind::I32,
            Dtype::I16 => Kind::I16,
            Dtype::I8 => Kind::I8,
            Dtype::U8 => Kind::U8,
            Dtype::BOOL => Kind::Bool,
            _ => return None,
        })
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Kind::F64 | Kind::I64 => 8,
            Kind::F32 | Kind::I32 => 4,
            Kind::F16 | Kind::BF16 | Kind::I16 => 2,
            Kind::I8 | Kind::U8 | Kind::Bool => 1,
        }
    }

    /// Numbers from their bytes, the lowest first, as near as `f32` comes to them.
    pub fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Kind::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Kind::F32 => each(bytes, f32::from_le_bytes),
            Kind::F16 => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Kind::BF16 => each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Kind::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
            Kind::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
            Kind::I16 => each(bytes, |bytes| i16::from_le_bytes(bytes).into()),
            Kind::I8 => each(bytes, |bytes| i8::from_le_bytes(bytes).into()),
            Kind::U8 => each(bytes, |[byte]: [u8; 1]| byte.into()),
            Kind::Bool => each(bytes, |[byte]: [u8; 1]| (byte != 0).into()),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<N>();
    numbers.iter().map(|bytes| value(*bytes)).collect()
}
