//! How much memory a device has, which WebGPU doesn't tell and Vulkan does.

#![allow(
    unsafe_code,
    reason = "wgpu does not tell; its Vulkan device has to be asked"
)]

/// Bytes of the device's largest heap of its own, where it can be asked: on Vulkan.
#[cfg(not(any(target_vendor = "apple", target_family = "wasm")))]
pub(crate) fn largest(device: &wgpu::Device) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the device is only asked for its properties, nothing of it is destroyed or kept.
    let device = unsafe { device.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = device.shared_instance().raw_instance();
    // SAFETY: the physical device is this instance's, and both live as long as the device does.
    let memory =
        unsafe { instance.get_physical_device_memory_properties(device.raw_physical_device()) };
    let heaps = &memory.memory_heaps[..memory.memory_heap_count as usize];
    let own = heaps
        .iter()
        .filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    own.map(|heap| heap.size).max()
}

/// As above: other systems have no Vulkan here.
#[cfg(any(target_vendor = "apple", target_family = "wasm"))]
pub(crate) fn largest(_: &wgpu::Device) -> Option<u64> {
    None
}
