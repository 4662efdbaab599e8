//! `config.json` -> [`ModelConfig`], validated once.

use serde_json::{Map, Value};

use crate::{Result, json};

/// The only INT4 format there is so far (`quantization.format`).
pub const INT4_FORMAT: &str = "mobilemoe-int4-g32";

/// Sizes above these are refused: nobody's model has them, and below them no product of sizes overflows 64 bits.
const MAX_SIZE: usize = 1 << 16;
const MAX_VOCAB: usize = 1 << 21;
const MAX_LAYERS: usize = 1 << 10;
const MAX_EXPERTS: usize = 256;
const MAX_WINDOW: usize = 1 << 24;
/// Query heads that share a key head: more would not fit the attention kernel's workgroup memory.
const MAX_GROUP: usize = 16;

/// Every size of a model, as its `config.json` states it. Nothing in the engine hard-codes any of these.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of one routed expert; 0 in a dense model.
    pub expert_size: usize,
    /// Width of the shared expert, and of a dense layer's SwiGLU.
    pub shared_size: usize,
    pub layers: Vec<LayerConfig>,
    pub query_heads: usize,
    pub kv_heads: usize,
    /// Always 64 so far; checked.
    pub head_dim: usize,
    /// Longest context the model was made for, in tokens.
    pub max_positions: usize,
    pub rms_norm_eps: f32,
    pub rope_theta: f32,
    pub rope_scaling: Option<RopeScaling>,
    pub use_qk_norm: bool,
    /// Routed experts in a layer that has any; 0 in a dense model.
    pub experts: usize,
    /// 0 in a dense model.
    pub experts_per_token: usize,
    pub routed_scaling_factor: f32,
    pub norm_topk_prob: bool,
    /// The LM head is the embedding matrix (no `lm_head` tensor in the file).
    pub tied_embeddings: bool,
    pub eos_token_ids: Vec<u32>,
    pub bos_token_id: Option<u32>,
    pub weights: WeightFormat,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerConfig {
    /// RoPE and QK-norm on queries and keys (`no_rope_layers[i] == 1`).
    pub rope: bool,
    /// Routed experts beside the shared one; otherwise one dense SwiGLU of width `shared_size`.
    pub moe: bool,
    /// Sliding-window attention: how many tokens a query sees, itself the last of them. `None`: all.
    pub window: Option<usize>,
}

/// The llama3 frequency scaling of RoPE (`rope_scaling.rope_type == "llama3"`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeScaling {
    pub factor: f32,
    pub original_max_position_embeddings: usize,
    pub low_freq_factor: f32,
    pub high_freq_factor: f32,
}

/// How the checkpoint stores its matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// `mobilemoe-int4-g32`: packed nibbles with one f16 scale for 32 weights.
    Int4G32,
    /// SFT and Base checkpoints.
    Bf16,
}

impl LayerConfig {
    /// What the tensors of the always-on SwiGLU are called, after the layer's prefix.
    pub fn swiglu(self) -> &'static str {
        if self.moe {
            "feed_forward.shared_expert"
        } else {
            "feed_forward"
        }
    }
}

