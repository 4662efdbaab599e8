// Makes pkg/dist/worker.js one script that needs no other file, and the modules that stand in where a bundler or a server
// loses a file of the package: the worker's source, and the WASM modules, as text.

import { readFile, rm, writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

import { rolldown } from 'rolldown';

const dist = new URL('../pkg/dist/', import.meta.url);
const wasm = new URL('../pkg/wasm/', import.meta.url);

/** The glue's own idea of where its module lies is never used: the page says where, as the worker may be a copy from anywhere. */
const noDefaultAddress = {
  name: 'no-default-address',
  transform: (code) => code.replace(/new URL\('mobilemoe_\w+_bg\.wasm', import\.meta\.url\)/, 'undefined'),
};

const bundle = await rolldown({ input: new URL('worker.js', dist).pathname, plugins: [noDefaultAddress], logLevel: 'silent' });
const { output } = await bundle.generate({ format: 'esm', codeSplitting: false });
const [{ code: source }] = output;
if (/import\.meta|^import /m.test(source)) throw new Error('the worker needs other files');
await writeFile(new URL('worker.js', dist), source);
await rm(new URL('worker.js.map', dist));

/** Replaces the module's text by a default export. */
const fill = (module, text) => writeFile(new URL(module, dist), `export default ${JSON.stringify(text)};\n`);
const packed = async (file) => gzipSync(await readFile(new URL(file, wasm)), { level: 9 }).toString('base64');
await fill('worker-source.js', source);
await fill('engine-wasm.js', await packed('mobilemoe_web_bg.wasm'));
await fill('constrain-wasm.js', await packed('mobilemoe_constrain_bg.wasm'));
