// 32 values that lie in a row. Loaded or stored as one, they cost one check of bounds.
alias Block = array<vec4<f32>, 8>;