impl ModelConfig {
    /// Reads and checks the text of a `config.json`.
    ///
    /// Keys that do not change what is computed are ignored. What the engine cannot compute is refused, with the field,
    /// its value and what would be accepted: [`ConfigError::Json`] or [`ConfigError::Field`].
    pub fn from_json(text: &[u8]) -> Result<ModelConfig> {
        let root: Map<String, Value> = json::from_slice(text).map_err(|error| ConfigError::Json(error.to_string()))?;
        let fields = Fields(&root);

        fields.constant("model_type", &Value::from("mobilemoe"))?;
        let hidden_size = fields.matrix_size("hidden_size")?;
        let shared_size = fields.matrix_size("intermediate_size_mlp")?;
        let vocab_size = fields.integer("vocab_size", 1, MAX_VOCAB)?;
        let layer_count = fields.integer("num_hidden_layers", 1, MAX_LAYERS)?;

        let query_heads = fields.integer("num_attention_heads", 1, MAX_SIZE / 64)?;
        let kv_heads = fields.integer("num_key_value_heads", 1, query_heads)?;
        if query_heads % kv_heads != 0 {
            return Err(fields.bad(
                "num_key_value_heads",
                format!("must divide num_attention_heads, {query_heads}"),
            ));
        }
        if query_heads / kv_heads > MAX_GROUP {
            return Err(fields.bad(
                "num_key_value_heads",
                format!("must be at least a {MAX_GROUP}th of num_attention_heads, {query_heads}"),
            ));
        }
        let head_dim = fields.integer("head_dim", 64, 64)?;

        let experts = match fields.present("num_local_experts") {
            None => 0,
            Some(_) => fields.integer("num_local_experts", 0, MAX_EXPERTS)?,
        };
        let (expert_size, experts_per_token, routed_scaling_factor) = match experts {
            0 => (0, 0, 1.0),
            _ => (
                fields.matrix_size("intermediate_size")?,
                fields.integer("num_experts_per_tok", 1, experts)?,
                fields.positive("routed_scaling_factor")?,
            ),
        };

        fields.constant("hidden_act", &Value::from("silu"))?;
        // What other models compute, and this engine does not: fine where it says that nothing is to be done.
        for (field, neutral) in [
            ("attention_bias", Value::from(false)),
            ("attention_multiplier", Value::from(0.125)),
            ("attn_logit_softcapping", Value::Null),
            ("attn_temperature_tuning", Value::from(false)),
            ("clip_qkv", Value::Null),
            ("embedding_multiplier", Value::from(1)),
            ("final_logit_softcapping", Value::Null),
            ("first_k_dense_replace", Value::from(0)),
            ("hidden_activation", Value::from("silu")),
            ("logit_scale", Value::from(1)),
            ("logits_scaling", Value::from(1)),
            ("mlp_bias", Value::from(false)),
            ("n_group", Value::from(1)),
            ("n_shared_experts", Value::from(1)),
            ("partial_rotary_factor", Value::from(1)),
            ("quantization_config", Value::Null),
            ("query_pre_attn_scalar", Value::from(64)),
            ("residual_multiplier", Value::from(1)),
            ("scoring_func", Value::from("sigmoid")),
            ("topk_group", Value::from(1)),
        ] {
            fields.constant_if_present(field, &neutral)?;
        }

        let (rope_theta, rope_scaling) = fields.rope_parameters()?;
        let rope = fields.rope_layers(layer_count)?;
        let moe_step = match fields.present("interleave_moe_layer_step") {
            None => 1,
            Some(_) => fields.integer("interleave_moe_layer_step", 1, usize::MAX)?,
        };
        let windows = fields.windows(layer_count)?;
        let layers = (rope.into_iter().zip(windows).enumerate()).map(|(i, (rope, window))| LayerConfig {
            rope,
            moe: experts > 0 && (i + 1) % moe_step == 0,
            window,
        });
        let layers: Vec<LayerConfig> = layers.collect();
        // Llama 4 has it beside the step, and it counts there.
        if let Some(listed) = fields.present("moe_layers") {
            let with_experts = (0..layer_count).filter(|i| layers[*i].moe);
            if *listed != with_experts.collect::<Value>() {
                return Err(fields.bad("moe_layers", "must be what interleave_moe_layer_step says"));
            }
        }

        Ok(ModelConfig {
            vocab_size,
            hidden_size,
            expert_size,
            shared_size,
            layers,
            query_heads,
            kv_heads,
            head_dim,
            max_positions: fields.integer("max_position_embeddings", 1, 1 << 24)?,
            rms_norm_eps: fields.positive("rms_norm_eps")?,
            rope_theta,
            rope_scaling,
            use_qk_norm: fields.boolean("use_qk_norm", true)?,
            experts,
            experts_per_token,
            routed_scaling_factor,
            norm_topk_prob: fields.boolean("norm_topk_prob", true)?,
            tied_embeddings: fields.boolean("tie_word_embeddings", true)?,
            eos_token_ids: fields.token_ids("eos_token_id", vocab_size)?,
            bos_token_id: fields.token_ids("bos_token_id", vocab_size)?.first().copied(),
            weights: fields.weight_format()?,
        })
    }

    /// Rows of the key and value projections, and width of one layer's K (or V) of one token.
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Rows of the query projection.
    pub fn query_size(&self) -> usize {
        self.query_heads * self.head_dim
    }
}

