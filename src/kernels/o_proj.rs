//! x += attended Wo^T; what the splits of the cache attended to is put together on the way.

use super::{
    Block, LayerShape, Matrix,
    attention::{self, Splits, window},
    tiles,
};
use crate::gpu::{Access, Dispatch, Gpu, Kernel};

pub struct OProj {
    kernel: Kernel,
    workgroups: u32,
    tile: usize,
}

impl OProj {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> OProj {
        let LayerShape {
            config,
            layer,
            layout,
            form,
            tokens,
            ..
        } = *shape;
        let block = Block {
            rows: 32,
            inputs: config.query_size(),
        };
        let rows = 32 * form.blocks_in_prefill(config.hidden_size / 32, block, 5120);
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("TOKENS", tokens.into()),
            ("ATTENDED_ROWS", attention::rows(tokens).into()),
            ("ROWS", rows.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("QUERY_HEADS", config.query_heads.into()),
            ("WINDOW", window(layer).into()),
            ("WO", layout.at("self_attn.o_proj.qweight", 16).into()),
            ("WO_SCALE", layout.at("self_attn.o_proj.weight_scale", 2).into()),
        ];
        let constants = [form.constants(gpu).as_slice(), &constants].concat();
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
        ];
        let source = form.style.source(
            include_str!("../../shaders/o_proj.wgsl"),
            include_str!("../../shaders/thread/o_proj.wgsl"),
        );
        let constants = [&constants[..], &Splits::new(form, config.query_heads).constants()].concat();
        let blocks = config.hidden_size / rows;
        OProj {
            kernel: Kernel::new(gpu, "o_proj", source, &constants, &bindings),
            workgroups: form.workgroups(blocks, blocks),
            tile: form.tile,
        }
    }

    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        attended: &wgpu::Buffer,
        softmax: &wgpu::Buffer,
        x: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.kernel.bind(
            gpu,
            &[step, layer, layer, attended, softmax, x].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.workgroups, tiles(count, self.tile), 1].into(),
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
        kernels::{Form, Inputs, KvFormat, testing::*},
    };

    /// `attended`, `softmax` and `x`.
    fn compute(
        gpu: &Gpu,
        shape: &LayerShape,
        data: &LayerData,
        position: usize,
        count: usize,
        inputs: [&[f32]; 3],
    ) -> Vec<f32> {
        let [found, softmax, x] = inputs.map(|values| gpu.upload("inputs", values));
        let attended = gpu.storage(
            "attended",
            (attention::rows(count) * shape.config.query_size() * 4) as u64,
        );
        let mut commands = gpu.commands();
        commands.copy(&found, &attended, found.size());
        commands.submit();
        let kernel = OProj::new(gpu, shape);
        let step = step(gpu, position, count);
        let bind_group = kernel.bind(gpu, &step, &data.upload(gpu), &attended, &softmax, &x);
        run(gpu, kernel.dispatch(&bind_group, count));
        read(gpu, &x)
    }

    #[test]
    fn int8_is_exact_where_inputs_are() {
        let (gpu, mut random) = setup(14);
        let integers = |form: &Form| matches!(form.inputs, Inputs::Int8 | Inputs::Packed);
        let forms: Vec<Form> = forms(&gpu).into_iter().filter(integers).collect();
        assert!(!forms.is_empty());
        let config = config(&mut random);
        let layer = LayerConfig {
            rope: true,
            moe: true,
            window: None,
        };
        let data = LayerData::new(&mut random, &config, layer);
        for form in forms {
            let count = if form.tile == 1 { 1 } else { 11 };
            let heads = count * config.query_heads;
            let attended = exact_in_int8(&mut random, heads * 64);
            let softmax = [0.0, 1.0].repeat(heads);
            let mut x = vec![0.0; count * config.hidden_size];
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form,
                tokens: count,
            };
            let found = compute(&gpu, &shape, &data, 0, count, [&attended, &softmax, &x]);
            let tensors = data.tensors(&config, layer, Inputs::F32);
            o_proj(&tensors.o, &attended, config.hidden_size, &mut x);
            assert_close(&found, &x, 1e-5);
        }
    }

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(4);
        let forms = forms(&gpu);
        for case in 0..2 * forms.len() {
            let form = forms[case / 2];
            let mut config = config_of(&mut random, case % 2 == 0);
            if case == 0 {
                config.query_heads = config.kv_heads * 70; // more than fit workgroup memory
            }
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: [None, Some([1, 100, 300][random.usize(..3)])][random.usize(..2)],
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = if form.tile == 1 { 1 } else { random.usize(1..10) };
            let position = [0, 5, 70, 2000][random.usize(..4)];
            let splits = Splits::new(form, config.query_heads).of((position + count).min(window(layer)));
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form,
                tokens: count,
            };
            let heads = count * config.query_heads;
            let attended = floats(&mut random, splits * heads * 64, 1.0);
            let softmax: Vec<[f32; 2]> = (0..splits * heads)
                .map(|_| [random.f32() * 9.0, random.f32() + 0.1])
                .collect();
            let mut x = floats(&mut random, count * config.hidden_size, 1.0);
            let found = compute(
                &gpu,
                &shape,
                &data,
                position,
                count,
                [&attended, softmax.as_flattened(), &x],
            );
            let joined = join_splits(&attended, &softmax, splits, heads);
            o_proj(
                &data.tensors(&config, layer, form.inputs).o,
                &joined,
                config.hidden_size,
                &mut x,
            );
            assert_close(&found, &x, tolerance(form.inputs));
        }
    }
}
