//! WGSL source -> a pipeline: `#import` of `shaders/shared/`, the model's sizes as constants, one bind group.

use super::{Gpu, Pass};

/// How a kernel uses the buffer at a binding, in binding order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// A compiled compute shader with entry point `main` and one bind group of storage buffers.
pub struct Kernel {
    name: &'static str,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// One entry of a compute pass.
pub struct Dispatch<'a> {
    pub kernel: &'a Kernel,
    pub bind_group: &'a wgpu::BindGroup,
    pub workgroups: Workgroups<'a>,
}

/// How many workgroups a dispatch runs.
#[derive(Clone, Copy)]
pub enum Workgroups<'a> {
    Direct([u32; 3]),
    /// As three words that an earlier kernel has written, at this offset in bytes.
    Indirect(&'a wgpu::Buffer, u64),
}

impl From<[u32; 3]> for Workgroups<'_> {
    fn from(workgroups: [u32; 3]) -> Self {
        Workgroups::Direct(workgroups)
    }
}

/// A value of the prelude that precedes a kernel's source, as `const NAME: type = value;`.
pub mod constant {
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub enum Constant {
        U32(u32),
        F32(f32),
        Bool(bool),
        /// Not for the shader: it chooses what is imported.
        Name(&'static str),
    }
    impl From<usize> for Constant {
        fn from(value: usize) -> Self {
            Constant::U32(u32::try_from(value).expect("sizes are checked against the limits when a model is planned"))
        }
    }
    impl From<f32> for Constant {
        fn from(value: f32) -> Self {
            Constant::F32(value)
        }
    }
    impl From<&'static str> for Constant {
        fn from(name: &'static str) -> Self {
            Constant::Name(name)
        }
    }
    impl From<bool> for Constant {
        fn from(value: bool) -> Self {
            Constant::Bool(value)
        }
    }
}
use constant::Constant;

/// What `#import name` stands for.
const SHARED: [(&str, &str); 48] = [
    ("across1", include_str!("../../shaders/shared/across1.wgsl")),
    ("across4", include_str!("../../shaders/shared/across4.wgsl")),
    ("across8", include_str!("../../shaders/shared/across8.wgsl")),
    ("attended", include_str!("../../shaders/shared/attended.wgsl")),
    ("cached16", include_str!("../../shaders/shared/cached16.wgsl")),
    ("cached32", include_str!("../../shaders/shared/cached32.wgsl")),
    ("cached8", include_str!("../../shaders/shared/cached8.wgsl")),
    ("choice", include_str!("../../shaders/shared/choice.wgsl")),
    ("choose", include_str!("../../shaders/shared/choose.wgsl")),
    ("entries", include_str!("../../shaders/shared/entries.wgsl")),
    ("expert_rows", include_str!("../../shaders/shared/expert_rows.wgsl")),
    ("halves", include_str!("../../shaders/shared/halves.wgsl")),
    ("heads2", include_str!("../../shaders/shared/heads2.wgsl")),
    ("heads3", include_str!("../../shaders/shared/heads3.wgsl")),
    ("heads4", include_str!("../../shaders/shared/heads4.wgsl")),
    ("held", include_str!("../../shaders/shared/held.wgsl")),
    ("inputs_f16", include_str!("../../shaders/shared/inputs_f16.wgsl")),
    ("inputs_f32", include_str!("../../shaders/shared/inputs_f32.wgsl")),
    ("inputs_int8", include_str!("../../shaders/shared/inputs_int8.wgsl")),
    ("inputs_packed", include_str!("../../shaders/shared/inputs_packed.wgsl")),
    ("inverse_rms", include_str!("../../shaders/shared/inverse_rms.wgsl")),
    ("lanes_alone", include_str!("../../shaders/shared/lanes_alone.wgsl")),
    (
        "lanes_barriers",
        include_str!("../../shaders/shared/lanes_barriers.wgsl"),
    ),
    ("lanes_quad", include_str!("../../shaders/shared/lanes_quad.wgsl")),
    (
        "lanes_subgroups",
        include_str!("../../shaders/shared/lanes_subgroups.wgsl"),
    ),
    ("linear", include_str!("../../shaders/shared/linear.wgsl")),
    ("loaded_alone", include_str!("../../shaders/shared/loaded_alone.wgsl")),
    ("loaded_quad", include_str!("../../shaders/shared/loaded_quad.wgsl")),
    ("numbers", include_str!("../../shaders/shared/numbers.wgsl")),
    ("own_alone", include_str!("../../shaders/shared/own_alone.wgsl")),
    ("own_quad4", include_str!("../../shaders/shared/own_quad4.wgsl")),
    ("own_quad8", include_str!("../../shaders/shared/own_quad8.wgsl")),
    ("pack8", include_str!("../../shaders/shared/pack8.wgsl")),
    ("rms", include_str!("../../shaders/shared/rms.wgsl")),
    ("routed", include_str!("../../shaders/shared/routed.wgsl")),
    ("router_alone", include_str!("../../shaders/shared/router_alone.wgsl")),
    ("router_quad", include_str!("../../shaders/shared/router_quad.wgsl")),
    ("rows", include_str!("../../shaders/shared/rows.wgsl")),
    ("splits", include_str!("../../shaders/shared/splits.wgsl")),
    ("staged", include_str!("../../shaders/shared/staged.wgsl")),
    ("step", include_str!("../../shaders/shared/step.wgsl")),
    ("tile1", include_str!("../../shaders/shared/tile1.wgsl")),
    ("tile4", include_str!("../../shaders/shared/tile4.wgsl")),
    ("tile8", include_str!("../../shaders/shared/tile8.wgsl")),
    ("tile_rms", include_str!("../../shaders/shared/tile_rms.wgsl")),
    ("tokens1", include_str!("../../shaders/shared/tokens1.wgsl")),
    ("tokens4", include_str!("../../shaders/shared/tokens4.wgsl")),
    ("tokens8", include_str!("../../shaders/shared/tokens8.wgsl")),
];