/// A JSON object whose fields are asked for by name; every refusal names the field and its value.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// The field's value, if it is there and not null.
    fn present(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn bad(&self, field: &'static str, expected: impl Into<String>) -> crate::Error {
        let found = match self.0.get(field) {
            None => "missing".into(),
            Some(value) => shorten(value.to_string()),
        };
        ConfigError::Field {
            field,
            found,
            expected: expected.into(),
        }
        .into()
    }

    fn integer(&self, field: &'static str, min: usize, max: usize) -> Result<usize> {
        let value = self
            .present(field)
            .and_then(Value::as_u64)
            .and_then(|value| usize::try_from(value).ok());
        match value {
            Some(value) if (min..=max).contains(&value) => Ok(value),
            _ if min == max => Err(self.bad(field, format!("must be {min}"))),
            _ if max == usize::MAX => Err(self.bad(field, format!("must be an integer, at least {min}"))),
            _ => Err(self.bad(field, format!("must be an integer from {min} to {max}"))),
        }
    }

    /// A dimension along which weights are grouped by 32.
    fn matrix_size(&self, field: &'static str) -> Result<usize> {
        let size = self.integer(field, 32, MAX_SIZE)?;
        if size % 32 == 0 {
            Ok(size)
        } else {
            Err(self.bad(field, "must be a multiple of 32"))
        }
    }

    /// A finite number above zero.
    fn positive(&self, field: &'static str) -> Result<f32> {
        match self.present(field).and_then(Value::as_f64).map(|value| value as f32) {
            Some(value) if value > 0.0 && value.is_finite() => Ok(value),
            _ => Err(self.bad(field, "must be a number above 0")),
        }
    }

    fn boolean(&self, field: &'static str, default: bool) -> Result<bool> {
        match self.present(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.bad(field, "must be true or false")),
        }
    }

    fn constant(&self, field: &'static str, expected: &Value) -> Result<()> {
        match self.0.get(field) {
            Some(value) if value == expected => Ok(()),
            // 1 and 1.0 are the same to who wrote them.
            Some(value) if value.is_number() && value.as_f64() == expected.as_f64() => Ok(()),
            _ => Err(self.bad(field, format!("must be {expected}"))),
        }
    }

    fn constant_if_present(&self, field: &'static str, expected: &Value) -> Result<()> {
        if self.present(field).is_none() {
            Ok(())
        } else {
            self.constant(field, expected)
        }
    }

    /// `layer_types`, and `sliding_window` where one of them slides. Missing: every layer attends to everything.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        const FIELD: &str = "layer_types";
        let Some(value) = self.present(FIELD) else {
            return Ok(vec![None; layers]);
        };
        let types = value.as_array().filter(|types| types.len() == layers);
        let slides: Option<Vec<bool>> = types.and_then(|types| {
            (types.iter())
                .map(|kind| match kind.as_str() {
                    Some("full_attention") => Some(false),
                    Some("sliding_attention") => Some(true),
                    _ => None,
                })
                .collect()
        });
        let Some(slides) = slides else {
            let expected = format!("must be a list of {layers}, each \"full_attention\" or \"sliding_attention\"");
            return Err(self.bad(FIELD, expected));
        };
        if !slides.contains(&true) {
            return Ok(vec![None; layers]);
        }
        let window = self.integer("sliding_window", 1, MAX_WINDOW)?;
        Ok(slides.into_iter().map(|slides| slides.then_some(window)).collect())
    }

    /// `no_rope_layers`: 1 where a layer *uses* RoPE. Missing, null or empty: all do.
    fn rope_layers(&self, layers: usize) -> Result<Vec<bool>> {
        const FIELD: &str = "no_rope_layers";
        let flags = match self.present(FIELD) {
            None => return Ok(vec![true; layers]),
            Some(Value::Array(flags)) if flags.is_empty() => return Ok(vec![true; layers]),
            Some(value) => value.as_array(),
        };
        let flags: Option<Vec<bool>> = flags.filter(|flags| flags.len() == layers).and_then(|flags| {
            flags
                .iter()
                .map(|flag| flag.as_u64().filter(|&f| f <= 1).map(|f| f == 1))
                .collect()
        });
        flags.ok_or_else(|| self.bad(FIELD, format!("must be a list of {layers} flags, 0 or 1")))
    }

    /// Theta and scaling. Before transformers 5 they are `rope_theta` and `rope_scaling`; since then both are in
    /// `rope_parameters`, at times one for each of `layer_types`. Where a config has both spellings they must agree.
    fn rope_parameters(&self) -> Result<(f32, Option<RopeScaling>)> {
        const FIELD: &str = "rope_parameters";
        let Some(value) = self.present(FIELD) else {
            return Ok((self.positive("rope_theta")?, self.rope_scaling("rope_scaling")?));
        };
        let object = value.as_object().ok_or_else(|| self.bad(FIELD, "must be an object"))?;
        let of_layer_types: Vec<&Value> = object.values().filter(|value| value.is_object()).collect();
        if let [first, rest @ ..] = &of_layer_types[..] {
            if of_layer_types.len() < object.len() || rest.iter().any(|other| other != first) {
                return Err(self.bad(FIELD, "must be the same for every type of layer"));
            }
            let mut flat = self.0.clone();
            flat.insert(FIELD.into(), (*first).clone());
            return Fields(&flat).rope_parameters();
        }
        let inner = Fields(object);
        let theta = match (inner.present("rope_theta"), self.present("rope_theta")) {
            (None, _) => self.positive("rope_theta")?,
            (Some(inside), Some(outside)) if inside.as_f64() != outside.as_f64() => {
                return Err(self.bad("rope_theta", format!("must be what rope_parameters says, {inside}")));
            }
            _ => inner.positive("rope_theta")?,
        };
        let scaling = self.rope_scaling(FIELD)?;
        if self.present("rope_scaling").is_some() && self.rope_scaling("rope_scaling")? != scaling {
            return Err(self.bad("rope_scaling", "must be what rope_parameters says"));
        }
        Ok((theta, scaling))
    }

    /// The scaling in `rope_scaling` or `rope_parameters`: absent, of type "default" (no scaling), or llama3.
    fn rope_scaling(&self, field: &'static str) -> Result<Option<RopeScaling>> {
        let Some(value) = self.present(field) else {
            return Ok(None);
        };
        let object = value.as_object().ok_or_else(|| self.bad(field, "must be an object"))?;
        let inner = Fields(object);
        inner.constant_if_present("partial_rotary_factor", &Value::from(1.0))?;
        match inner.present("rope_type").or(inner.present("type")).map(Value::as_str) {
            Some(Some("default")) => return Ok(None),
            // Only theta, in `rope_parameters`.
            None if field == "rope_parameters" => return Ok(None),
            Some(Some("llama3")) => {}
            _ => return Err(self.bad(field, "its rope_type must be \"llama3\" or \"default\"")),
        }
        let scaling = RopeScaling {
            factor: inner.positive("factor")?,
            original_max_position_embeddings: inner.integer("original_max_position_embeddings", 1, 1 << 24)?,
            low_freq_factor: inner.positive("low_freq_factor")?,
            high_freq_factor: inner.positive("high_freq_factor")?,
        };
        // Equal factors are fine (the published models have them): the smooth band between them is empty.
        if scaling.high_freq_factor < scaling.low_freq_factor {
            return Err(inner.bad("high_freq_factor", "must not be below low_freq_factor"));
        }
        Ok(Some(scaling))
    }

    /// One id, a list of ids, or none.
    fn token_ids(&self, field: &'static str, vocab_size: usize) -> Result<Vec<u32>> {
        let ids = match self.present(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(ids)) => ids.as_slice(),
            Some(id) => std::slice::from_ref(id),
        };
        ids.iter()
            .map(|id| id.as_u64().filter(|&id| id < vocab_size as u64).map(|id| id as u32))
            .collect::<Option<_>>()
            .ok_or_else(|| self.bad(field, format!("must be token ids below vocab_size, {vocab_size}")))
    }

    fn weight_format(&self) -> Result<WeightFormat> {
        const FIELD: &str = "quantization";
        let Some(value) = self.present(FIELD) else {
            return Ok(WeightFormat::Bf16);
        };
        let object = value.as_object().ok_or_else(|| self.bad(FIELD, "must be an object"))?;
        let inner = Fields(object);
        inner.constant("format", &Value::from(INT4_FORMAT))?;
        for (field, expected) in [
            ("group_size", Value::from(32)),
            ("embedding_group_size", Value::from(32)),
            ("qmin", Value::from(-8)),
            ("qmax", Value::from(7)),
            ("symmetric", Value::from(true)),
            ("packed", Value::from(true)),
            ("scale_dtype", Value::from("float16")),
        ] {
            inner.constant_if_present(field, &expected)?;
        }
        for (field, axis) in [("linear_group_axis", "in"), ("expert_group_axis", "out")] {
            if let Some(value) = inner.present(field)
                && value.as_str().and_then(|text| text.split_whitespace().next()) != Some(axis)
            {
                return Err(inner.bad(field, format!("must be \"{axis} (last dim of ...)\"")));
            }
        }
        Ok(WeightFormat::Int4G32)
    }
}

