//! Rotation of interleaved pairs and QK-norm of one head, both ways.
//!
//! A rotation keeps the norm, so "norm after rotation" is `z = rot(y) / rms(y)`.

pub const HEAD: usize = 64;

/// Rotates and norms a head in place; returns 1 / rms.
pub fn forward(head: &mut [f32], angles: &[[f32; 2]], eps: f32) -> f32 {
    let inverse = (head.iter().map(|x| x * x).sum::<f32>() / HEAD as f32 + eps)
        .sqrt()
        .recip();
    for (pair, [cos, sin]) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
        let [a, b] = *pair;
        *pair = [(a * cos - b * sin) * inverse, (a * sin + b * cos) * inverse];
    }
    inverse
}

/// The gradient by the normed head becomes the gradient by the projected one, in place.
pub fn backward(gradient: &mut [f32], normed: &[f32], inverse: f32, angles: &[[f32; 2]]) {
    let along = super::dot(gradient, normed) / HEAD as f32;
    let pairs = gradient
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(normed.as_chunks::<2>().0);
    for ((pair, normed), [cos, sin]) in pairs.zip(angles) {
        let [a, b] = [0, 1].map(|i| inverse * (pair[i] - along * normed[i]));
        *pair = [a * cos + b * sin, b * cos - a * sin];
    }
}
