import type { FileUrls } from './source.js';

/**
 * The pocket model, which comes with the package. Each file is named in full, so that bundlers see it. None is smaller than
 * 4 KiB (the build pads them): Vite would make `data:` URLs of such, which a strict Content-Security-Policy forbids to fetch.
 */
export const POCKET: FileUrls = {
  'config.json': new URL('../models/pocket/config.json', import.meta.url),
  'generation_config.json': new URL('../models/pocket/generation_config.json', import.meta.url),
  'model.safetensors': new URL('../models/pocket/model.safetensors', import.meta.url),
  'tokenizer.json': new URL('../models/pocket/tokenizer.json', import.meta.url),
  'tokenizer_config.json': new URL('../models/pocket/tokenizer_config.json', import.meta.url),
};