/// The `quantization` block of an INT4 checkpoint's config.json.
pub fn int4_block() -> Value {
    serde_json::json!({
        "format": INT4_FORMAT,
        "group_size": 32,
        "embedding_group_size": 32,
        "qmin": -8,
        "qmax": 7,
        "symmetric": true,
        "packed": true,
        "scale_dtype": "float16",
        "linear_group_axis": "in (last dim of [out, in])",
        "expert_group_axis": "out (last dim of [E, in, out])",
    })
}

/// Keeps an error message readable when the offending value is a long list.
fn shorten(text: String) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A `config.json` the engine cannot take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("config.json cannot be read: {0}")]
    Json(String),
    #[error("config.json: `{field}` is {found}; {expected}")]
    Field {
        field: &'static str,
        found: String,
        expected: String,
    },
}

impl ConfigError {
    pub fn code(&self) -> &'static str {
        match self {
            ConfigError::Json(_) => "ConfigJson",
            ConfigError::Field { .. } => "ConfigField",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-QAT as published, shortened to the keys that its description names.
    fn published_s() -> Value {
        serde_json::json!({
            "architectures": ["MobileMoEForCausalLM"], "model_type": "mobilemoe", "vocab_size": 128256, "hidden_size": 768,
            "intermediate_size": 384, "intermediate_size_mlp": 1536, "num_hidden_layers": 20, "num_attention_heads": 12,
            "num_key_value_heads": 4, "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
            "rope_scaling": {"rope_type": "llama3", "factor": 16, "original_max_position_embeddings": 8192,
                             "low_freq_factor": 1.0, "high_freq_factor": 1.0},
            "num_local_experts": 60, "num_experts_per_tok": 4, "interleave_moe_layer_step": 1,
            "no_rope_layers": vec![1; 20], "layer_types": vec!["full_attention"; 20], "use_qk_norm": true,
            "attn_temperature_tuning": false, "tie_word_embeddings": true, "attention_bias": false,
            "routed_scaling_factor": 2.5, "norm_topk_prob": true, "torch_dtype": "bfloat16",
            "eos_token_id": [128001, 128008], "bos_token_id": 128000, "quantization": int4_block(),
        })
    }

    fn parse(config: &Value) -> Result<ModelConfig> {
        ModelConfig::from_json(config.to_string().as_bytes())
    }

    #[test]
    fn the_published_s_parses() {
        let config = parse(&published_s()).unwrap();
        assert_eq!(
            (config.hidden_size, config.expert_size, config.shared_size),
            (768, 384, 1536)
        );
        assert_eq!((config.layers.len(), config.query_heads, config.kv_heads), (20, 12, 4));
        assert!(config.layers.iter().all(|layer| layer.rope && layer.moe));
        assert_eq!(config.rope_scaling.unwrap().factor, 16.0);
        assert_eq!(config.eos_token_ids, [128001, 128008]);
        assert_eq!(config.weights, WeightFormat::Int4G32);
    }

    #[test]
    fn what_may_be_absent_or_different() {
        let mut config = published_s();
        for absent in [
            "quantization",
            "rope_scaling",
            "layer_types",
            "no_rope_layers",
            "bos_token_id",
            "attention_bias",
        ] {
            config.as_object_mut().unwrap().remove(absent);
        }
        config["eos_token_id"] = Value::from(7);
        config["interleave_moe_layer_step"] = Value::from(2);
        config["tie_word_embeddings"] = Value::from(false);
        let parsed = parse(&config).unwrap();
        assert_eq!(parsed.eos_token_ids, [7]);
        assert_eq!(
            (parsed.bos_token_id, parsed.rope_scaling, parsed.weights),
            (None, None, WeightFormat::Bf16)
        );
        assert!(!parsed.tied_embeddings);
        assert!(!parsed.layers[0].moe && parsed.layers[1].moe && parsed.layers[19].moe);

        config["no_rope_layers"] = Value::from([vec![1; 19], vec![0]].concat());
        config["rope_scaling"] = serde_json::json!({"rope_type": "default"});
        let parsed = parse(&config).unwrap();
        assert!(parsed.layers[18].rope && !parsed.layers[19].rope && parsed.rope_scaling.is_none());
        for all in [Value::Null, serde_json::json!([])] {
            config["no_rope_layers"] = all;
            assert!(parse(&config).unwrap().layers.iter().all(|layer| layer.rope));
        }
    }

    #[test]
    fn layers_may_slide() {
        let mut config = published_s();
        config["sliding_window"] = 512.into();
        assert!(
            parse(&config)
                .unwrap()
                .layers
                .iter()
                .all(|layer| layer.window.is_none())
        );
        config["layer_types"][3] = "sliding_attention".into();
        let windows: Vec<Option<usize>> = parse(&config)
            .unwrap()
            .layers
            .iter()
            .map(|layer| layer.window)
            .collect();
        assert_eq!((windows[2], windows[3], windows[4]), (None, Some(512), None));
    }

    #[test]
    fn without_experts_every_layer_is_dense() {
        let mut config = published_s();
        for absent in ["intermediate_size", "num_experts_per_tok", "routed_scaling_factor"] {
            config.as_object_mut().unwrap().remove(absent);
        }
        for none in [Value::from(0), Value::Null] {
            config["num_local_experts"] = none;
            let parsed = parse(&config).unwrap();
            assert!(parsed.layers.iter().all(|layer| !layer.moe));
            assert_eq!(
                (parsed.experts, parsed.experts_per_token, parsed.expert_size),
                (0, 0, 0)
            );
        }
    }

    #[test]
    fn rope_parameters_of_transformers_5() {
        let published = ModelConfig::from_json(published_s().to_string().as_bytes()).unwrap();
        let read = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut config = published_s();
            let fields = config.as_object_mut().unwrap();
            let scaling = fields.remove("rope_scaling").unwrap();
            fields.insert("rope_parameters".into(), scaling);
            change(fields);
            ModelConfig::from_json(config.to_string().as_bytes())
        };
        let message = |result: Result<ModelConfig>| result.unwrap_err().to_string();
        // Theta stays outside, goes inside, or is in both.
        assert_eq!(read(&|_| {}).unwrap(), published);
        assert_eq!(
            read(&|fields| fields["rope_parameters"]["rope_theta"] = 500_000.into()).unwrap(),
            published
        );
        let inside = |fields: &mut Map<String, Value>| {
            fields.remove("rope_theta");
            fields["rope_parameters"]["rope_theta"] = 500_000.into();
        };
        assert_eq!(read(&inside).unwrap(), published);
        let by_type = |fields: &mut Map<String, Value>| {
            inside(fields);
            let parameters = fields["rope_parameters"].clone();
            fields["rope_parameters"] =
                serde_json::json!({"full_attention": parameters, "sliding_attention": parameters});
        };
        assert_eq!(read(&by_type).unwrap(), published);
        // No scaling.
        for unscaled in [
            serde_json::json!({"rope_type": "default"}),
            serde_json::json!({"rope_theta": 500_000}),
        ] {
            let config = read(&|fields| fields["rope_parameters"] = unscaled.clone()).unwrap();
            assert_eq!((config.rope_scaling, config.rope_theta), (None, 500_000.0));
        }
        // What cannot be computed, or contradicts itself.
        for (key, value) in [
            ("rope_type", "yarn".into()),
            ("partial_rotary_factor", Value::from(0.5)),
            ("rope_type", 1.into()),
        ] {
            assert!(
                message(read(&|fields| fields["rope_parameters"][key] = value.clone())).contains(key),
                "{key}"
            );
        }
        assert!(message(read(&|fields| fields["rope_parameters"]["rope_theta"] = 1.into())).contains("`rope_theta`"));
        let two = |fields: &mut Map<String, Value>| {
            by_type(fields);
            fields["rope_parameters"]["sliding_attention"]["rope_theta"] = 10_000.into();
        };
        assert!(message(read(&two)).contains("every type of layer"));
        let other = |fields: &mut Map<String, Value>| {
            fields.insert("rope_scaling".into(), serde_json::json!({"rope_type": "default"}));
        };
        assert!(message(read(&other)).contains("`rope_scaling`"));
    }

