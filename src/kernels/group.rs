//! Prefill: the tokens' choices put in order of their experts, so that tokens which chose the same expert share a read of
//! its weights.

use super::{Choice, EMPTY_SLOT, LARGEST_TILE, LayerShape, experts_up::ExpertsUp, routed_down::RoutedDown};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel, Workgroups},
};

pub struct Group(Kernel);

impl Group {
    /// For a layer with routed experts.
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> Group {
        let config = shape.config;
        let constants = [
            ("TILE", shape.form.tile.into()),
            ("EXPERTS", config.experts.into()),
            ("CHOSEN", config.experts_per_token.into()),
            ("UP_WORKGROUPS", (ExpertsUp::workgroups(shape) as usize).into()),
            ("DOWN_WORKGROUPS", (RoutedDown::workgroups(shape) as usize).into()),
        ];
        let bindings = [Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite];
        let source = include_str!("../../shaders/group.wgsl");
        Group(Kernel::new(gpu, "group", source, &constants, &bindings))
    }

    /// `order` has room for [`order_len`] words.
    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        choices: wgpu::BindingResource,
        order: &wgpu::Buffer,
        grids: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let [step, order, grids] = [step, order, grids].map(wgpu::Buffer::as_entire_binding);
        self.0.bind(gpu, &[step, choices, order, grids])
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.0,
            bind_group,
            workgroups: [1, 1, 1].into(),
        }
    }
}

/// Bytes of the buffer of grids.
pub const GRIDS_BYTES: u64 = 24;

/// The grid of `experts_up`, of the two in the buffer.
pub fn up_grid(grids: &wgpu::Buffer) -> Workgroups<'_> {
    Workgroups::Indirect(grids, 0)
}

/// The grid of `routed_down`.
pub fn down_grid(grids: &wgpu::Buffer) -> Workgroups<'_> {
    Workgroups::Indirect(grids, 12)
}

/// The most entries in order that `tokens` tokens can make: each expert may leave its last tile unfilled.
pub fn order_len(config: &ModelConfig, tokens: usize) -> usize {
    tokens * config.experts_per_token + config.experts * (LARGEST_TILE - 1) + tokens.next_multiple_of(LARGEST_TILE)
}

/// The twin: tiles of `tile` entries (token * chosen + k) that share an expert, [`EMPTY_SLOT`] where a tile is not full.
pub fn group(config: &ModelConfig, choices: &[Choice], tile: usize) -> Vec<Vec<u32>> {
    let mut tiles = Vec::new();
    for expert in 0..config.experts as u32 {
        let entries: Vec<u32> = (choices.iter().enumerate())
            .filter(|(_, choice)| choice.expert == expert && choice.slot != EMPTY_SLOT)
            .map(|(entry, _)| entry as u32)
            .collect();
        tiles.extend(entries.chunks(tile).map(|entries| {
            let empty = vec![EMPTY_SLOT; tile - entries.len()];
            [entries, &empty].concat()
        }));
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LayerConfig,
        kernels::{Form, KvFormat, PREFILL_TILE, testing::*},
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(11);
        for case in 0..8 {
            let config = config(&mut random);
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = [1, 3, 40, 130][case % 4];
            let tile = [PREFILL_TILE, LARGEST_TILE][case / 4];
            let form = Form {
                tile,
                ..Form::WORKGROUP
            };
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form,
                tokens: count,
            };
            let mut choices = random_choices(&mut random, &config, layer, count);
            if case % 4 == 3 {
                // Nothing to compute: all that is left are the shared expert's tiles.
                choices.iter_mut().for_each(|choice| choice.slot = EMPTY_SLOT);
            }
            let order = gpu.storage("order", 4 * order_len(&config, count) as u64);
            let grids = gpu.storage("grids", GRIDS_BYTES);
            let kernel = Group::new(&gpu, &shape);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, 5, count),
                gpu.upload("choices", &choices).as_entire_binding(),
                &order,
                &grids,
            );
            run(&gpu, kernel.dispatch(&bind_group));
            let order: Vec<u32> = read(&gpu, &order);
            let twin = group(&config, &choices, tile);
            for (entries, twin) in order.chunks_exact(tile).zip(&twin) {
                assert_eq!(entries, twin);
            }
            let grids: Vec<u32> = read(&gpu, &grids);
            let tiles = twin.len().max(count.div_ceil(tile)) as u32;
            let (up, down) = (ExpertsUp::workgroups(&shape), RoutedDown::workgroups(&shape));
            assert_eq!(grids[..6], [up, tiles, 1, down, tiles, 1]);
            for empty in twin.len()..tiles as usize {
                assert_eq!(order[empty * tile], EMPTY_SLOT);
            }
        }
    }
}
