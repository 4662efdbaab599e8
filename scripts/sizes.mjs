// `npm run sizes`: bytes of each file of the package that a page may load: as it is, in gzip and in brotli, as servers send it.
// `npm run sizes -- FILES`: of these, and of all together.

import { readFileSync, readdirSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const PACKAGE = fileURLToPath(new URL('../pkg/', import.meta.url));

/** What is loaded when: the first group whose pattern a file's path matches has it. */
const GROUPS = [
  ['where a bundler loses the files, instead of them', /-wasm\.js|worker-source/],
  ['parts of dist/worker.js, which a page does not load', /^(generate|constrain|module|turns|variant|capability|mobilemoe_web|mobilemoe_constrain)\.js$/],
  ['structured output, when first used', /constrain/],
  ['adapters, when imported', /ai-sdk|prompt-api/],
  ['core', /./],
];

/** @returns {{ raw: number, gzip: number, brotli: number }} bytes */
function measure(file, quality = 11) {
  const bytes = readFileSync(file);
  const params = { [constants.BROTLI_PARAM_QUALITY]: quality };
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes, { params }).length };
}

const add = (a, b) => ({ raw: a.raw + b.raw, gzip: a.gzip + b.gzip, brotli: a.brotli + b.brotli });

const sum = (sizes) => sizes.reduce(add, { raw: 0, gzip: 0, brotli: 0 });

/** The files of each group, by path; the core's first. */
function grouped() {
  const files = ['dist', 'wasm']
    .flatMap((folder) => readdirSync(join(PACKAGE, folder)).map((name) => join(PACKAGE, folder, name)))
    .filter((file) => /\.(js|wasm)$/.test(file))
    .sort();
  const groupOf = (file) => GROUPS.findIndex(([, pattern]) => pattern.test(basename(file)));
  return GROUPS.map(([group], i) => ({ group, files: files.filter((file) => groupOf(file) === i) })).reverse();
}

/**
 * What a page loads to run a model: brotli bytes.
 * @param {number} quality brotli's; 11, the best, takes half a minute
 */
export function coreBytes(quality) {
  return sum(grouped()[0].files.map((file) => measure(file, quality))).brotli;
}

const kB = (bytes) => (bytes / 1000).toFixed(1);
const row = (name, { raw, gzip, brotli }) => console.log(`| ${name} | ${kB(raw)} | ${kB(gzip)} | ${kB(brotli)} |`);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const given = process.argv.slice(2);
  console.log('| kB (1000 bytes) | raw | gzip | brotli |\n|---|---:|---:|---:|');
  for (const { group, files } of given.length ? [{ group: 'in all', files: given }] : grouped()) {
    const sizes = files.map((file) => measure(file));
    files.forEach((file, i) => row(`\`${given.length ? file : relative(PACKAGE, file)}\``, sizes[i]));
    row(`**${group}**`, sum(sizes));
  }
}
