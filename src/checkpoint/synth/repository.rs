//! A synthetic checkpoint that is in no place: its bytes are made while they are read.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{
    Synth, tokenizer,
    weights::{Generator, Pieces},
};
use crate::{
    Result,
    checkpoint::{ByteSource, CONFIG_FILE, INDEX_FILE, Parameter, Repository, TensorSpec, end_of_file, parameters},
};

/// The files that [`Synth::write`] would write. Reading them forward, as loading does, makes each byte once; reading
/// backward makes a tensor anew from its beginning.
pub struct SynthRepository {
    files: BTreeMap<String, Rc<Content>>,
    generator: Rc<Generator>,
}

/// What a file consists of: bytes, and tensors behind them.
struct Content {
    head: Vec<u8>,
    /// Each with its first byte's offset in the file.
    tensors: Vec<(u64, TensorSpec, Parameter)>,
    len_bytes: u64,
}

/// A file of a [`SynthRepository`].
pub struct SynthFile {
    name: String,
    content: Rc<Content>,
    generator: Rc<Generator>,
    cursor: RefCell<Option<Cursor>>,
}

/// The piece of a tensor made last.
struct Cursor {
    tensor: usize,
    pieces: Pieces,
    piece: Vec<u8>,
    /// Offset in the file of the piece's first byte.
    begin: u64,
}

impl Synth {
    /// The checkpoint as a repository that takes next to no memory.
    pub fn repository(&self) -> Result<SynthRepository> {
        let config = self.config()?;
        let parameters = parameters(&config);
        let (weight_files, index) = self.weight_files(&parameters);
        let by_tensor = self.by_tensor(&parameters);
        let mut files = BTreeMap::new();
        for (name, layout) in weight_files {
            let mut offset = layout.head.len() as u64;
            let mut tensors = Vec::new();
            for tensor in layout.tensors {
                let parameter = by_tensor[&tensor.name].clone();
                tensors.push((offset, tensor.clone(), parameter));
                offset += tensor.len_bytes();
            }
            files.insert(name, Content::new(layout.head, tensors, offset));
        }
        let texts = (tokenizer::files(self.shape.vocab).into_iter())
            .chain(index.map(|index| (INDEX_FILE, index)))
            .chain([(CONFIG_FILE, self.config_json())]);
        for (name, text) in texts {
            let len_bytes = text.len() as u64;
            files.insert(name.into(), Content::new(text.into_bytes(), Vec::new(), len_bytes));
        }
        Ok(SynthRepository {
            files,
            generator: Rc::new(Generator::new(self.seed, config.layers.len())),
        })
    }
}

impl Content {
    fn new(head: Vec<u8>, tensors: Vec<(u64, TensorSpec, Parameter)>, len_bytes: u64) -> Rc<Content> {
        Rc::new(Content {
            head,
            tensors,
            len_bytes,
        })
    }
}

impl Repository for SynthRepository {
    type Source = SynthFile;

    async fn open(&self, file: &str) -> Result<Option<SynthFile>> {
        Ok(self.files.get(file).map(|content| SynthFile {
            name: file.into(),
            content: content.clone(),
            generator: self.generator.clone(),
            cursor: RefCell::new(None),
        }))
    }
}

impl ByteSource for SynthFile {
    fn len_bytes(&self) -> u64 {
        self.content.len_bytes
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        if offset_bytes.saturating_add(out.len() as u64) > self.len_bytes() {
            return Err(end_of_file(&self.name, offset_bytes, out.len(), self.len_bytes()));
        }
        let mut cursor = self.cursor.borrow_mut();
        let (mut at, mut out) = (offset_bytes, out);
        while !out.is_empty() {
            let head = usize::try_from(at).ok().and_then(|at| self.content.head.get(at..));
            let bytes = match head {
                Some(rest) if !rest.is_empty() => rest,
                _ => self.made(&mut cursor, at),
            };
            let count = bytes.len().min(out.len());
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&bytes[..count]);
            (at, out) = (at + count as u64, later);
        }
        Ok(())
    }
}

impl SynthFile {
    /// Some of the tensors' bytes from offset `at` on.
    fn made<'a>(&self, cursor: &'a mut Option<Cursor>, at: u64) -> &'a [u8] {
        let tensors = &self.content.tensors;
        let tensor = tensors.partition_point(|(begin, ..)| *begin <= at) - 1;
        let fits = |cursor: &Cursor| cursor.tensor == tensor && cursor.begin <= at;
        let mut found = cursor.take().filter(fits).unwrap_or_else(|| {
            let (begin, spec, parameter) = &tensors[tensor];
            Cursor {
                tensor,
                pieces: self.generator.pieces(parameter, spec),
                piece: Vec::new(),
                begin: *begin,
            }
        });
        while found.begin + found.piece.len() as u64 <= at {
            found.begin += found.piece.len() as u64;
            found.piece.clear();
            found.piece.extend_from_slice(found.pieces.next());
        }
        let cursor = cursor.insert(found);
        &cursor.piece[(at - cursor.begin) as usize..]
    }
}
