//! Matrix products, and the few functions that run over whole buffers.

/// A view of a matrix whose rows lie one behind the other.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `data` `[rows, columns]`; rows as many as there are.
    pub fn new(data: &'a [f32], columns: usize) -> Self {
        Self::strided(data, data.len() / columns, columns, columns)
    }

    /// The first `columns` of rows that lie `stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + columns <= data.len() && columns <= stride);
        Matrix {
            data,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    pub fn transposed(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a b`, or `out += a b`. `out` has rows of `b`'s columns that lie `stride` apart.
pub fn multiply(out: &mut [f32], stride: usize, add: bool, a: Matrix, b: Matrix) {
    assert_eq!(a.columns, b.rows);
    let (m, n, k) = (a.rows, b.columns, a.columns);
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * stride + n <= out.len() && n <= stride);
    // SAFETY: `Matrix` and the assertions above keep every access within the three slices.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        )
    }
}

/// `out [m, n] = x [m, k] w^T`, w `[n, k]`: a linear layer.
pub fn linear(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize) {
    let outputs = w.len() / inputs;
    multiply(
        out,
        outputs,
        false,
        Matrix::new(x, inputs),
        Matrix::new(w, inputs).transposed(),
    );
}

/// Backward of [`linear`]: `dx [+]= dout w`, `dw += dout^T x`.
pub fn linear_backward(dx: &mut [f32], add: bool, dw: &mut [f32], dout: &[f32], x: &[f32], w: &[f32], inputs: usize) {
    let dout = Matrix::new(dout, w.len() / inputs);
    multiply(dx, inputs, add, dout, Matrix::new(w, inputs));
    multiply(dw, inputs, true, dout.transposed(), Matrix::new(x, inputs));
}

/// e^x to 1e-7 relative, in a form that compilers vectorize: 2^n times a polynomial on what is left of the exponent.
pub fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which the low bits then hold.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_3e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Sum of products, in eight independent sums so that it vectorizes.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// `y += factor x`
pub fn add_scaled(y: &mut [f32], x: &[f32], factor: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / exact - 1.0).abs() < 3e-7, "{x}: {ours} {exact}");
        }
    }

    #[test]
    fn products_of_transposes() {
        let a: Vec<f32> = (0..6).map(|i| i as f32).collect(); // [2, 3]
        let b: Vec<f32> = (0..12).map(|i| (i * i) as f32).collect(); // [4, 3]
        let mut out = vec![1.0; 8];
        linear(&mut out, &a, &b, 3);
        let expected: Vec<f32> = a
            .chunks(3)
            .flat_map(|a| b.chunks(3).map(|b| dot(a, b)).collect::<Vec<_>>())
            .collect();
        assert_eq!(out, expected);
    }
}
