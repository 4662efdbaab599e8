// What one pass over the model works on; lives on the GPU, so that a decode step can follow another without the host.
struct Step {
    position: u32, // tokens already in the KV cache: the position of this pass's first token
    count: u32, // tokens in this pass
    head_row: u32, // first row of this pass that the LM head looks at
    head_rows: u32, // how many rows it looks at
}
