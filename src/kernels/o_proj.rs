//! x += attended Wo^T.

use super::{LayerShape, Matrix, tiles};
use crate::gpu::{Access, Dispatch, Gpu, Kernel};

pub struct OProj {
    kernel: Kernel,
    hidden: usize,
    tile: usize,
}

impl OProj {
    const ROWS: usize = 32;

    pub fn new(gpu: &Gpu, shape: &LayerShape) -> OProj {
        let LayerShape {
            config, layout, tile, ..
        } = *shape;
        let constants = [
            ("TILE", tile.into()),
            ("ROWS", Self::ROWS.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("QUERY_HEADS", config.query_heads.into()),
            ("WO", layout.at("self_attn.o_proj.qweight", 16).into()),
            ("WO_SCALE", layout.at("self_attn.o_proj.weight_scale", 2).into()),
        ];
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
        ];
        let source = include_str!("../../shaders/o_proj.wgsl");
        OProj {
            kernel: Kernel::new(gpu, "o_proj", source, &constants, &bindings),
            hidden: config.hidden_size,
            tile,
        }
    }

    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        attended: &wgpu::Buffer,
        x: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.kernel.bind(
            gpu,
            &[step, layer, layer, attended, x].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        let workgroups = [(self.hidden / Self::ROWS) as u32, tiles(count, self.tile), 1];
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups,
        }
    }
}

/// The twin. `attended` `[tokens, query_heads * 64]` is projected and added to `x` `[tokens, hidden]`.
pub fn o_proj(o: &Matrix, attended: &[f32], hidden: usize, x: &mut [f32]) {
    for (x, projected) in x.iter_mut().zip(o.linear(attended, hidden)) {
        *x += projected;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LayerConfig,
        kernels::{KvFormat, testing::*},
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(4);
        for case in 0..8 {
            let config = config(&mut random);
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = random.usize(1..10);
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                tile: [1, 4][case % 2],
            };
            let attended = floats(&mut random, count * config.query_heads * 64, 1.0);
            let mut x = floats(&mut random, count * config.hidden_size, 1.0);
            let x_buffer = gpu.upload("x", &x);
            let kernel = OProj::new(&gpu, &shape);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, 5, count),
                &data.upload(&gpu),
                &gpu.upload("attended", &attended),
                &x_buffer,
            );
            run(&gpu, kernel.dispatch(&bind_group, count));
            o_proj(&data.tensors(&config, layer).o, &attended, config.hidden_size, &mut x);
            assert_close(&read(&gpu, &x_buffer), &x, 1e-4);
        }
    }
}