/// Pieces that exist more than once, and the constant that says which is meant: its number or its name ends theirs.
const CHOSEN_BY: [(&str, &str); 10] = [
    ("across", "TILE"),
    ("cached", "KV_BITS"),
    ("heads", "HEADS"),
    ("inputs", "INPUTS"),
    ("lanes", "LANES_BY"),
    ("loaded", "LANES_BY"),
    ("own", "OWN"),
    ("router", "LANES_BY"),
    ("tile", "TILE"),
    ("tokens", "TILE"),
];

/// The source a device gets: extensions and constants first, imports in place.
fn assemble(name: &str, source: &str, constants: &[(&str, Constant)]) -> String {
    let body = imported(name, source, constants);
    // wgpu's own compiler has subgroups without being told, and refuses to be.
    let is_told = |line: &&str| cfg!(target_arch = "wasm32") || *line != "enable subgroups;";
    let (extensions, rest): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.starts_with("enable "));
    let mut lines: Vec<String> = extensions.into_iter().filter(is_told).map(String::from).collect();
    lines.extend(constants.iter().filter_map(|(name, value)| match value {
        Constant::U32(value) => Some(format!("const {name}: u32 = {value}u;")),
        Constant::F32(value) => Some(format!("const {name}: f32 = {value:?}f;")),
        Constant::Bool(value) => Some(format!("const {name}: bool = {value};")),
        Constant::Name(_) => None,
    }));
    lines.extend(rest.into_iter().map(String::from));
    lines.join("\n")
}

