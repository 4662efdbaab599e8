import { bad } from './check.js';
import { MobileMoEError } from './errors.js';
import { hashOf } from './hash.js';
import { POCKET } from './pocket.js';
import type { NamedFile, WireSource, WireStore } from './protocol.js';

/**
 * Where a checkpoint comes from:
 *
 * - a Hugging Face id, `"owner/name"`, or the address of its page there;
 * - the URL of a folder, absolute or relative to the page (write `"./owner/name/"` for a relative one that looks like an id);
 * - the URL of each file, where they do not lie in one folder under their own names;
 * - the files of a folder the user picked, or a directory handle;
 * - `"pocket"` (the default), a small model trained for this project, which comes with the package;
 * - `"synthetic-tiny"`, a small untrained model made in memory to try the engine with; or another shape of random weights:
 *   `-mini`, `-S`, `-M`, `-L`, and `-pro`, the dense model that MobileMoE is compared with.
 */
export type Source = string | URL | { files: FileUrls } | FileList | readonly File[] | FileSystemDirectoryHandle;

/** A URL for each file of a checkpoint, by its name there ("config.json", "model.safetensors", "tokenizer.json", ...). */
export type FileUrls = Readonly<Record<string, string | URL>>;

/** What goes with a source on the web. Refused, not ignored, with any other. */
export interface SourceOptions {
  /** Which branch, tag or commit of a Hugging Face repository; default "main". */
  revision?: string;
  /**
   * Where the Hugging Face ids live; default "https://huggingface.co". A mirror serves `/owner/name/resolve/revision/file`
   * and allows the page by CORS.
   */
  endpoint?: string | URL;
  /**
   * An access token, sent as `Authorization: Bearer` to the server that it is for and to no other (browsers drop it when a server
   * redirects elsewhere): gated repositories want one of an account that accepted the licence. It is for the server of the id or
   * URL; of `{ files }` on several servers, for Hugging Face's if it is one of them. Else say for which: `{ [origin]: token }`.
   */
  token?: string | Readonly<Record<string, string>>;
  /**
   * Whether files from the web are kept on this device: `auto` (default) keeps them where the browser allows it, and reads what
   * is there; `off` neither; `only` never touches the network (code "NotStored" if the model is not there). `facts.stored` tells
   * what became of it.
   */
  store?: 'auto' | 'off' | 'only';
  /** What the files must be: a Subresource Integrity string by file name (`"model.safetensors": "sha256-…"`). Else code "Integrity". */
  integrity?: Readonly<Record<string, string>>;
}

const SYNTHETIC = /^synthetic-(?=\w+$)/;
const HUB = 'https://huggingface.co';
const HUB_HOSTS = ['huggingface.co', 'hf.co'];
const ID = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;

/** A source in the form that the worker takes. */
export function wireSource(source: Source, options: SourceOptions = {}): WireSource {
  const ours = source === 'pocket' || (typeof source === 'string' && SYNTHETIC.test(source));
  if (source instanceof URL || (typeof source === 'string' && !ours)) return webSource(source, options);
  if (typeof source !== 'string' && 'files' in source) {
    refuse(options, ['revision', 'endpoint'], 'a Hugging Face id');
    const files = wireUrls(source.files);
    return { web: { files, ...wireTokens(options, Object.values(files)) }, ...storeOfFiles(files, options) };
  }
  refuse(options, ['revision', 'endpoint', 'token', 'integrity'], 'a source on the web');
  if (options.store === 'only') throw bad('store', 'store: "only" goes with a source on the web; what was imported is opened by its id');
  if (source === 'pocket') return { web: { files: wireUrls(POCKET) } };
  if (typeof source === 'string') return { synthetic: source.replace(SYNTHETIC, '') };
  if ('kind' in source) return { directory: source };
  return { files: nameFiles([...source].map((file) => ({ name: file.webkitRelativePath || file.name, file }))) };
}

function webSource(source: string | URL, options: SourceOptions): WireSource {
  const { revision, endpoint = HUB } = options;
  if (typeof source === 'string' && ID.test(source)) return hubSource(absolute(endpoint), source, revision ?? 'main', options);
  const url = absolute(source);
  // The page of a repository stands for its files.
  const [, id, pageRevision] = /^\/([^/]+\/[^/]+)(?:\/tree\/([^/]+))?\/?$/.exec(url.pathname) ?? [];
  if (HUB_HOSTS.includes(url.hostname) && id && ID.test(id)) {
    return hubSource(absolute(endpoint), id, revision ?? decodeURIComponent(pageRevision ?? 'main'), options);
  }
  refuse(options, ['revision', 'endpoint'], 'a Hugging Face id');
  url.pathname = url.pathname.replace(/config\.json$/, '');
  return { web: { url: url.href, ...wireTokens(options, [url.href]) }, ...wireStore(plainAddress(url), '', options) };
}

