//! The safetensors container: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.
//!
//! Read by range: only the header is fetched, and it is held against the file's length before anything else is read.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};

use super::{ByteSource, CheckpointError, TensorSpec};
use crate::{Result, json::Imposter};

/// No header is near this size (a per-expert L checkpoint needs about 1 MB); a larger one is a lie about the length.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;

/// As much as tells what a file is that is no safetensors file.
const IMPOSTER_BYTES: u64 = 256;

/// The element types of safetensors files, in the order by which files sort their tensors (largest first).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Dtype {
    Bool,
    U8,
    I8,
    #[serde(rename = "F8_E5M2")]
    F8E5M2,
    #[serde(rename = "F8_E4M3")]
    F8E4M3,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::Bool | Dtype::U8 | Dtype::I8 | Dtype::F8E5M2 | Dtype::F8E4M3 => 1,
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::BF16 => 2,
            Dtype::I32 | Dtype::U32 | Dtype::F32 => 4,
            Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
        }
    }
}

/// One tensor as a file stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    /// Which of the checkpoint's files ([`Checkpoint::files`](super::Checkpoint::files)); 0 for a single one.
    pub file: usize,
    /// Where its bytes begin, from the beginning of the file.
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// A file's header.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Where the tensors' bytes begin: 8 + the header's length.
    pub data_offset_bytes: u64,
    /// In the order in which they lie in the file.
    pub tensors: Vec<TensorInfo>,
}

/// Reads and checks the header of a safetensors file: every byte after it belongs to exactly one tensor, whose length
/// is what its dtype and shape say.
pub async fn read_header(source: &impl ByteSource, file: &str) -> Result<Header> {
    let file_bytes = source.len_bytes();
    let mut length = [0; 8];
    if file_bytes >= 8 {
        source.read(0, &mut length).await?;
    }
    let header_bytes = u64::from_le_bytes(length);
    if !(2..=MAX_HEADER_BYTES.min(file_bytes.saturating_sub(8))).contains(&header_bytes) {
        let mut start = vec![0; file_bytes.min(IMPOSTER_BYTES) as usize];
        source.read(0, &mut start).await?;
        if let Some(imposter) = Imposter::of(&start) {
            return Err(CheckpointError::Imposter {
                file: file.into(),
                imposter,
            }
            .into());
        }
        return Err(CheckpointError::HeaderLength {
            file: file.into(),
            header_bytes,
            file_bytes,
        }
        .into());
    }
    let mut json = vec![0; header_bytes as usize];
    source.read(8, &mut json).await?;
    let header = parse_header(&json, file, file_bytes);
    match (&header, Imposter::of(&length)) {
        // The first bytes of a compressed file pass for a length.
        (Err(CheckpointError::HeaderJson { .. }), Some(imposter)) => {
            let file = file.into();
            Err(CheckpointError::Imposter { file, imposter }.into())
        }
        _ => Ok(header?),
    }
}

