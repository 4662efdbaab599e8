import { MobileMoEError } from './errors.js';
import type { NamedFile, WireSource } from './protocol.js';
import type { Source } from './types.js';

/** A source in the form that the worker takes. */
export function wireSource(source: Source): WireSource {
  if (source === 'synthetic-tiny') return { synthetic: true };
  if (typeof source === 'string') {
    try {
      return { url: new URL(source, document.baseURI).href };
    } catch {
      throw new MobileMoEError('BadUrl', `"${source}" is not a URL`);
    }
  }
  if ('kind' in source) return { directory: source };
  return { files: nameFiles([...source].map((file) => ({ name: file.webkitRelativePath || file.name, file }))) };
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
