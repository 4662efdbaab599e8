//! The model on the GPU: its kernels, their buffers, and the forward pass.

use super::{KvCache, Plan, Progress, Remembered, Stage, variant::fastest_variant, weights::Weights};
use crate::{
    ModelConfig, Result,
    checkpoint::{Checkpoint, Repository},
    config::LayerConfig,
    gpu::{Gpu, Pass, Requirements},
    kernels::{
        Choice, Form, KvFormat, LayerShape, Step, Variant,
        attention::{self, Attention},
        embed::Embed,
        experts_down::ExpertsDown,
        experts_up::{ExpertsUp, activation_width},
        group::{self, Group, Tiles},
        lm_head::LmHead,
        logprob::{Logprob, Scored},
        o_proj::OProj,
        qkv::Qkv,
        rope,
        route::Route,
        routed_down::RoutedDown,
        sample::{Chosen, Sample, Sampling},
    },
};

/// How much of a model to make room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOptions {
    /// Longest context in tokens; `None`: what the model was made for.
    pub context_length: Option<usize>,
    /// Most tokens of a prompt in one submit: a long one would look to the system like a hung GPU.
    pub chunk_tokens: usize,
    pub kv: KvFormat,
    /// On the adapter that saves power, where there are several.
    pub low_power: bool,
    /// The forms of the kernels; `None`: what was remembered, else measured.
    pub variant: Option<Variant>,
    /// What was measured on this adapter before. Passed over where it no longer runs.
    pub remembered: Remembered,
}

impl Default for ModelOptions {
    fn default() -> Self {
        ModelOptions {
            context_length: None,
            chunk_tokens: 128,
            kv: KvFormat::F16,
            low_power: false,
            variant: None,
            remembered: Remembered::default(),
        }
    }
}

/// A model whose weights are on the GPU.
pub struct Model {
    pub config: ModelConfig,
    pub plan: Plan,
    pub variant: Variant,
    /// What is known of the adapter, this variant included if it was not asked for.
    pub(crate) remembered: Remembered,
    pub(crate) gpu: Gpu,
    kernels: Kernels,
    pub(crate) scratch: Scratch,
    weights: Weights,
    binds: Binds,
}

/// Every pipeline. Those that share a read of the weights among tokens exist for one token and for a tile, the routed experts'
/// for each kind of tiles.
struct Kernels {
    embed: Embed,
    decode: Tiled,
    prefill: Tiled,
    sample: Sample,
    logprob: Logprob,
}

struct Tiled {
    layers: Vec<(LayerConfig, LayerKernels)>,
    lm_head: LmHead,
}

struct LayerKernels {
    qkv: Qkv,
    attention: Attention,
    o_proj: OProj,
    route: Route,
    experts_up: ExpertsUp,
    experts_down: ExpertsDown,
    /// In prefill, where there are routed experts: tokens that chose the same one share a read of it.
    grouped: Option<Grouped>,
}

struct Grouped {
    group: Group,
    /// The routed experts' two kernels, for each kind of tiles.
    routed: Vec<(Tiles, ExpertsUp, RoutedDown)>,
}

/// What passes from kernel to kernel, and between the host and the GPU.
pub(crate) struct Scratch {
    pub step: wgpu::Buffer,
    pub tokens: wgpu::Buffer,
    pub sampling: wgpu::Buffer,
    pub logits: wgpu::Buffer,
    pub chosen: wgpu::Buffer,
    pub fault: wgpu::Buffer,
    /// `[layers][chunk_tokens, experts_per_token]`, each layer on a 256-byte border.
    pub choices: wgpu::Buffer,
    pub targets: wgpu::Buffer,
    pub scored: wgpu::Buffer,
    x: wgpu::Buffer,
    h: wgpu::Buffer,
    query: wgpu::Buffer,
    attended: wgpu::Buffer,
    softmax: wgpu::Buffer,
    activation: wgpu::Buffer,
    order: wgpu::Buffer,
    grids: wgpu::Buffer,
    routed: wgpu::Buffer,
    rope: wgpu::Buffer,
    /// `[layers][experts + 1]`, each layer on a 256-byte border: slots, then the layer's index.
    page_table: wgpu::Buffer,
}

