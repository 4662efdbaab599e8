//! Routed experts' matrices, turned around once they are on the GPU: they are published `[in, out]`, and the thread style
//! reads every matrix row by row.

use super::LayerLayout;
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

/// Turns one tensor of a layer: `[slot, rows, columns]` to `[slot, columns, rows]`.
pub struct Transpose {
    kernel: Kernel,
    workgroups: [u32; 3],
}

/// Of a layer with routed experts: the tensors to be turned, their rows and columns for each slot, and bits an element.
pub(super) fn turned(config: &ModelConfig) -> [(&'static str, [usize; 2], usize); 4] {
    let (hidden, expert) = (config.hidden_size, config.expert_size);
    [
        ("feed_forward.experts.gate_up_qweight", [hidden, 2 * expert], 4),
        ("feed_forward.experts.gate_up_scale", [hidden, 2 * expert / 32], 16),
        ("feed_forward.experts.down_qweight", [expert, hidden], 4),
        ("feed_forward.experts.down_scale", [expert, hidden / 32], 16),
    ]
}

impl Transpose {
    /// One for each tensor to be turned.
    pub fn of_layer(gpu: &Gpu, config: &ModelConfig, layout: &LayerLayout) -> [Transpose; 4] {
        turned(config).map(|(tensor, [rows, columns], bits)| {
            let constants = [
                ("LAYER_WORDS", layout.words().into()),
                ("FIRST", layout.at(tensor, 4).into()),
                ("ROWS", rows.into()),
                ("COLUMNS", columns.into()),
                ("BITS", bits.into()),
            ];
            let source = include_str!("../../shaders/transpose.wgsl");
            let side = 32 / bits;
            let squares = rows / side * columns.div_ceil(side);
            Transpose {
                kernel: Kernel::new(gpu, "transpose", source, &constants, &[Access::Read, Access::ReadWrite]),
                workgroups: [squares.div_ceil(64) as u32, config.experts as u32, 1],
            }
        })
    }

    /// `published`: a copy of the layer as the file has it.
    pub fn bind(&self, gpu: &Gpu, published: &wgpu::Buffer, layer: &wgpu::Buffer) -> wgpu::BindGroup {
        self.kernel
            .bind(gpu, &[published, layer].map(wgpu::Buffer::as_entire_binding))
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: self.workgroups.into(),
        }
    }
}

/// The twin: `[slots, rows, columns]` to `[slots, columns, rows]`, in place, of 4 or 16 `bits` an element.
#[cfg(test)]
pub fn transpose(stack: &mut [u8], [rows, columns]: [usize; 2], bits: usize) {
    let element = |bytes: &[u8], i: usize| match bits {
        4 => u16::from(bytes[i / 2] >> (4 * (i % 2)) & 15),
        _ => u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]),
    };
    for matrix in stack.chunks_exact_mut(rows * columns * bits / 8) {
        let published = matrix.to_vec();
        matrix.fill(0);
        for (i, (column, row)) in (0..columns).flat_map(|c| (0..rows).map(move |r| (c, r))).enumerate() {
            let value = element(&published, row * columns + column);
            match bits {
                4 => matrix[i / 2] |= (value as u8) << (4 * (i % 2)),
                _ => matrix[2 * i..][..2].copy_from_slice(&value.to_le_bytes()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LayerConfig,
        kernels::{Style, testing::*},
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(14);
        for hidden_size in [32, 96, 160, 384] {
            // Down's scales have an odd number of columns in three of them.
            let config = ModelConfig {
                hidden_size,
                ..config(&mut random)
            };
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let buffer = data.upload(&gpu);
            let published = data.upload(&gpu);
            for transpose in Transpose::of_layer(&gpu, &config, &data.layout) {
                run(&gpu, transpose.dispatch(&transpose.bind(&gpu, &published, &buffer)));
            }
            let twin = data.upload_for(Style::Thread, &gpu, &config);
            assert_eq!(read::<u32>(&gpu, &buffer), read::<u32>(&gpu, &twin));
        }
    }

    #[test]
    fn twice_is_as_published() {
        let mut random = fastrand::Rng::with_seed(15);
        for bits in [4, 16] {
            let mut stack: Vec<u8> = (0..3 * 64 * 5 * bits / 8).map(|_| random.u8(..)).collect();
            let published = stack.clone();
            transpose(&mut stack, [64, 5], bits);
            assert_ne!(stack, published);
            transpose(&mut stack, [5, 64], bits);
            assert_eq!(stack, published);
        }
        // Nibbles 0..6 in rows of 3: read by columns.
        let mut bytes = vec![0x10, 0x32, 0x54];
        transpose(&mut bytes, [2, 3], 4);
        assert_eq!(bytes, [0x30, 0x41, 0x52]);
    }
}