/// A source with what it imports, and what that imports, in place.
fn imported(name: &str, source: &str, constants: &[(&str, Constant)]) -> String {
    let mut wgsl = String::new();
    for line in source.lines() {
        match line.strip_prefix("#import ") {
            None => wgsl += line,
            Some(import) => {
                let chosen_by = CHOSEN_BY.iter().find(|(piece, _)| *piece == import);
                let constant = constants
                    .iter()
                    .find(|(name, _)| chosen_by.is_some_and(|(_, by)| by == name));
                let import = match constant {
                    Some((_, Constant::U32(number))) => format!("{import}{number}"),
                    Some((_, Constant::Name(name))) => format!("{import}_{name}"),
                    _ => import.to_string(),
                };
                let found = SHARED.iter().find(|(shared, _)| *shared == import);
                let (_, piece) = found.unwrap_or_else(|| panic!("{name}.wgsl imports {import}, which does not exist"));
                wgsl += &imported(name, piece, constants);
            }
        }
        wgsl.push('\n');
    }
    wgsl
}

impl Kernel {
    /// Compiles `source` (one file of `shaders/`) for these constants. A source that does not compile shows up in
    /// [`Gpu::check`].
    pub fn new(
        gpu: &Gpu,
        name: &'static str,
        source: &str,
        constants: &[(&str, Constant)],
        bindings: &[Access],
    ) -> Kernel {
        let wgsl = assemble(name, source, constants);
        #[cfg(test)]
        tests::check_sizes(name, &wgsl);
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(wgsl.into()),
        });
        let entries: Vec<_> = (bindings.iter().enumerate())
            .map(|(binding, access)| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage {
                        read_only: *access == Access::Read,
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(name),
            entries: &entries,
        });
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            // Browsers always clear workgroup memory; no kernel of ours needs it.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Kernel { name, pipeline, layout }
    }

    /// Ties buffers to the kernel's bindings, in order.
    pub fn bind(&self, gpu: &Gpu, buffers: &[wgpu::BindingResource]) -> wgpu::BindGroup {
        let entries: Vec<_> = (buffers.iter().enumerate())
            .map(|(binding, resource)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource: resource.clone(),
            })
            .collect();
        gpu.count(|counts| counts.bind_groups += 1);
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(self.name),
            layout: &self.layout,
            entries: &entries,
        })
    }
}

impl Dispatch<'_> {
    pub fn encode(&self, pass: &mut Pass) {
        pass.dispatch(self.kernel.name, |pass| {
            pass.set_pipeline(&self.kernel.pipeline);
            pass.set_bind_group(0, self.bind_group, &[]);
            match self.workgroups {
                Workgroups::Direct([x, y, z]) => pass.dispatch_workgroups(x, y, z),
                Workgroups::Indirect(buffer, offset) => pass.dispatch_workgroups_indirect(buffer, offset),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use wgpu::naga::{AddressSpace, Handle, Type, front::wgsl};

    /// What WGSL promises room for: in a thread's private variables, and in those of a function. WebKit refuses more.
    const PRIVATE_BYTES: u32 = 8192;
    /// WebGPU's default limit, which browsers hold kernels to.
    const WORKGROUP_BYTES: u32 = 16384;

    /// Every kernel that a test makes is held to both, since wgpu natively is not.
    pub fn check_sizes(name: &str, source: &str) {
        let module = wgsl::parse_str(source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
        let bytes = |ty: Handle<Type>| module.types[ty].inner.size(module.to_ctx());
        for (space, most) in [
            (AddressSpace::Private, PRIVATE_BYTES),
            (AddressSpace::WorkGroup, WORKGROUP_BYTES),
        ] {
            let variables = module.global_variables.iter().map(|(_, variable)| variable);
            let sizes = variables.filter(|variable| variable.space == space);
            let taken: u32 = sizes.map(|variable| bytes(variable.ty)).sum();
            assert!(taken <= most, "{name}: {taken} bytes in {space:?}");
        }
        let functions = module.functions.iter().map(|(_, function)| function);
        let entry_points = module.entry_points.iter().map(|entry_point| &entry_point.function);
        for function in functions.chain(entry_points) {
            let variables = function.local_variables.iter();
            let taken: u32 = variables.map(|(_, variable)| bytes(variable.ty)).sum();
            assert!(taken <= PRIVATE_BYTES, "{name}: {taken} bytes in {:?}", function.name);
        }
    }
}