struct Binds {
    embed: wgpu::BindGroup,
    layers: Vec<LayerBinds>,
    lm_head: wgpu::BindGroup,
    sample: wgpu::BindGroup,
    logprob: wgpu::BindGroup,
}

struct LayerBinds {
    o_proj: wgpu::BindGroup,
    route: wgpu::BindGroup,
    experts_up: wgpu::BindGroup,
    experts_down: wgpu::BindGroup,
    grouped: Option<(wgpu::BindGroup, wgpu::BindGroup)>,
}

impl Model {
    /// Opens a device that can hold the model, compiles its kernels and streams its weights to the GPU.
    pub async fn load<R: Repository>(
        checkpoint: &Checkpoint<R>,
        options: &ModelOptions,
        progress: Progress<'_>,
    ) -> Result<Model> {
        let config = checkpoint.config().clone();
        let context_length = options.context_length.unwrap_or(config.max_positions);
        let plan = Plan::new(&config, context_length, options.chunk_tokens, options.kv);
        let requirements = Requirements {
            low_power: options.low_power,
            ..plan.requirements
        };
        let gpu = Gpu::open(requirements).await?;
        let features = gpu.features().await?;
        let mut remembered = options.remembered.clone();
        let known = remembered.of(&config).filter(|variant| variant.check(features).is_ok());
        let variant = match options.variant.or(known) {
            Some(variant) => variant,
            None => {
                progress(Stage::Measuring, 0, 1);
                fastest_variant(&gpu, features, &config).await?
            }
        };
        variant.check(features)?;
        progress(Stage::Compiling, 0, 1);
        let make = async |variant| {
            gpu.guard("the kernels", || Kernels::new(&gpu, &config, &plan, variant))
                .await
        };
        let plain = Variant::of(Form::WORKGROUP);
        let (variant, kernels) = match make(variant).await {
            // A form that did well on a small LM head may still not compile for this model.
            Err(_) if options.variant.is_none() && variant != plain => (plain, make(plain).await?),
            kernels => (variant, kernels?),
        };
        if options.variant.is_none() {
            remembered.put(&config, variant);
        }
        progress(Stage::Compiling, 1, 1);
        let scratch = gpu.guard("activations", || Scratch::new(&gpu, &config, &plan)).await?;
        let weights = Weights::load(&gpu, &plan, variant.style(), checkpoint, progress).await?;
        let binds = gpu
            .guard("bind groups", || {
                Binds::new(&gpu, &config, &plan, &kernels, &scratch, &weights)
            })
            .await?;
        Ok(Model {
            config,
            plan,
            variant,
            remembered,
            gpu,
            kernels,
            scratch,
            weights,
            binds,
        })
    }

    /// Submits one compute pass. With a `step` the pass starts from it, without from where the pass before left off.
    /// What it chose is copied to `chosen`, if given.
    pub(crate) fn submit(&self, step: Option<Step>, chosen: Option<&wgpu::Buffer>, encode: impl FnOnce(&mut Pass)) {
        if let Some(step) = step {
            self.gpu.write(&self.scratch.step, 0, bytemuck::bytes_of(&step));
        }
        let mut commands = self.gpu.commands();
        commands.pass(encode);
        if let Some(staging) = chosen {
            commands.copy(&self.scratch.chosen, staging, size_of::<Chosen>() as u64);
        }
        commands.submit();
    }

