export type * from './benchmark.js';
export { MobileMoEError } from './errors.js';
export type { Facts } from './facts.js';
export { MobileMoE } from './mobilemoe.js';
export type { TextStream, TokenStream } from './mobilemoe.js';
export type { FileUrls, Source, SourceOptions } from './source.js';
export { GenerationStream } from './stream.js';
export type * from './types.js';
