//! Which tensors a model of a given [`ModelConfig`] has, in the published INT4 layout and in the BF16 one.

use std::collections::{HashMap, HashSet};

use super::{
    CheckpointError,
    int4::GROUP,
    safetensors::{Dtype, TensorInfo},
};
use crate::{ModelConfig, config::WeightFormat};

const LM_HEAD: &str = "lm_head.weight";

/// A tensor to expect: what it is called, what it holds, how large it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    pub name: String,
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
}

impl TensorSpec {
    pub fn len_bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.dtype.bytes()
    }
}

/// How a parameter is stored and used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// A linear layer (or the embedding), [out, in], quantized along in.
    Linear,
    /// All routed experts' matrices, [experts, in, out], quantized along out.
    Experts,
    /// The router, [experts, hidden], F32 at run time.
    Router,
    /// A norm's weight or the expert bias, BF16.
    Vector,
}

/// A weight of the model, by its name and shape in BF16 checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterKind,
    pub shape: Vec<u64>,
    /// `None` outside the layers: embedding, final norm, LM head.
    pub layer: Option<usize>,
}

impl Parameter {
    /// Number of weights.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Weights that one token's forward pass multiplies with: of the routed experts, the chosen ones.
    ///
    /// Summed over a model this reproduces the published counts (S: 272M active of 1.26B): tied embedding and LM head
    /// counted once, norms, router and shared expert included.
    pub fn active_elements(&self, config: &ModelConfig) -> u64 {
        match self.kind {
            ParameterKind::Experts => self.elements() / config.experts as u64 * config.experts_per_token as u64,
            _ => self.elements(),
        }
    }

    /// Names of the packed weights and the scales, if this parameter is quantized.
    pub fn int4_names(&self) -> Option<(String, String)> {
        match self.kind {
            ParameterKind::Linear => {
                let stem = self.name.trim_end_matches(".weight");
                Some((format!("{stem}.qweight"), format!("{stem}.weight_scale")))
            }
            ParameterKind::Experts => {
                let stem = self.name.trim_end_matches("_proj");
                Some((format!("{stem}_qweight"), format!("{stem}_scale")))
            }
            ParameterKind::Router | ParameterKind::Vector => None,
        }
    }

    /// The one or two tensors that hold this parameter at run time, which is how INT4 checkpoints store it.
    pub fn runtime_tensors(&self) -> Vec<TensorSpec> {
        let spec = |name: String, dtype, divisor: u64| {
            let mut shape = self.shape.clone();
            if let Some(last) = shape.last_mut() {
                *last /= divisor;
            }
            TensorSpec { name, dtype, shape }
        };
        match (self.int4_names(), self.kind) {
            (Some((qweight, scale)), _) => {
                vec![spec(qweight, Dtype::U8, 2), spec(scale, Dtype::F16, GROUP as u64)]
            }
            (None, ParameterKind::Router) => vec![spec(self.name.clone(), Dtype::F32, 1)],
            (None, _) => vec![spec(self.name.clone(), Dtype::BF16, 1)],
        }
    }

    /// Every name under which a file may store (a part of) this parameter.
    pub(super) fn stored_names(&self) -> impl Iterator<Item = String> {
        let (qweight, scale) = self.int4_names().unzip();
        let single = single_experts(self).into_iter().map(|(spec, _)| spec.name);
        [Some(self.name.clone()), qweight, scale]
            .into_iter()
            .flatten()
            .chain(single)
    }

    /// The tensor that holds this parameter in SFT and Base checkpoints.
    pub fn bf16_tensor(&self) -> TensorSpec {
        TensorSpec {
            name: self.name.clone(),
            dtype: Dtype::BF16,
            shape: self.shape.clone(),
        }
    }
}