    #[test]
    fn what_other_models_compute_is_refused_by_name() {
        let with = |field: &str, value: Value| {
            let mut config = published_s();
            config[field] = value;
            ModelConfig::from_json(config.to_string().as_bytes())
        };
        for (field, value) in [
            ("embedding_multiplier", 12.into()),
            ("logits_scaling", 6.into()),
            ("residual_multiplier", Value::from(0.22)),
            ("attention_multiplier", Value::from(0.015625)),
            ("partial_rotary_factor", Value::from(0.5)),
            ("final_logit_softcapping", Value::from(30.0)),
            ("scoring_func", "softmax".into()),
            ("n_shared_experts", 2.into()),
            ("moe_layers", vec![1, 3].into()),
            ("embedding_multiplier", "Infinity".into()),
        ] {
            let message = with(field, value).unwrap_err().to_string();
            assert!(message.contains(&format!("`{field}`")), "{message}");
        }
        assert!(with("residual_multiplier", Value::from(1.0)).is_ok());
        assert!(with("moe_layers", (0..20).collect::<Vec<i32>>().into()).is_ok());
        assert!(with("clip_qkv", Value::Null).is_ok());
    }

    #[test]
    fn each_refusal_names_its_field() {
        let cases: &[(&str, Value)] = &[
            ("model_type", "llama4".into()),
            ("hidden_size", 770.into()),
            ("hidden_size", "768".into()),
            ("intermediate_size", 0.into()),
            ("intermediate_size_mlp", 1e9.into()),
            ("vocab_size", (-1).into()),
            ("num_hidden_layers", 0.into()),
            ("num_attention_heads", 0.into()),
            ("num_key_value_heads", 5.into()),
            ("num_key_value_heads", 24.into()),
            ("head_dim", 128.into()),
            ("num_local_experts", 257.into()),
            ("num_experts_per_tok", 61.into()),
            ("hidden_act", "gelu".into()),
            ("attention_bias", true.into()),
            ("attn_temperature_tuning", true.into()),
            ("attn_temperature_tuning", 4.into()),
            ("quantization_config", serde_json::json!({"quant_method": "gptq"})),
            ("sliding_window", Value::Null),
            ("sliding_window", 0.into()),
            ("layer_types", "sliding_attention".into()),
            ("layer_types", vec!["chunked_attention"; 20].into()),
            ("layer_types", vec!["full_attention"; 19].into()),
            ("no_rope_layers", vec![1; 19].into()),
            ("no_rope_layers", vec![2; 20].into()),
            ("interleave_moe_layer_step", 0.into()),
            ("rms_norm_eps", 0.into()),
            ("rope_theta", Value::Null),
            ("routed_scaling_factor", "2.5".into()),
            ("rope_scaling", serde_json::json!({"rope_type": "yarn"})),
            ("eos_token_id", 128256.into()),
            ("eos_token_id", vec![-1].into()),
            ("max_position_embeddings", 0.into()),
            ("tie_word_embeddings", 1.into()),
            ("quantization", "int4".into()),
        ];
        for (field, value) in cases {
            let mut config = published_s();
            if *field == "sliding_window" {
                config["layer_types"][3] = "sliding_attention".into();
            }
            config[*field] = value.clone();
            match parse(&config) {
                Err(crate::Error::Config(ConfigError::Field { field: named, .. })) => assert_eq!(named, *field),
                other => panic!("{field} = {value}: {other:?}"),
            }
        }
        for (outer, field, value) in [
            ("quantization", "format", Value::from("gguf-q4_0")),
            ("quantization", "group_size", 64.into()),
            ("quantization", "scale_dtype", "float32".into()),
            ("quantization", "expert_group_axis", "in (dim 1)".into()),
            ("rope_scaling", "factor", 0.into()),
            ("rope_scaling", "high_freq_factor", 0.5.into()),
        ] {
            let mut config = published_s();
            config[outer][field] = value;
            match parse(&config) {
                Err(crate::Error::Config(ConfigError::Field { field: named, .. })) => assert_eq!(named, field),
                other => panic!("{outer}.{field}: {other:?}"),
            }
        }
        for text in ["", "[]", "{\"model_type\": "] {
            assert_eq!(
                ModelConfig::from_json(text.as_bytes()).unwrap_err().code(),
                "ConfigJson"
            );
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let mut config = published_s();
        config["layer_types"] = vec!["chunked_attention"; 20].into();
        assert!(parse(&config).unwrap_err().to_string().len() < 250);
    }
}
