import { MobileMoE, MobileMoEError, type LoadProgress, type Source } from '../../pkg/dist/index.js';
import * as format from './format.js';
import { hideNotice, notify } from './notice.js';
import { page, show } from './page.js';

declare global {
  interface Window {
    /** Chromium only; elsewhere the folder comes through a file input. */
    showDirectoryPicker?: () => Promise<FileSystemDirectoryHandle>;
  }
}

export const SYNTHETIC = 'synthetic-tiny';

/** Lets the user choose a checkpoint; calls `opened` with each one that loads. */
export function offerToOpen(opened: (engine: MobileMoE, name: string) => void): void {
  let cancel: AbortController | undefined;

  async function open(source: Source, name: string): Promise<void> {
    if (cancel) return;
    cancel = new AbortController();
    hideNotice();
    page.loadingName.textContent = name;
    show('loading');
    try {
      opened(await MobileMoE.load(source, { onProgress: showProgress, signal: cancel.signal }), name);
    } catch (error) {
      show('open');
      if (!(error instanceof MobileMoEError && error.code === 'Aborted')) notify(error);
    } finally {
      cancel = undefined;
    }
  }

  function openAddress(address: string): void {
    history.replaceState(null, '', `?model=${encodeURIComponent(address)}`);
    page.url.value = address === SYNTHETIC ? '' : address;
    void open(address, address === SYNTHETIC ? 'untrained tiny model' : nameOf(address));
  }

  function openFiles(files: File[]): void {
    const folder = files[0]?.webkitRelativePath.split('/')[0];
    if (files.length) void open(files, folder || 'local files');
  }

  page.openUrl.addEventListener('submit', (event) => {
    event.preventDefault();
    openAddress(page.url.value.trim());
  });
  page.openSynthetic.addEventListener('click', () => openAddress(SYNTHETIC));
  void listServed((name) => openAddress(`/models/${encodeURIComponent(name)}/`));
  page.cancelLoad.addEventListener('click', () => cancel?.abort());
  page.folderInput.addEventListener('change', () => openFiles([...(page.folderInput.files ?? [])]));
  page.pickFolder.addEventListener('click', () => {
    if (!window.showDirectoryPicker) return page.folderInput.click();
    window.showDirectoryPicker().then(
      (directory) => open(directory, directory.name),
      (error: Error) => error.name === 'AbortError' || notify(error),
    );
  });

  const carriesFiles = (event: DragEvent) => page.body.dataset.view === 'open' && event.dataTransfer?.types.includes('Files');
  addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    page.body.classList.add('dropping');
  });
  addEventListener('dragleave', (event) => event.relatedTarget || page.body.classList.remove('dropping'));
  addEventListener('drop', (event) => {
    page.body.classList.remove('dropping');
    if (!carriesFiles(event)) return;
    event.preventDefault();
    droppedFiles(event.dataTransfer!).then(openFiles, notify);
  });

  const asked = new URLSearchParams(location.search).get('model');
  if (asked) openAddress(asked);
}

/** Offers what the server says it has; other servers than the demo's say nothing. */
async function listServed(open: (name: string) => void): Promise<void> {
  const names: unknown = await fetch('/models/').then((response) => (response.ok ? response.json() : []), () => []).catch(() => []);
  if (!Array.isArray(names) || !names.length) return;
  for (const name of names) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'link';
    button.textContent = String(name);
    button.addEventListener('click', () => open(String(name)));
    page.served.insertBefore(button, page.served.lastElementChild);
  }
  page.served.hidden = false;
}

function showProgress({ stage, fraction, text, bytesPerSecond, secondsLeft }: LoadProgress): void {
  page.loadingBar.value = fraction;
  const parts = [text];
  if (stage === 'weights' && bytesPerSecond > 0) {
    parts.push(`${format.bytes(bytesPerSecond)}/s`);
    if (secondsLeft) parts.push(`${format.seconds(secondsLeft)} left`);
  }
  page.loadingLine.textContent = parts.join(' · ');
}

/** The last part of an address that says something. */
function nameOf(address: string): string {
  const parts = address.replace(/[?#].*/, '').split('/').filter((part) => part && part !== 'resolve' && part !== 'main');
  return parts.at(-1) ?? address;
}

/** The dropped files and those directly inside dropped folders. */
async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files: File[] = [];
  for (const entry of entries) {
    const inside = entry.isDirectory ? await listFolder(entry as FileSystemDirectoryEntry) : [entry];
    for (const item of inside) {
      if (item.isFile) files.push(await new Promise<File>((resolve, reject) => (item as FileSystemFileEntry).file(resolve, reject)));
    }
  }
  return files;
}

async function listFolder(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}