/// Every parameter of a model: embedding, layers, final norm, and the LM head if it is one of its own.
pub fn parameters(config: &ModelConfig) -> Vec<Parameter> {
    use ParameterKind::{Experts, Linear, Router, Vector};

    let [vocab, hidden, expert, shared, experts] = [
        config.vocab_size,
        config.hidden_size,
        config.expert_size,
        config.shared_size,
        config.experts,
    ]
    .map(|size| size as u64);
    let (query, kv) = (config.query_size() as u64, config.kv_size() as u64);

    let mut parameters = Vec::new();
    let mut add = |layer: Option<usize>, name: &str, kind, shape: &[u64]| {
        let name = layer.map_or_else(|| name.to_string(), |layer| format!("model.layers.{layer}.{name}"));
        parameters.push(Parameter {
            name,
            kind,
            shape: shape.to_vec(),
            layer,
        });
    };
    add(None, "model.embed_tokens.weight", Linear, &[vocab, hidden]);
    for (i, layer) in config.layers.iter().enumerate() {
        let mut add = |name: &str, kind, shape: &[u64]| add(Some(i), name, kind, shape);
        add("input_layernorm.weight", Vector, &[hidden]);
        add("self_attn.q_proj.weight", Linear, &[query, hidden]);
        add("self_attn.k_proj.weight", Linear, &[kv, hidden]);
        add("self_attn.v_proj.weight", Linear, &[kv, hidden]);
        add("self_attn.o_proj.weight", Linear, &[hidden, query]);
        add("post_attention_layernorm.weight", Vector, &[hidden]);
        if layer.moe {
            add("feed_forward.router.weight", Router, &[experts, hidden]);
            add("feed_forward.expert_bias", Vector, &[experts]);
            add(
                "feed_forward.experts.gate_up_proj",
                Experts,
                &[experts, hidden, 2 * expert],
            );
            add("feed_forward.experts.down_proj", Experts, &[experts, expert, hidden]);
        }
        let mlp = layer.swiglu();
        add(&format!("{mlp}.gate_proj.weight"), Linear, &[shared, hidden]);
        add(&format!("{mlp}.up_proj.weight"), Linear, &[shared, hidden]);
        add(&format!("{mlp}.down_proj.weight"), Linear, &[hidden, shared]);
    }
    add(None, "model.norm.weight", Vector, &[hidden]);
    if !config.tied_embeddings {
        add(None, LM_HEAD, Linear, &[vocab, hidden]);
    }
    parameters
}

/// The tensors that [`Checkpoint::stream`](super::Checkpoint::stream) delivers: those of the published INT4 files.
pub fn runtime_tensors(config: &ModelConfig) -> Vec<TensorSpec> {
    parameters(config).iter().flat_map(Parameter::runtime_tensors).collect()
}

/// Every name under which a file may hold something of the model, an LM head that may be one too many included.
pub(super) fn known_names(config: &ModelConfig) -> HashSet<String> {
    let of_parameters = parameters(config)
        .into_iter()
        .flat_map(|parameter| parameter.stored_names().collect::<Vec<_>>());
    let of_heads = ["weight", "qweight", "weight_scale"].map(|name| format!("lm_head.{name}"));
    of_parameters.chain(of_heads).collect()
}

/// What becomes of a tensor of the file on its way to the runtime layout.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Role {
    /// Stored as it is used.
    Copy { runtime: String },
    /// BF16 -> INT4 g32; groups lie along the last dimension in both layouts.
    Quantize { qweight: String, scale: String },
    /// BF16 -> F32: the router.
    Widen { runtime: String },
    /// One expert's [out, in] matrix of a checkpoint that stores each expert by itself: BF16 -> transposed -> INT4.
    Expert {
        qweight: String,
        scale: String,
        expert: u64,
        part: ExpertPart,
    },
    /// Not a tensor of this model.
    Extra,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ExpertPart {
    Gate,
    Up,
    Down,
}

/// The files' tensors held against the model: a role for each, and everything that is wrong.
pub(super) fn assign(
    config: &ModelConfig,
    files: &[String],
    tensors: &[TensorInfo],
) -> (Vec<Role>, Vec<CheckpointError>) {
    let by_name = tensors
        .iter()
        .enumerate()
        .map(|(i, tensor)| (tensor.name.as_str(), i))
        .collect();
    let roles = vec![Role::Extra; tensors.len()];
    let mut assignment = Assignment {
        files,
        tensors,
        by_name,
        roles,
        problems: Vec::new(),
    };
    for parameter in parameters(config) {
        match config.weights {
            WeightFormat::Int4G32 => {
                for spec in parameter.runtime_tensors() {
                    let copy = Role::Copy {
                        runtime: spec.name.clone(),
                    };
                    if !assignment.take(&spec, copy, None) {
                        assignment.missing(&parameter, spec.name);
                    }
                }
            }
            WeightFormat::Bf16 => assignment.take_bf16(&parameter),
        }
    }
    if config.tied_embeddings {
        assignment.refuse_lm_head();
    }
    (assignment.roles, assignment.problems)
}

struct Assignment<'a> {
    files: &'a [String],
    tensors: &'a [TensorInfo],
    by_name: HashMap<&'a str, usize>,
    roles: Vec<Role>,
    problems: Vec<CheckpointError>,
}

