import type { FileUrls } from './source.js';

/**
 * The pocket model, which comes with the package. Each file is named in full, so that bundlers see it. `no-inline` is for
 * Vite: a small file as a `data:` URL could not be fetched under a strict Content-Security-Policy.
 */
export const POCKET: FileUrls = {
  'config.json': new URL('../models/pocket/config.json?no-inline', import.meta.url),
  'generation_config.json': new URL('../models/pocket/generation_config.json?no-inline', import.meta.url),
  'model.safetensors': new URL('../models/pocket/model.safetensors', import.meta.url),
  'tokenizer.json': new URL('../models/pocket/tokenizer.json', import.meta.url),
  'tokenizer_config.json': new URL('../models/pocket/tokenizer_config.json?no-inline', import.meta.url),
};