    /// One pass over `count` tokens from `position` on: ids in `scratch.tokens`, the rest of the job in `scratch.step`.
    /// Ends with the residual stream of every token in `scratch.x`.
    pub(crate) fn forward(&self, pass: &mut Pass, cache: &KvCache, position: usize, count: usize) {
        let tiled = if count == 1 {
            &self.kernels.decode
        } else {
            &self.kernels.prefill
        };
        self.kernels.embed.dispatch(&self.binds.embed, count).encode(pass);
        for (i, layer) in self.config.layers.iter().enumerate() {
            let kernels = tiled.layer(*layer);
            let binds = &self.binds.layers[i];
            kernels.qkv.dispatch(cache.qkv(i), count).encode(pass);
            kernels
                .attention
                .dispatch(cache.attention(i), position, count)
                .encode(pass);
            kernels.o_proj.dispatch(&binds.o_proj, count).encode(pass);
            kernels.route.dispatch(&binds.route, count).encode(pass);
            kernels.experts_up.dispatch(&binds.experts_up, count).encode(pass);
            if let (Some(grouped), Some((group, routed_down))) = (&kernels.grouped, &binds.grouped) {
                let grids = &self.scratch.grids;
                grouped.group.dispatch(group).encode(pass);
                for (of, up, _) in &grouped.routed {
                    up.dispatch_grid(&binds.experts_up, of.up_grid(grids)).encode(pass);
                }
                for (of, _, down) in &grouped.routed {
                    down.dispatch(routed_down, of.down_grid(grids)).encode(pass);
                }
            }
            kernels.experts_down.dispatch(&binds.experts_down, count).encode(pass);
        }
    }

    /// Logits of the `rows` rows that the step names, into `scratch.logits` `[rows, vocab]`.
    pub(crate) fn head(&self, pass: &mut Pass, rows: usize) {
        let tiled = if rows == 1 {
            &self.kernels.decode
        } else {
            &self.kernels.prefill
        };
        tiled.lm_head.dispatch(&self.binds.lm_head, rows).encode(pass);
    }

    /// Chooses a token from the first row of logits, and sets the step and the token for the pass after.
    pub(crate) fn sample(&self, pass: &mut Pass) {
        self.kernels.sample.dispatch(&self.binds.sample).encode(pass);
    }

    /// The kernel of [`Model::sample`], to choose from logits of one's own.
    pub(crate) fn sample_kernel(&self) -> &Sample {
        &self.kernels.sample
    }

    /// Scores `scratch.targets` `[rows]` under the logits, into `scratch.scored` `[rows, target and likeliest]`.
    pub(crate) fn logprob(&self, pass: &mut Pass, rows: usize) {
        self.kernels.logprob.dispatch(&self.binds.logprob, rows).encode(pass);
    }

    /// All weights, buffer by buffer.
    pub(crate) fn weight_buffers(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        self.weights.buffers()
    }

    /// Dispatches for one decoded token.
    pub fn dispatches_per_token(&self) -> usize {
        6 * self.config.layers.len() + 3
    }

    /// Where layer `layer`'s choices begin in `scratch.choices`, in bytes.
    pub(crate) fn choices_offset_bytes(&self, layer: usize) -> u64 {
        layer as u64 * choices_stride_bytes(&self.config, &self.plan)
    }

    /// The two bind groups of a layer that see a cache.
    pub(super) fn bind_cache(&self, layer: usize, cache: &wgpu::Buffer) -> (wgpu::BindGroup, wgpu::BindGroup) {
        let Scratch {
            step,
            x,
            rope,
            query,
            attended,
            softmax,
            ..
        } = &self.scratch;
        let kernels = self.kernels.decode.layer(self.config.layers[layer]);
        (
            kernels
                .qkv
                .bind(&self.gpu, step, &self.weights.layers[layer], x, rope, query, cache),
            kernels.attention.bind(&self.gpu, step, query, cache, attended, softmax),
        )
    }
}

impl Kernels {
    fn new(gpu: &Gpu, config: &ModelConfig, plan: &Plan, variant: Variant) -> Kernels {
        Kernels {
            embed: Embed::new(gpu, config),
            decode: Tiled::new(gpu, config, plan, variant.decode),
            prefill: Tiled::new(gpu, config, plan, variant.prefill),
            sample: Sample::new(gpu, config),
            logprob: Logprob::new(gpu, config, 1),
        }
    }
}