impl Assignment<'_> {
    /// Gives a tensor its role; false if there is none of that name. `or` is a second dtype it may have, and the role it
    /// has then. Whether it is what it should be is a problem of its own.
    fn take(&mut self, spec: &TensorSpec, role: Role, or: Option<(Dtype, Role)>) -> bool {
        let Some(&i) = self.by_name.get(spec.name.as_str()) else {
            return false;
        };
        let TensorInfo {
            name,
            dtype,
            shape,
            file,
            ..
        } = &self.tensors[i];
        let (file, tensor) = (&self.files[*file], name);
        let mut expected = format!("{:?}", spec.dtype);
        let mut fits = *dtype == spec.dtype;
        self.roles[i] = role;
        if let Some((or, role)) = or {
            expected += &format!(" or {or:?}");
            if *dtype == or {
                self.roles[i] = role;
                fits = true;
            }
        }
        if !fits {
            let (file, tensor, found) = (file.clone(), tensor.clone(), *dtype);
            self.problems.push(CheckpointError::TensorDtype {
                file,
                tensor,
                expected,
                found,
            });
        }
        if *shape != spec.shape {
            let (file, tensor) = (file.clone(), tensor.clone());
            let (expected, found) = (spec.shape.clone(), shape.clone());
            self.problems.push(CheckpointError::TensorShape {
                file,
                tensor,
                expected,
                found,
            });
        }
        true
    }

    fn take_bf16(&mut self, parameter: &Parameter) {
        let spec = parameter.bf16_tensor();
        let copy = Role::Copy {
            runtime: spec.name.clone(),
        };
        let (role, or) = match (parameter.int4_names(), parameter.kind) {
            (Some((qweight, scale)), _) => (Role::Quantize { qweight, scale }, None),
            (None, ParameterKind::Router) => (
                Role::Widen {
                    runtime: spec.name.clone(),
                },
                Some((Dtype::F32, copy)),
            ),
            (None, _) => (copy, None),
        };
        if self.take(&spec, role, or) {
            return;
        }
        let split = single_experts(parameter);
        if !split
            .iter()
            .any(|(spec, _)| self.by_name.contains_key(spec.name.as_str()))
        {
            return self.missing(parameter, spec.name);
        }
        for (spec, role) in split {
            if !self.take(&spec, role, None) {
                self.missing(parameter, spec.name);
            }
        }
    }

    fn missing(&mut self, parameter: &Parameter, tensor: String) {
        self.problems.push(match parameter.name == LM_HEAD {
            true => CheckpointError::MissingLmHead { tensor },
            false => CheckpointError::MissingTensor { tensor },
        });
    }

    fn refuse_lm_head(&mut self) {
        for tensor in self.tensors.iter().filter(|tensor| tensor.name.starts_with("lm_head.")) {
            let (file, tensor) = (self.files[tensor.file].clone(), tensor.name.clone());
            self.problems.push(CheckpointError::UnexpectedLmHead { file, tensor });
        }
    }
}

/// The tensors `experts.{e}.{gate,up,down}_proj.weight`, each a linear layer [out, in], that together hold one of the
/// experts' parameters; none for other parameters.
fn single_experts(parameter: &Parameter) -> Vec<(TensorSpec, Role)> {
    let &[experts, inputs, outputs] = parameter.shape.as_slice() else {
        return Vec::new();
    };
    let Some((qweight, scale)) = parameter.int4_names() else {
        return Vec::new();
    };
    let (stem, parts, outputs): (_, &[_], _) = match parameter.name.strip_suffix(".gate_up_proj") {
        Some(stem) => (
            stem,
            &[(ExpertPart::Gate, "gate_proj"), (ExpertPart::Up, "up_proj")],
            outputs / 2,
        ),
        None => (
            parameter.name.trim_end_matches(".down_proj"),
            &[(ExpertPart::Down, "down_proj")],
            outputs,
        ),
    };
    let tensor = |expert: u64, &(part, name): &(ExpertPart, &str)| {
        let name = format!("{stem}.{expert}.{name}.weight");
        let spec = TensorSpec {
            name,
            dtype: Dtype::BF16,
            shape: vec![outputs, inputs],
        };
        (
            spec,
            Role::Expert {
                qweight: qweight.clone(),
                scale: scale.clone(),
                expert,
                part,
            },
        )
    };
    (0..experts)
        .flat_map(|expert| parts.iter().map(move |part| (expert, part)))
        .map(|(e, p)| tensor(e, p))
        .collect()
}
