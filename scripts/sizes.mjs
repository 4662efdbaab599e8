// `npm run sizes`: bytes of each file of the package that a page may load: as it is, in gzip and in brotli, as servers send it.

import { readFileSync, readdirSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const PACKAGE = fileURLToPath(new URL('../pkg/', import.meta.url));

/** What is loaded when: the first group whose pattern a file's path matches has it. */
const GROUPS = [
  ['structured output, when first used', /constrain/],
  ['adapters, when imported', /ai-sdk/],
  ['core', /./],
];

/** @returns {{ raw: number, gzip: number, brotli: number }} bytes */
function measure(file, quality) {
  const bytes = readFileSync(file);
  const params = { [constants.BROTLI_PARAM_QUALITY]: quality };
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes, { params }).length };
}

const add = (a, b) => ({ raw: a.raw + b.raw, gzip: a.gzip + b.gzip, brotli: a.brotli + b.brotli });

/**
 * @param {number} quality brotli's; 11, the best, takes half a minute
 * @returns {{ group: string, files: { name: string, raw: number, gzip: number, brotli: number }[], total: object }[]} core first
 */
export function packageSizes(quality = 11) {
  const files = ['dist', 'wasm']
    .flatMap((folder) => readdirSync(join(PACKAGE, folder), { recursive: true }).map((name) => join(PACKAGE, folder, String(name))))
    .filter((file) => /\.(js|wasm)$/.test(file))
    .sort();
  const groupOf = (file) => GROUPS.find(([, pattern]) => pattern.test(basename(file)))[0];
  return GROUPS.map(([group]) => {
    const own = files.filter((file) => groupOf(file) === group).map((file) => ({ name: relative(PACKAGE, file), ...measure(file, quality) }));
    return { group, files: own, total: own.reduce(add, { raw: 0, gzip: 0, brotli: 0 }) };
  }).reverse();
}

const kB = (bytes) => (bytes / 1000).toFixed(1);
const row = (name, { raw, gzip, brotli }) => `| ${name} | ${kB(raw)} | ${kB(gzip)} | ${kB(brotli)} |`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log('| kB (1000 bytes) | raw | gzip | brotli |\n|---|---:|---:|---:|');
  for (const { group, files, total } of packageSizes()) {
    for (const { name, ...size } of files) console.log(row(`\`${name}\``, size));
    console.log(row(`**${group}**`, total));
  }
}
