//! The forms that kernels come in: all compute the same; which is fastest is up to the device, and measured.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::gpu::{Features, Gpu, GpuError, constant::Constant};

/// Tokens that share one read of a weight in prefill, unless a form says otherwise.
pub const PREFILL_TILE: usize = 4;

/// The most tokens that share one in any form: buffers have room for it.
pub const LARGEST_TILE: usize = 8;

/// How kernels that read weights share out their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// 256 threads share a block of rows and add up their parts in workgroup memory: neighbours read neighbouring words.
    /// `shaders/NAME.wgsl`.
    Workgroup,
    /// A thread has a block of rows for itself, and does not wait while weights are read. `shaders/thread/NAME.wgsl`.
    Thread,
}

/// How the inputs of a matrix are kept while they are multiplied with its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inputs {
    F32,
    /// Rounded to INT8 with a scale for 32 of them; sums of 32 products are exact integers, see [`super::kept`].
    Int8,
    /// The same integers, four products an instruction (`dot4I8Packed`).
    Packed,
    /// Halves, relative to the largest of 32; products of 8 are summed up in f16, the rest in f32.
    F16,
}

/// One form of all kernels of a pass.
///
/// Spelled as what differs from the plain workgroup form: `thread`, `workgroup`, `workgroup-packed-subgroups-tile8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Form {
    pub style: Style,
    pub inputs: Inputs,
    /// Sums over threads by subgroup operations, as far as a subgroup reaches.
    pub subgroups: bool,
    /// Tokens that share one read of a weight; 1 to decode.
    pub tile: usize,
}

/// The forms of a model's kernels, both of one style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Variant {
    /// For one token at a time: its tile is 1.
    #[serde(deserialize_with = "decoding")]
    pub decode: Form,
    /// For tiles of tokens.
    pub prefill: Form,
}

/// A name that no form has.
#[derive(Debug, thiserror::Error)]
#[error("there are no kernels \"{name}\", only {}", names())]
pub struct UnknownForm {
    name: String,
}

/// Rows that a thread has together, and inputs of each.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub rows: usize,
    pub inputs: usize,
}

/// Mesa's lavapipe ends a thread's loops after 65,535 rounds in all, silently; there is a round for a row and so many of its
/// inputs as threads hold at a time.
const MOST_ROUNDS: usize = 32_768;

impl Form {
    pub const THREAD: Form = Form {
        style: Style::Thread,
        inputs: Inputs::F32,
        subgroups: false,
        tile: PREFILL_TILE,
    };
    /// Four threads share their rows, and with it the sums of a larger tile.
    pub const QUADS: Form = Form {
        subgroups: true,
        tile: LARGEST_TILE,
        ..Form::THREAD
    };
    pub const WORKGROUP: Form = Form {
        style: Style::Workgroup,
        ..Form::THREAD
    };

    /// Threads of a workgroup where each works alone: few, so that few cores get equal shares.
    pub(super) const SMALL_WORKGROUP: usize = 4;

    /// Every form there is, the simpler ones first.
    pub fn all() -> impl Iterator<Item = Form> + Clone {
        let tiles = [PREFILL_TILE, LARGEST_TILE].into_iter();
        let subgroups = || [false, true].into_iter();
        let inputs = || [Inputs::F32, Inputs::Int8, Inputs::Packed, Inputs::F16].into_iter();
        let workgroup = tiles.flat_map(move |tile| {
            subgroups().flat_map(move |subgroups| {
                inputs().map(move |inputs| Form {
                    style: Style::Workgroup,
                    inputs,
                    subgroups,
                    tile,
                })
            })
        });
        [Form::THREAD, Form::QUADS].into_iter().chain(workgroup)
    }

    /// How many of so many blocks of rows a thread has, or four, in the thread style: several share the inputs that are held.
    /// As long as each thread of a workgroup has as many, and their sums do not take more than `room_bytes` of its private
    /// memory (in decoding as little as if there were four tokens).
    pub(super) fn blocks(self, blocks: usize, block: Block, room_bytes: usize) -> usize {
        let block_bytes = block.rows * 4 * self.tile.max(PREFILL_TILE) / self.lanes();
        let held_inputs = 32 * self.lanes().max(2);
        let block_rounds = block.rows * block.inputs.div_ceil(held_inputs);
        let most = (room_bytes / block_bytes).min(MOST_ROUNDS / block_rounds);
        let equal = |own: &usize| blocks.is_multiple_of(own * Self::SMALL_WORKGROUP / self.lanes());
        match self.style {
            Style::Workgroup => 1,
            Style::Thread => (2..=most).rev().find(equal).unwrap_or(1),
        }
    }