impl Tiled {
    fn new(gpu: &Gpu, config: &ModelConfig, plan: &Plan, form: Form) -> Tiled {
        let tokens = Plan::rows(plan.chunk_tokens);
        let of_kind = |layer: LayerConfig, layout| {
            let shape = LayerShape {
                config,
                layer,
                layout,
                kv: plan.kv,
                form,
                tokens,
            };
            LayerKernels {
                qkv: Qkv::new(gpu, &shape),
                attention: Attention::new(gpu, &shape),
                o_proj: OProj::new(gpu, &shape),
                route: Route::new(gpu, &shape),
                experts_up: ExpertsUp::new(gpu, &shape),
                experts_down: ExpertsDown::new(gpu, &shape),
                grouped: (form.tile > 1 && layer.moe).then(|| Grouped {
                    group: Group::new(gpu, &shape),
                    routed: (Tiles::of(form).iter())
                        .map(|&of| (of, ExpertsUp::routed(gpu, &shape, of), RoutedDown::new(gpu, &shape, of)))
                        .collect(),
                }),
            }
        };
        Tiled {
            layers: plan
                .kinds
                .iter()
                .map(|(layer, layout)| (*layer, of_kind(*layer, layout)))
                .collect(),
            lm_head: LmHead::new(
                gpu,
                [tokens, config.hidden_size, config.vocab_size],
                config.rms_norm_eps,
                form,
            ),
        }
    }

    fn layer(&self, layer: LayerConfig) -> &LayerKernels {
        let kind = self.layers.iter().find(|(kind, _)| *kind == layer);
        &kind.expect("kernels were made for every kind of layer").1
    }
}

/// Buffers seen in parts begin at multiples of this (WebGPU's default minStorageBufferOffsetAlignment).
const OFFSET_BYTES: u64 = 256;

fn choices_stride_bytes(config: &ModelConfig, plan: &Plan) -> u64 {
    ((Plan::rows(plan.chunk_tokens) * config.experts_per_token * size_of::<Choice>()) as u64)
        .next_multiple_of(OFFSET_BYTES)
}

fn page_table_stride_bytes(config: &ModelConfig) -> u64 {
    (4 * (config.experts as u64 + 1)).next_multiple_of(OFFSET_BYTES)
}

impl Scratch {
    fn new(gpu: &Gpu, config: &ModelConfig, plan: &Plan) -> Scratch {
        let rows = |name: &str, width: usize| gpu.storage(name, (Plan::rows(plan.chunk_tokens) * width * 4) as u64);
        let attended_rows = attention::rows(Plan::rows(plan.chunk_tokens));
        let layers = config.layers.len() as u64;
        let activation = config
            .layers
            .iter()
            .map(|layer| activation_width(config, *layer))
            .max()
            .unwrap_or(0);
        let scratch = Scratch {
            step: gpu.storage("step", size_of::<Step>() as u64),
            tokens: gpu.storage("tokens", (plan.chunk_tokens * 4) as u64),
            sampling: gpu.upload("sampling", &[Sampling::default()]),
            logits: gpu.storage("logits", (plan.logits_rows * config.vocab_size * 4) as u64),
            chosen: gpu.storage("chosen", size_of::<Chosen>() as u64),
            fault: gpu.storage("fault", 4),
            choices: gpu.storage("choices", layers * choices_stride_bytes(config, plan)),
            targets: gpu.storage("targets", (plan.logits_rows * 4) as u64),
            scored: gpu.storage("scored", (plan.logits_rows * 2 * size_of::<Scored>()) as u64),
            x: rows("x", config.hidden_size),
            h: rows("h", config.hidden_size),
            query: rows("query", config.query_size()),
            attended: gpu.storage("attended", (attended_rows * config.query_size() * 4) as u64),
            softmax: gpu.storage("softmax", (attended_rows * config.query_heads * 8) as u64),
            activation: rows("activation", activation),
            order: gpu.storage(
                "order",
                4 * group::order_len(config, Plan::rows(plan.chunk_tokens)) as u64,
            ),
            grids: gpu.grids("grids", group::GRIDS_BYTES),
            routed: rows("routed", config.experts_per_token * config.hidden_size),
            rope: gpu.upload("rope", &rope::table(config, plan.context_length)),
            page_table: gpu.storage("page table", layers * page_table_stride_bytes(config)),
        };
        // Every expert is resident: its slot is its number.
        for layer in 0..layers {
            let table: Vec<u32> = (0..config.experts as u32).chain([layer as u32]).collect();
            let offset = layer * page_table_stride_bytes(config);
            gpu.write(&scratch.page_table, offset, bytemuck::cast_slice(&table));
        }
        scratch
    }
}