fn parse_header(json: &[u8], file: &str, file_bytes: u64) -> Result<Header, CheckpointError> {
    let Entries(entries) = serde_json::from_slice(json).map_err(|error| CheckpointError::HeaderJson {
        file: file.into(),
        reason: error.to_string(),
    })?;
    let data_offset_bytes = 8 + json.len() as u64;

    let mut tensors: Vec<(Entry, String, Dtype)> = Vec::with_capacity(entries.len());
    for (tensor, value) in entries {
        if tensor == "__metadata__" {
            continue;
        }
        let entry: Entry = serde_json::from_value(value).map_err(|error| CheckpointError::HeaderJson {
            file: file.into(),
            reason: format!("tensor `{tensor}`: {error}"),
        })?;
        let dtype = Dtype::deserialize(&entry.dtype).map_err(|_| CheckpointError::UnknownDtype {
            file: file.into(),
            tensor: tensor.clone(),
            found: entry
                .dtype
                .as_str()
                .map_or_else(|| entry.dtype.to_string(), String::from),
        })?;
        let [begin, end] = entry.data_offsets;
        let elements = entry
            .shape
            .iter()
            .try_fold(1u64, |product, &size| product.checked_mul(size));
        let bytes = elements.and_then(|elements| elements.checked_mul(dtype.bytes()));
        if bytes.is_none() || bytes != end.checked_sub(begin) {
            let shape = entry.shape;
            return Err(CheckpointError::TensorBytes {
                file: file.into(),
                tensor,
                dtype,
                shape,
                begin,
                end,
            });
        }
        tensors.push((entry, tensor, dtype));
    }
    tensors.sort_by_key(|(entry, ..)| entry.data_offsets);

    let data_bytes = file_bytes.saturating_sub(data_offset_bytes);
    let mut expected = 0;
    let mut checked: Vec<TensorInfo> = Vec::with_capacity(tensors.len());
    for (entry, name, dtype) in tensors {
        let [begin, end] = entry.data_offsets;
        if begin != expected {
            let (file, tensor) = (file.to_string(), name);
            return Err(match begin < expected {
                true => CheckpointError::TensorOverlap {
                    file,
                    tensor,
                    expected,
                    begin,
                },
                false => CheckpointError::TensorGap {
                    file,
                    tensor,
                    expected,
                    begin,
                },
            });
        }
        if end > data_bytes {
            let expected_bytes = end.saturating_add(data_offset_bytes);
            return Err(CheckpointError::Truncated {
                file: file.into(),
                tensor: name,
                expected_bytes,
                file_bytes,
            });
        }
        expected = end;
        let (offset_bytes, len_bytes) = (data_offset_bytes + begin, end - begin);
        checked.push(TensorInfo {
            name,
            dtype,
            shape: entry.shape,
            file: 0,
            offset_bytes,
            len_bytes,
        });
    }
    if expected != data_bytes {
        let expected_bytes = data_offset_bytes + expected;
        return Err(CheckpointError::TrailingBytes {
            file: file.into(),
            expected_bytes,
            file_bytes,
        });
    }
    let mut names: Vec<&str> = checked.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let tensor = twice[0].to_string();
        return Err(CheckpointError::DuplicateTensor {
            tensor,
            first: file.into(),
            second: file.into(),
        });
    }
    Ok(Header {
        data_offset_bytes,
        tensors: checked,
    })
}

/// A tensor as the header's JSON describes it.
#[derive(Deserialize)]
struct Entry {
    /// Kept as JSON so that an unknown one can be named.
    dtype: serde_json::Value,
    shape: Vec<u64>,
    /// From the first byte after the header.
    data_offsets: [u64; 2],
}

/// What the first bytes of a file say of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// It stands within so many first bytes.
    After(u64),
    Bytes(u64),
    /// They are not those of a safetensors file.
    Nothing,
}

/// The length of a file that begins with `start`, by its own header: for where nobody else tells.
pub fn stated_length(start: &[u8]) -> Stated {
    let Some((length, rest)) = start.split_first_chunk() else {
        return Stated::After(8);
    };
    let header_bytes = u64::from_le_bytes(*length);
    if !(2..=MAX_HEADER_BYTES).contains(&header_bytes) {
        return Stated::Nothing;
    }
    let Some(json) = rest.get(..header_bytes as usize) else {
        return Stated::After(8 + header_bytes);
    };
    let Ok(Entries(entries)) = serde_json::from_slice(json) else {
        return Stated::Nothing;
    };
    let ends = entries.iter().map(|(_, tensor)| tensor["data_offsets"][1].as_u64());
    match (8 + header_bytes).checked_add(ends.flatten().max().unwrap_or(0)) {
        Some(file_bytes) => Stated::Bytes(file_bytes),
        None => Stated::Nothing,
    }
}

/// A JSON object as a list: a map would silently drop names that appear twice.
struct Entries(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// A file to be written: its first bytes, and its tensors in the order in which their bytes follow.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Header length and header.
    pub head: Vec<u8>,
    pub tensors: Vec<TensorSpec>,
    /// Length of the whole file.
    pub file_bytes: u64,
}

/// Lays a file out exactly as the published ones are (which the `safetensors` library wrote): tensors sorted by dtype,
/// widest first, then by name; the header padded with spaces to a multiple of 8.
pub fn layout(mut tensors: Vec<TensorSpec>) -> Layout {
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut end = 0;
    for tensor in &tensors {
        let begin = end;
        end += tensor.len_bytes();
        let name = serde_json::Value::from(tensor.name.as_str());
        let entry = serde_json::json!({"dtype": tensor.dtype, "shape": tensor.shape});
        // By hand, because the published files have this order of keys.
        let (dtype, shape) = (&entry["dtype"], &entry["shape"]);
        json += &format!(r#",{name}:{{"dtype":{dtype},"shape":{shape},"data_offsets":[{begin},{end}]}}"#);
    }
    json.push('}');
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    let head = [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    Layout {
        file_bytes: head.len() as u64 + end,
        head,
        tensors,
    }
}