    /// The same in prefill; one in decoding, for kernels with few workgroups then: cores want equal shares.
    pub(super) fn blocks_in_prefill(self, blocks: usize, block: Block, room_bytes: usize) -> usize {
        if self.tile == 1 {
            1
        } else {
            self.blocks(blocks, block, room_bytes)
        }
    }

    /// The same for one token. No threads share rows then in the thread style: there is but one sum a row.
    pub fn decoding(self) -> Form {
        Form {
            tile: 1,
            subgroups: self.subgroups && self.style == Style::Workgroup,
            ..self
        }
    }

    /// How threads that share a row add up their parts.
    pub(super) fn lanes_by(self) -> &'static str {
        match (self.style, self.subgroups) {
            (Style::Workgroup, false) => "barriers",
            (Style::Workgroup, true) => "subgroups",
            (Style::Thread, false) => "alone",
            (Style::Thread, true) => "quad",
        }
    }

    /// What a thread keeps of the sums, in the thread style.
    pub(super) fn own(self) -> &'static str {
        match (self.subgroups, self.tile) {
            (false, _) => "alone",
            (true, PREFILL_TILE) => "quad4",
            (true, _) => "quad8",
        }
    }

    /// Threads that share a block of rows, in the thread style.
    pub(super) fn lanes(self) -> usize {
        match (self.style, self.subgroups) {
            (Style::Thread, true) => 4,
            _ => 1,
        }
    }

    /// Workgroups for so many blocks of rows: a workgroup a block, or a thread a block, or four threads.
    pub(super) fn workgroups(self, workgroup_blocks: usize, thread_blocks: usize) -> u32 {
        match self.style {
            Style::Workgroup => workgroup_blocks as u32,
            Style::Thread => (thread_blocks * self.lanes()).div_ceil(Self::SMALL_WORKGROUP) as u32,
        }
    }

    /// What every kernel of this form is compiled with.
    pub(super) fn constants(self, gpu: &Gpu) -> [(&'static str, Constant); 6] {
        let inputs = match self.inputs {
            Inputs::F32 => "f32",
            Inputs::Int8 => "int8",
            Inputs::Packed => "packed",
            Inputs::F16 => "f16",
        };
        [
            ("OWN", self.own().into()),
            ("TILE", self.tile.into()),
            ("SMALL_WORKGROUP", Self::SMALL_WORKGROUP.into()),
            ("SUBGROUP", gpu.least_subgroup().into()),
            ("INPUTS", inputs.into()),
            ("LANES_BY", self.lanes_by().into()),
        ]
    }

    /// Fails if the device lacks what the form needs; names it as WebGPU does.
    pub fn check(self, features: Features) -> Result<(), GpuError> {
        let needed = [
            (self.inputs == Inputs::F16 && !features.f16, "shader-f16"),
            (
                self.inputs == Inputs::Packed && !features.packed_dot,
                "packed_4x8_integer_dot_product",
            ),
            (self.subgroups && features.subgroup_size.is_none(), "subgroups"),
        ];
        match needed.iter().find(|(missing, _)| *missing) {
            None => Ok(()),
            Some((_, feature)) => Err(GpuError::MissingFeature {
                kernels: self.to_string(),
                feature,
            }),
        }
    }
}

impl Variant {
    /// The same form for decoding and prefill.
    pub fn of(form: Form) -> Variant {
        Variant {
            decode: form.decoding(),
            prefill: form,
        }
    }

    /// The style of both forms: it decides how the routed experts' matrices lie in memory.
    pub fn style(self) -> Style {
        self.decode.style
    }

    /// Fails if the forms are not of one style, or the device lacks what one needs.
    pub fn check(self, features: Features) -> Result<(), GpuError> {
        if self.decode.style != self.prefill.style {
            return Err(GpuError::MixedStyles(self.to_string()));
        }
        self.decode.check(features)?;
        self.prefill.check(features)
    }
}

fn decoding<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Form, D::Error> {
    Form::deserialize(deserializer).map(Form::decoding)
}

