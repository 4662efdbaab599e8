//! What a device has beyond WebGPU's defaults that kernels can use. None of it is needed.

use std::ops::RangeInclusive;

use super::{Access, Dispatch, Gpu, GpuError, Kernel};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Arithmetic in f16.
    pub f16: bool,
    /// `dot4I8Packed`.
    pub packed_dot: bool,
    /// The fewest threads of a subgroup; `None` without subgroups, or where neighbouring threads are not neighbours there.
    pub subgroup_size: Option<usize>,
}

/// The sizes that WebGPU allows.
const SUBGROUP_SIZES: RangeInclusive<usize> = 4..=128;

impl Gpu {
    /// Finds out what the device has: libraries do not tell all of it, so small kernels are compiled, and one is run.
    pub async fn features(&self) -> Result<Features, GpuError> {
        let packed = self.probe("packed", include_str!("../../shaders/probe/packed.wgsl"));
        Ok(Features {
            f16: self.device.features().contains(wgpu::Features::SHADER_F16),
            packed_dot: packed.await?.is_some(),
            subgroup_size: self.subgroup_size().await?,
        })
    }

    /// The fewest threads of a subgroup, where there are any.
    pub(crate) fn least_subgroup(&self) -> usize {
        (self.info.subgroup_min_size as usize).max(*SUBGROUP_SIZES.start())
    }

    async fn subgroup_size(&self) -> Result<Option<usize>, GpuError> {
        let native = !cfg!(target_arch = "wasm32");
        // In a browser the library does not know the feature; one that says nothing of sizes does not have it.
        if native && !self.device.features().contains(wgpu::Features::SUBGROUP) || self.info.subgroup_min_size == 0 {
            return Ok(None);
        }
        let source = include_str!("../../shaders/probe/subgroups.wgsl");
        let Some(kernel) = self.probe("subgroups", source).await? else {
            return Ok(None);
        };
        let found = self.storage("subgroups", 256 * 8);
        let bind_group = kernel.bind(self, &[found.as_entire_binding()]);
        let mut commands = self.commands();
        commands.pass(|pass| {
            let dispatch = Dispatch {
                kernel: &kernel,
                bind_group: &bind_group,
                workgroups: [1, 1, 1].into(),
            };
            dispatch.encode(pass);
        });
        commands.submit();
        let lanes: Vec<[u32; 2]> = self.read(&found).await?;
        let least = self.least_subgroup();
        let in_order = lanes.iter().zip(0..).all(|([size, place], local)| {
            let (size, place) = (*size as usize, *place as usize);
            SUBGROUP_SIZES.contains(&size) && size.is_power_of_two() && size >= least && place == local % size
        });
        Ok((in_order && least.is_power_of_two()).then_some(least))
    }

    /// A kernel, if it compiles.
    async fn probe(&self, name: &'static str, source: &str) -> Result<Option<Kernel>, GpuError> {
        let compiled = self.guard(name, || Kernel::new(self, name, source, &[], &[Access::ReadWrite]));
        let compiled = compiled.await.ok();
        self.check()?;
        Ok(compiled)
    }
}