impl Binds {
    fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        plan: &Plan,
        kernels: &Kernels,
        scratch: &Scratch,
        weights: &Weights,
    ) -> Binds {
        let Scratch {
            step,
            tokens,
            sampling,
            logits,
            chosen,
            fault,
            targets,
            scored,
            ..
        } = scratch;
        let Scratch {
            x,
            h,
            attended,
            softmax,
            activation,
            order,
            grids,
            routed,
            ..
        } = scratch;
        let [embedding, head] = [&weights.embedding, &weights.head].map(|[q, scale]| [q, scale]);
        let layers = (config.layers.iter().zip(&weights.layers).enumerate())
            .map(|(i, (layer, weights))| {
                let (kernels, prefill) = (kernels.decode.layer(*layer), kernels.prefill.layer(*layer));
                let choices = part(&scratch.choices, i, choices_stride_bytes(config, plan));
                let page_table = part(&scratch.page_table, i, page_table_stride_bytes(config));
                LayerBinds {
                    o_proj: kernels.o_proj.bind(gpu, step, weights, attended, softmax, x),
                    route: kernels
                        .route
                        .bind(gpu, step, weights, x, page_table, h, choices.clone(), fault),
                    experts_up: kernels
                        .experts_up
                        .bind(gpu, step, weights, order, h, choices.clone(), activation),
                    experts_down: kernels
                        .experts_down
                        .bind(gpu, step, weights, routed, activation, choices.clone(), x),
                    grouped: prefill.grouped.as_ref().map(|grouped| {
                        let group = grouped.group.bind(gpu, step, choices.clone(), order, grids);
                        let (_, _, routed_down) = &grouped.routed[0];
                        (
                            group,
                            routed_down.bind(gpu, weights, order, activation, choices, routed),
                        )
                    }),
                }
            })
            .collect();
        Binds {
            embed: kernels.embed.bind(gpu, step, tokens, embedding, x),
            layers,
            lm_head: kernels.decode.lm_head.bind(gpu, step, head, &weights.norm, x, logits),
            sample: kernels.sample.bind(gpu, step, logits, sampling, fault, tokens, chosen),
            logprob: kernels.logprob.bind(gpu, logits, targets, scored),
        }
    }
}

/// The `index`-th of a buffer's equal parts.
fn part(buffer: &wgpu::Buffer, index: usize, stride_bytes: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset: index as u64 * stride_bytes,
        size: wgpu::BufferSize::new(stride_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::synth::{SHAPES, Synth},
        kernels::testing::full,
    };

    /// Making a kernel in a test checks what it takes of private and workgroup memory: here for the sizes of real models.
    #[test]
    fn every_shape_fits_the_memory_of_a_thread() {
        let gpu = pollster::block_on(Gpu::open(Requirements::default())).unwrap();
        let features = pollster::block_on(gpu.features()).unwrap();
        // By default the largest, and the one whose attention and feed-forward are not like the others'.
        let some = |name: &str| full() || ["L", "pro"].contains(&name);
        for (_, shape) in SHAPES.into_iter().filter(|(name, _)| some(name)) {
            let config = Synth::new(shape).config().unwrap();
            let plan = Plan::new(&config, 1024, 128, KvFormat::F16);
            let forms = [Form::THREAD, Form::QUADS, Form::WORKGROUP].into_iter();
            for form in forms.filter(|form| form.check(features).is_ok()) {
                Kernels::new(&gpu, &config, &plan, Variant::of(form));
                gpu.check().unwrap();
            }
        }
    }
}