fn names() -> String {
    let names: Vec<String> = Form::all().map(|form| form.to_string()).collect();
    names.join(", ")
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self.style {
            Style::Workgroup => "workgroup",
            Style::Thread => "thread",
        })?;
        f.write_str(match self.inputs {
            Inputs::F32 => "",
            Inputs::Int8 => "-int8",
            Inputs::Packed => "-packed",
            Inputs::F16 => "-f16",
        })?;
        if self.subgroups {
            f.write_str("-subgroups")?;
        }
        match self.tile {
            1 | PREFILL_TILE => Ok(()),
            tile => write!(f, "-tile{tile}"),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "decode: {}, prefill: {}", self.decode, self.prefill)
    }
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(name: &str) -> Result<Form, UnknownForm> {
        let named = Form::all().find(|form| form.to_string() == name);
        named.ok_or_else(|| UnknownForm { name: name.into() })
    }
}

impl TryFrom<String> for Form {
    type Error = UnknownForm;

    fn try_from(name: String) -> Result<Form, UnknownForm> {
        name.parse()
    }
}

impl From<Form> for String {
    fn from(form: Form) -> String {
        form.to_string()
    }
}

impl Style {
    /// The kernel's source, of the two.
    pub(super) fn source(self, workgroup: &'static str, thread: &'static str) -> &'static str {
        match self {
            Style::Workgroup => workgroup,
            Style::Thread => thread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for form in Form::all() {
            assert_eq!(form.to_string().parse::<Form>().unwrap(), form);
            let variant = Variant::of(form);
            let json = serde_json::to_string(&variant).unwrap();
            assert_eq!(serde_json::from_str::<Variant>(&json).unwrap(), variant);
        }
        let error = "quantum".parse::<Form>().unwrap_err().to_string();
        assert!(
            error.starts_with("there are no kernels \"quantum\", only thread, thread-subgroups-tile8, workgroup"),
            "{error}"
        );
    }

    #[test]
    fn what_a_device_lacks_is_named() {
        let plain = Features::default();
        Form::WORKGROUP.check(plain).unwrap();
        let all = [
            (Inputs::F16, false, "shader-f16"),
            (Inputs::Packed, false, "packed_4x8_integer_dot_product"),
            (Inputs::F32, true, "subgroups"),
        ];
        for (inputs, subgroups, feature) in all {
            let form = Form {
                inputs,
                subgroups,
                ..Form::WORKGROUP
            };
            let error = Variant::of(form).check(plain).unwrap_err();
            assert_eq!(error.code(), "MissingFeature");
            assert!(error.to_string().contains(feature), "{error}");
        }
    }

    #[test]
    fn a_thread_has_as_many_blocks_as_there_is_room_and_rounds_for() {
        let block = |inputs| Block { rows: 32, inputs };
        assert_eq!(Form::THREAD.blocks(24, block(768), 5120), 6);
        assert_eq!(Form::THREAD.blocks(40, block(768), 5120), 10);
        assert_eq!(Form::THREAD.blocks(40, block(768), 3200), 5);
        assert_eq!(Form::THREAD.blocks(40, block(16_384), 5120), 2); // 4 would be possible, but for the rounds
        assert_eq!(Form::THREAD.blocks(7, block(768), 5120), 1);
        assert_eq!(Form::WORKGROUP.blocks(40, block(768), 5120), 1);
        assert_eq!(Form::THREAD.blocks_in_prefill(40, block(768), 5120), 10);
        assert_eq!(Form::THREAD.decoding().blocks_in_prefill(40, block(768), 5120), 1);
        // Of eight tokens a lane has two: half as much as four; and a workgroup is one quad.
        assert_eq!(Form::QUADS.blocks(24, block(768), 5120), 12);
        assert_eq!(Form::QUADS.blocks(7, block(768), 5120), 7);
        assert_eq!(Form::QUADS.blocks(7, block(768), 1024), 1);
        assert_eq!(Form::QUADS.blocks(24, block(32_768), 5120), 4); // 6 would be possible, but for the rounds
    }

    #[test]
    fn styles_are_not_mixed() {
        let mixed = Variant {
            decode: Form::THREAD.decoding(),
            prefill: Form::WORKGROUP,
        };
        let error = mixed.check(Features::default()).unwrap_err();
        assert_eq!(error.code(), "MixedStyles");
        assert!(
            error.to_string().contains("decode: thread, prefill: workgroup"),
            "{error}"
        );
    }
}
