//! Prefill: the tokens' choices put in order of their experts, so that tokens which chose the same expert share a read of
//! its weights.

use super::{
    Choice, EMPTY_SLOT, Form, LARGEST_TILE, LayerShape, PREFILL_TILE, experts_up::ExpertsUp, routed_down::RoutedDown,
};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel, Workgroups},
};

pub struct Group(Kernel);

/// The tiles of entries that a kernel computes, of those that [`Group`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiles {
    /// As large as the form's.
    Whole,
    /// Smaller ones, where an expert has no more entries left over.
    Rests,
}

impl Tiles {
    /// Those that there are: no rests where the form's tiles are small.
    pub fn of(form: Form) -> &'static [Tiles] {
        if form.tile > PREFILL_TILE {
            &[Tiles::Whole, Tiles::Rests]
        } else {
            &[Tiles::Whole]
        }
    }

    /// The shape with the tile that these have.
    pub(super) fn shape<'a>(self, shape: &LayerShape<'a>) -> LayerShape<'a> {
        let tile = match self {
            Tiles::Whole => shape.form.tile,
            Tiles::Rests => PREFILL_TILE,
        };
        LayerShape {
            form: Form { tile, ..shape.form },
            ..*shape
        }
    }

    /// Where they begin in the order.
    pub(super) fn first_entry(self, config: &ModelConfig, tokens: usize) -> usize {
        match self {
            Tiles::Whole => 0,
            Tiles::Rests => rests_at(config, tokens),
        }
    }

    /// The grid of `experts_up`.
    pub fn up_grid(self, grids: &wgpu::Buffer) -> Workgroups<'_> {
        Workgroups::Indirect(grids, self as u64 * GRIDS_BYTES / 2)
    }

    /// The grid of `routed_down`.
    pub fn down_grid(self, grids: &wgpu::Buffer) -> Workgroups<'_> {
        Workgroups::Indirect(grids, self as u64 * GRIDS_BYTES / 2 + 12)
    }
}

impl Group {
    /// For a layer with routed experts.
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> Group {
        let LayerShape {
            config, tokens, form, ..
        } = *shape;
        let [up, down] = grid_widths(shape, Tiles::Whole);
        let [up_rest, down_rest] = grid_widths(shape, Tiles::Rests);
        let constants = [
            ("TOKENS", tokens.into()),
            ("TILE", form.tile.into()),
            ("REST", PREFILL_TILE.min(form.tile).into()),
            ("RESTS_AT", rests_at(config, tokens).into()),
            ("EXPERTS", config.experts.into()),
            ("CHOSEN", config.experts_per_token.into()),
            ("UP_WORKGROUPS", up.into()),
            ("DOWN_WORKGROUPS", down.into()),
            ("UP_REST_WORKGROUPS", up_rest.into()),
            ("DOWN_REST_WORKGROUPS", down_rest.into()),
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

/// Workgroups of `experts_up` and of `routed_down` for one tile of entries.
fn grid_widths(shape: &LayerShape, of: Tiles) -> [usize; 2] {
    let shape = &of.shape(shape);
    [ExpertsUp::routed_workgroups(shape), RoutedDown::workgroups(shape)].map(|workgroups| workgroups as usize)
}

/// Bytes of the buffer of grids: of `experts_up` and of `routed_down`, then of both for the rests.
pub const GRIDS_BYTES: u64 = 48;

/// The most entries in order that `tokens` tokens can make: each expert may leave its last tile unfilled, and may have a rest.
pub fn order_len(config: &ModelConfig, tokens: usize) -> usize {
    rests_at(config, tokens) + config.experts * PREFILL_TILE
}

/// Where the rests begin.
fn rests_at(config: &ModelConfig, tokens: usize) -> usize {
    (tokens * config.experts_per_token + config.experts * (LARGEST_TILE - 1)).next_multiple_of(LARGEST_TILE)
}

/// The twin: tiles of `tile` entries (token * chosen + k) that share an expert, [`EMPTY_SLOT`] where a tile is not full; and
/// smaller ones for what is left over of an expert, where that fits.
pub fn group(config: &ModelConfig, choices: &[Choice], tile: usize) -> [Vec<Vec<u32>>; 2] {
    let (mut tiles, mut rests) = (Vec::new(), Vec::new());
    for expert in 0..config.experts as u32 {
        let entries: Vec<u32> = (choices.iter().enumerate())
            .filter(|(_, choice)| choice.expert == expert && choice.slot != EMPTY_SLOT)
            .map(|(entry, _)| entry as u32)
            .collect();
        for entries in entries.chunks(tile) {
            let is_rest = entries.len() <= PREFILL_TILE && tile > PREFILL_TILE;
            let (of_size, size) = if is_rest {
                (&mut rests, PREFILL_TILE)
            } else {
                (&mut tiles, tile)
            };
            of_size.push([entries, &vec![EMPTY_SLOT; size - entries.len()]].concat());
        }
    }
    [tiles, rests]
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
            if case % 4 == 2 {
                // Experts with so many entries, all others with none.
                let counts = [4, 5, 8, 12, 13].into_iter().enumerate();
                let experts = counts.flat_map(|(expert, entries)| vec![expert as u32; entries]);
                let rest = experts.chain(std::iter::repeat(7));
                for (choice, expert) in choices.iter_mut().zip(rest) {
                    (choice.expert, choice.slot) = (expert, expert);
                }
            }
            if case % 4 == 3 {
                // Nothing to compute.
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
            let [twin, rests] = group(&config, &choices, tile);
            for (entries, twin) in order.chunks_exact(tile).zip(&twin) {
                assert_eq!(entries, twin);
            }
            let rest_order = &order[rests_at(&config, count)..];
            for (entries, twin) in rest_order.chunks_exact(PREFILL_TILE).zip(&rests) {
                assert_eq!(entries, twin);
            }
            let grids: Vec<u32> = read(&gpu, &grids);
            for (of, tiles, grids) in [(Tiles::Whole, &twin, &grids[..6]), (Tiles::Rests, &rests, &grids[6..])] {
                let [up, down] = grid_widths(&shape, of).map(|width| width as u32);
                assert_eq!(grids, [up, tiles.len() as u32, 1, down, tiles.len() as u32, 1]);
            }
        }
    }
}
