/** Expected values of a fixture: { name: { shape, data } }; F32 and I32 only. */
import { readFileSync } from 'node:fs';

const TYPES = { F32: Float32Array, I32: Int32Array };

export function readSafetensors(path) {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString());
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [begin, end] = data_offsets.map((offset) => 8 + headerBytes + offset);
    const copy = new Uint8Array(bytes.subarray(begin, end)); // aligned, unlike the file
    tensors[name] = { shape, data: new TYPES[dtype](copy.buffer) };
  }
  return tensors;
}
