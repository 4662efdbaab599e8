//! Causal attention with grouped queries, each document by itself.

use std::ops::Range;

use super::{
    matrix::{Matrix, exp, multiply},
    rope::HEAD,
};

/// Queries taken at once: keys beyond a block's last query are never multiplied.
const BLOCK: usize = 128;
const SCALE: f32 = 0.125;

/// Query and KV heads; projections are `[tokens, (queries + 2 kv) * 64]`: queries, keys, values.
#[derive(Clone, Copy)]
pub struct Heads {
    pub queries: usize,
    pub kv: usize,
}

/// Queries `rows` of a head against the keys `0..rows.end` of its document.
struct Block {
    document: Range<usize>,
    rows: Range<usize>,
    head: usize,
    /// Where the block's probabilities `[rows, keys]` lie.
    at: Range<usize>,
}

impl Heads {
    pub fn width(self) -> usize {
        (self.queries + 2 * self.kv) * HEAD
    }

    /// Columns at which a query head's queries, keys and values begin.
    fn columns(self, head: usize) -> [usize; 3] {
        let kv = head / (self.queries / self.kv);
        [head, self.queries + kv, self.queries + self.kv + kv].map(|head| head * HEAD)
    }

    fn blocks(self, documents: &[Range<usize>]) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut end = 0;
        for document in documents {
            for head in 0..self.queries {
                for start in (0..document.len()).step_by(BLOCK) {
                    let rows = start..(start + BLOCK).min(document.len());
                    let begin = end;
                    end += rows.len() * rows.end;
                    blocks.push(Block {
                        document: document.clone(),
                        rows,
                        head,
                        at: begin..end,
                    });
                }
            }
        }
        blocks
    }

    /// Attended values `[tokens, queries * 64]`; leaves the probabilities for [`backward`](Self::backward).
    pub fn forward(self, projected: &[f32], documents: &[Range<usize>], probabilities: &mut Vec<f32>) -> Vec<f32> {
        let (width, out_width) = (self.width(), self.queries * HEAD);
        let mut out = vec![0.0; projected.len() / width * out_width];
        let blocks = self.blocks(documents);
        probabilities.clear();
        probabilities.resize(blocks.last().map_or(0, |block| block.at.end), 0.0);
        for Block {
            document,
            rows,
            head,
            at,
        } in blocks
        {
            let (probabilities, keys) = (&mut probabilities[at], rows.end);
            let [query, key, value] = self.columns(head);
            let first_row = document.start + rows.start;
            let part = |row: usize, column: usize, rows: usize| {
                Matrix::strided(&projected[row * width + column..], rows, HEAD, width)
            };
            let (query, key, value) = (
                part(first_row, query, rows.len()),
                part(document.start, key, keys),
                part(document.start, value, keys),
            );
            multiply(probabilities, keys, false, query, key.transposed());
            for (row, position) in probabilities.chunks_exact_mut(keys).zip(rows.clone()) {
                let (seen, future) = row.split_at_mut(position + 1);
                softmax(seen);
                future.fill(0.0);
            }
            let out = &mut out[first_row * out_width + head * HEAD..];
            multiply(out, out_width, false, Matrix::new(probabilities, keys), value);
        }
        out
    }

    /// Gradient by the projections, from the gradient by the attended values.
    pub fn backward(
        self,
        dout: &[f32],
        projected: &[f32],
        documents: &[Range<usize>],
        probabilities: &[f32],
    ) -> Vec<f32> {
        let (width, out_width) = (self.width(), self.queries * HEAD);
        let mut gradient = vec![0.0; projected.len()];
        let mut dscores = Vec::new();
        for Block {
            document,
            rows,
            head,
            at,
        } in self.blocks(documents)
        {
            let (probabilities, keys) = (&probabilities[at], rows.end);
            let [query, key, value] = self.columns(head);
            let first_row = document.start + rows.start;
            let at = |row: usize, column: usize| row * width + column;
            let part = |row: usize, column: usize, rows: usize| {
                Matrix::strided(&projected[at(row, column)..], rows, HEAD, width)
            };
            let dout = Matrix::strided(
                &dout[first_row * out_width + head * HEAD..],
                rows.len(),
                HEAD,
                out_width,
            );
            let transposed = Matrix::new(probabilities, keys).transposed();
            multiply(
                &mut gradient[at(document.start, value)..],
                width,
                true,
                transposed,
                dout,
            );

            dscores.resize(probabilities.len(), 0.0);
            multiply(
                &mut dscores,
                keys,
                false,
                dout,
                part(document.start, value, keys).transposed(),
            );
            for (dscores, probabilities) in dscores.chunks_exact_mut(keys).zip(probabilities.chunks_exact(keys)) {
                let mean = super::dot(dscores, probabilities);
                for (dscore, probability) in dscores.iter_mut().zip(probabilities) {
                    *dscore = SCALE * probability * (*dscore - mean);
                }
            }
            let dscores = Matrix::new(&dscores, keys);
            let (query_at, key_at) = (at(first_row, query), at(document.start, key));
            multiply(
                &mut gradient[query_at..],
                width,
                true,
                dscores,
                part(document.start, key, keys),
            );
            multiply(
                &mut gradient[key_at..],
                width,
                true,
                dscores.transposed(),
                part(first_row, query, rows.len()),
            );
        }
        gradient
    }
}

fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().fold(f32::MIN, |largest, &score| largest.max(score));
    scores
        .iter_mut()
        .for_each(|score| *score = exp(SCALE * (*score - largest)));
    let inverse = scores.iter().sum::<f32>().recip();
    scores.iter_mut().for_each(|score| *score *= inverse);
}
