import { bad, checkOptions, isFunction, isSignal, isText, reading } from './check.js';
import type { Connection } from './connection.js';
import { MobileMoEError } from './errors.js';
import type { StoredDamage, StoredFacts } from './facts.js';
import { isSource, LOAD } from './mobilemoe.js';
import { ProgressMeter } from './progress.js';
import type { WireSource } from './protocol.js';
import { given } from './request.js';
import { wireSource, type Source, type SourceOptions } from './source.js';
import { inWorker, type EngineFiles } from './spawn.js';
import { persist } from './storage.js';
import type { LoadProgress } from './types.js';

/** A model on this device, or the part of it that is there. */
export interface StoredModel {
  /** What `load` is given: a Hugging Face id, an address; of `{ files }`, the address of the config. */
  id: string;
  revision: string;
  /** Of it on this device. */
  bytes: number;
  /** Of the files that were begun. */
  bytesTotal: number;
  /** It can be loaded without a network. */
  complete: boolean;
  /** What all of its files were held against: hashes that you gave, that the hub publishes, or nothing. */
  verified: 'sri' | 'sha256' | 'none';
  /** When it was last loaded; `null` if it never was. */
  lastUsed: Date | null;
}

/** What this site may store, as far as the browser tells. */
export interface Storage {
  /** All that this site keeps, models or not. */
  usedBytes: number;
  quotaBytes: number;
  /** The browser will not clear it by itself. */
  persisted: boolean;
}

export interface DownloadOptions extends SourceOptions, EngineFiles {
  onProgress?: (progress: LoadProgress) => void;
  /** Ends the download; what has come stays, and is not fetched again. */
  signal?: AbortSignal;
}

export interface ImportOptions extends EngineFiles {
  /** The name it gets: that of the repository the files are from, or one of yours. Default: "local/" and the folder's name. */
  id?: string;
  /** Default "main". */
  revision?: string;
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}

const DOWNLOAD = { ...LOAD, store: () => {} };

/** The models on the device, kept by `load`, `download` or `importFiles` in this site's private file system. */
export const store = {
  /** What is there, the last used first. */
  async list(options: EngineFiles = {}): Promise<StoredModel[]> {
    const models = await inWorker(options, undefined, (connection) => connection.call('storedModels', []));
    return models.map((model) => ({ ...model, lastUsed: model.lastUsed && new Date(model.lastUsed) }));
  },

  /** Whether all of a model is there, so that `load` needs no network. */
  async has(source: Source, options: SourceOptions & EngineFiles = {}): Promise<boolean> {
    const { id, revision } = webSource(source, options).store;
    const models = await this.list(engineFiles(options));
    return models.some((model) => model.id === id && model.revision === revision && model.complete);
  },

  /**
   * Fetches a model without loading it; needs no GPU. What is there is not fetched again.
   *
   * @throws MobileMoEError - as `load` does, and "StoreQuota", "StoreUnavailable" if it cannot be kept here.
   */
  async download(source: Source, options: DownloadOptions = {}): Promise<StoredFacts> {
    const { onProgress, signal } = reading(() => checkOptions(options, DOWNLOAD));
    return keep(webSource(source, options), engineFiles(options), onProgress, signal);
  },

  /**
   * Copies files that the user has into the store; `load(id, { store: 'only' })` opens them. Under the id of a repository they
   * are held against what its hub publishes when it is next loaded with a connection.
   */
  async importFiles(files: FileList | readonly File[] | FileSystemDirectoryHandle, options: ImportOptions = {}): Promise<StoredFacts> {
    const { id = `local/${folderOf(files)}`, revision = 'main', onProgress, signal } = reading(() => checkOptions(options, IMPORT));
    isSource(files);
    const source = { ...wireSource(files), store: { id, revision, keep: true, only: false, writes: true, integrity: {} } };
    return keep(source, engineFiles(options), onProgress, signal);
  },

  /** The files of a model as they were published, to be saved elsewhere. Reading them needs no memory before they are read. */
  async export(id: string, options: { revision?: string } & EngineFiles = {}): Promise<File[]> {
    return inWorker(engineFiles(options), undefined, async (connection) => {
      const files = [];
      for (const model of await revisions(connection, id, options.revision)) {
        const { folder, names } = await connection.call('storedNames', [id, model.revision]);
        const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('mobilemoe');
        const directory = await root.getDirectoryHandle(folder);
        for (const name of names) {
          const stored = await (await directory.getFileHandle(name.replaceAll('%', '%25').replaceAll('/', '%2F'))).getFile();
          files.push(new File([stored], name, { lastModified: stored.lastModified }));
        }
      }
      return files;
    });
  },

  /** Reads all that is stored of a model: what of it is not as it was. The next `load` fetches just that again. */
  async verify(id: string, options: { revision?: string; onProgress?: (progress: LoadProgress) => void; signal?: AbortSignal } & EngineFiles = {}): Promise<StoredDamage[]> {
    const meter = new ProgressMeter(options.onProgress);
    return inWorker(engineFiles(options), options.signal, async (connection) => {
      const damages = [];
      for (const { revision } of await revisions(connection, id, options.revision)) {
        damages.push(...(await connection.call('verifyStored', [id, revision], { onEvent: (progress) => meter.update(progress) })));
      }
      meter.ready();
      return damages;
    });
  },

  /** Removes a model: all revisions of it, or one. A model that is loaded goes on running. */
  async delete(id: string, options: { revision?: string } & EngineFiles = {}): Promise<void> {
    await inWorker(engineFiles(options), undefined, async (connection) => {
      for (const { revision } of await revisions(connection, id, options.revision)) await connection.call('deleteStored', [id, revision]);
    });
  },

  /** Removes every model. */
  async clear(options: EngineFiles = {}): Promise<void> {
    await inWorker(options, undefined, async (connection) => {
      for (const { id, revision } of await connection.call('storedModels', [])) await connection.call('deleteStored', [id, revision]);
    });
  },

  /** What this site stores and may store. */
  async estimate(): Promise<Storage> {
    if (!navigator.storage?.estimate) throw new MobileMoEError('StoreUnavailable', 'This browser does not tell what may be stored: is the page secure?');
    const { usage = 0, quota = 0 } = await navigator.storage.estimate();
    return { usedBytes: usage, quotaBytes: quota, persisted: await navigator.storage.persisted() };
  },

  /** Asks the browser not to clear the models by itself; whether it agreed. `load` asks once a model is stored as a whole. */
  persist,
};