function hubSource(endpoint: URL, id: string, revision: string, options: SourceOptions): WireSource {
  const hub = endpoint.href.replace(/\/+$/, '');
  const tag = encodeURIComponent(revision);
  const url = `${hub}/${id}/resolve/${tag}/`;
  const listing = `${hub}/api/models/${id}/tree/${tag}?recursive=true`;
  // A mirror's files are its own: they are not taken for those of the hub.
  const stored = hub === HUB ? id : `${hub}/${id}`;
  return { web: { url, page: `${hub}/${id}`, listing, ...wireTokens(options, [url]) }, ...wireStore(stored, revision, options) };
}

function wireStore(id: string, revision: string, { store = 'auto', integrity = {} }: SourceOptions): { store?: WireStore } {
  if (store === 'off' && Object.keys(integrity).length === 0) return {};
  return { store: { id, revision, keep: store !== 'off', only: store === 'only', writes: true, integrity: { ...integrity } } };
}

/** Files at addresses of their own: known by that of the config, told apart by all of them. */
function storeOfFiles(files: Record<string, string>, options: SourceOptions): { store?: WireStore } {
  const addresses = Object.entries(files).map(([name, url]) => [name, plainAddress(new URL(url))] as const);
  const inMemory = addresses.some(([, url]) => !url.startsWith('http'));
  const [, id] = addresses.find(([name]) => name === 'config.json') ?? addresses[0] ?? [];
  if (id === undefined) return {};
  return wireStore(id, hashOf(JSON.stringify(addresses.sort())), inMemory && options.store !== 'only' ? { ...options, store: 'off' } : options);
}

/** Without what changes from visit to visit: signatures of links are in the query. */
function plainAddress(url: URL): string {
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

function wireUrls(files: FileUrls): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([name, url]) => [name, absolute(url).href]));
}

/** The tokens by the origins that they are for. */
function wireTokens({ token }: SourceOptions, urls: string[]): { tokens?: Record<string, string> } {
  if (token === undefined) return {};
  const origins = [...new Set(urls.map((url) => new URL(url)).filter(({ protocol }) => protocol.startsWith('http')).map(({ origin }) => origin))];
  if (typeof token === 'object') {
    const named = Object.entries(token).map(([url, token]) => [absolute(url).origin, token] as const);
    const stranger = named.find(([origin]) => !origins.includes(origin));
    if (stranger) throw bad('token', `token names ${stranger[0]}, but no file is there; files are on ${origins.join(', ')}`);
    return { tokens: Object.fromEntries(named) };
  }
  const hubs = origins.filter((origin) => HUB_HOSTS.includes(new URL(origin).hostname));
  const meant = hubs.length > 0 ? hubs : origins;
  if (meant.length > 1 && meant !== hubs) {
    throw bad('token', `token: the files are on several servers (${origins.join(', ')}); say for which it is: { "${origins[0]}": token }`);
  }
  return { tokens: Object.fromEntries(meant.map((origin) => [origin, token])) };
}

function refuse(options: SourceOptions, names: (keyof SourceOptions)[], expected: string): void {
  const name = names.find((name) => options[name] !== undefined);
  if (name) throw new MobileMoEError('BadOptions', `options: \`${name}\` goes with ${expected} only`);
}

/** Relative to the page, or to the script where there is none. */
export function absolute(url: string | URL): URL {
  try {
    return new URL(url, globalThis.document?.baseURI ?? location.href);
  } catch {
    throw new MobileMoEError('BadUrl', `"${url}" is not a URL`);
  }
}

/** Names files relative to the folder that holds `config.json` (the outermost one, where there are several). */
export function nameFiles(files: NamedFile[]): NamedFile[] {
  const depth = (name: string) => name.split('/').length;
  const config = files
    .filter(({ name }) => name === 'config.json' || name.endsWith('/config.json'))
    .sort((a, b) => depth(a.name) - depth(b.name))[0];
  const folder = config ? config.name.slice(0, -'config.json'.length) : '';
  return files.filter(({ name }) => name.startsWith(folder)).map(({ name, file }) => ({ name: name.slice(folder.length), file }));
}

/** The files directly inside a directory. */
export async function listDirectory(directory: FileSystemDirectoryHandle): Promise<NamedFile[]> {
  const files: NamedFile[] = [];
  for await (const entry of directory.values()) {
    if (entry.kind === 'file') files.push({ name: entry.name, file: await (entry as FileSystemFileHandle).getFile() });
  }
  return files;
}
