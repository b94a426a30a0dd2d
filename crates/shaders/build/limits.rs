//! What every WebGPU device has: a kernel that keeps to these runs everywhere.

/// Most bytes of a kernel's `Params`: one slot of the engine's uniform buffer, whose dynamic
/// offsets are multiples of 256 on the strictest devices.
pub const MAX_PARAMS: u32 = 256;

/// Most storage buffers of a kernel.
pub const MAX_STORAGE_BUFFERS: usize = 8;

/// Most invocations of a workgroup.
pub const MAX_INVOCATIONS: u32 = 256;

/// Most bytes of workgroup memory.
pub const MAX_WORKGROUP_MEMORY: u32 = 16 * 1024;
