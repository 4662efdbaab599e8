//! RMSNorm.

use super::matrix::dot;

/// What the backward pass needs of a norm.
#[derive(Default, Clone)]
pub struct Normed {
    /// x / rms(x) `[rows, width]`
    pub unit: Vec<f32>,
    /// 1 / rms(x) `[rows]`
    inverse: Vec<f32>,
}

impl Normed {
    /// Norms rows of x; returns them times `weight`.
    pub fn forward(&mut self, x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
        let width = weight.len();
        self.unit.clear();
        self.inverse.clear();
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(width) {
            let inverse = (dot(row, row) / width as f32 + eps).sqrt().recip();
            self.inverse.push(inverse);
            self.unit.extend(row.iter().map(|x| x * inverse));
            out.extend(row.iter().zip(weight).map(|(x, weight)| x * inverse * weight));
        }
        out
    }

    /// `dx += d/dx`, `dweight += d/dweight`.
    pub fn backward(&self, dx: &mut [f32], dweight: &mut [f32], dout: &[f32], weight: &[f32]) {
        let width = weight.len();
        let rows = self.unit.chunks_exact(width).zip(&self.inverse);
        let mut dunit = vec![0.0; width];
        for ((unit, inverse), (dx, dout)) in rows.zip(dx.chunks_exact_mut(width).zip(dout.chunks_exact(width))) {
            for i in 0..width {
                dunit[i] = dout[i] * weight[i];
                dweight[i] += dout[i] * unit[i];
            }
            let along = dot(&dunit, unit) / width as f32;
            for i in 0..width {
                dx[i] += inverse * (dunit[i] - along * unit[i]);
            }
        }
    }
}