const IMPORT = { id: isText, revision: isText, onProgress: isFunction, signal: isSignal, worker: LOAD.worker, workerUrl: LOAD.workerUrl, wasmUrl: LOAD.wasmUrl };

function engineFiles({ worker, workerUrl, wasmUrl }: EngineFiles): EngineFiles {
  return given({ worker, workerUrl, wasmUrl });
}

/** A source that can be stored. */
function webSource(source: Source, options: SourceOptions): WireSource & Required<Pick<WireSource, 'store'>> {
  const wire = reading(() => {
    isSource(source);
    const { revision, endpoint, token, integrity } = options;
    return wireSource(source, given({ revision, endpoint, token, integrity }));
  });
  if (!wire.store?.keep) throw bad('source', 'source: only models from the web are stored by their name; `importFiles` takes picked files');
  return { ...wire, store: wire.store };
}

async function keep(source: WireSource, files: EngineFiles, onProgress: DownloadOptions['onProgress'], signal: AbortSignal | undefined): Promise<StoredFacts> {
  const meter = new ProgressMeter(onProgress);
  const facts = await inWorker(files, signal, (connection) => connection.call('download', [source], { onEvent: (progress) => meter.update(progress) }));
  meter.ready();
  if (!facts.complete) {
    const { code, message } = facts.reason ?? { code: 'StoreUnavailable', message: `${facts.id} could not be kept here` };
    throw new MobileMoEError(code, message);
  }
  void persist();
  return facts;
}

/** The stored revisions of a model. */
async function revisions(connection: Connection, id: string, revision: string | undefined): Promise<StoredModel[]> {
  const models = await connection.call('storedModels', []);
  const found = models.filter((model) => model.id === id && (revision === undefined || model.revision === revision));
  if (found.length === 0) throw new MobileMoEError('NotStored', `${id}${revision ? ` (${revision})` : ''} is not on this device; there are: ${models.map(({ id }) => id).join(', ') || 'none'}`);
  return found;
}

function folderOf(files: FileList | readonly File[] | FileSystemDirectoryHandle): string {
  const name = 'kind' in files ? files.name : [...files][0]?.webkitRelativePath?.split('/')[0];
  return name?.replace(/[^\w.-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '') || 'model';
}
