/** The benchmark page: choose a model, watch, take the figures along. It uses the package as any page would. */
import { MobileMoE, MobileMoEError, type BenchmarkOptions, type LoadProgress } from '../../pkg/dist/index.js';
import { capability } from './capability.js';
import { element } from './element.js';
import { hideNotice, notify } from './notice.js';
import { comparison, facts, json, tables, type Measured, type Table } from './report.js';

const page = {
  options: element('options', HTMLFormElement),
  url: element('url', HTMLInputElement),
  capability: element('capability', HTMLParagraphElement),
  runningName: element('running-name', HTMLSpanElement),
  runningBar: element('running-bar', HTMLProgressElement),
  runningLine: element('running-line', HTMLParagraphElement),
  stop: element('stop', HTMLButtonElement),
  results: element('results', HTMLElement),
  copy: element('copy', HTMLButtonElement),
  download: element('download', HTMLAnchorElement),
  again: element('again', HTMLButtonElement),
};

const SYNTHETIC = 'synthetic-';
const EXTENTS: Record<string, BenchmarkOptions> = {
  quick: { prompts: [128, 512], contexts: [256], budgetMs: 10_000 },
  full: {},
};

function show(view: 'choose' | 'running' | 'done'): void {
  document.body.dataset.view = view;
}

/** The models to measure, the first to be compared with the others. */
function chosen(): string[] {
  const model = new FormData(page.options).get('model');
  if (model === 'compare') return [`${SYNTHETIC}S`, `${SYNTHETIC}pro`];
  return [model === 'url' ? page.url.value.trim() : String(model)];
}

async function run(): Promise<void> {
  hideNotice();
  page.results.replaceChildren();
  show('running');
  const abort = new AbortController();
  page.stop.onclick = () => abort.abort();
  // A phone that locks its screen stops the GPU.
  const awake = await navigator.wakeLock?.request('screen').catch(() => undefined);
  const all: Measured[] = [];
  try {
    const options = EXTENTS[String(new FormData(page.options).get('extent'))] ?? {};
    for (const source of chosen()) {
      if (abort.signal.aborted) break;
      all.push(await measure(source, options, abort.signal));
      present(all);
    }
  } catch (error) {
    if (!(error instanceof MobileMoEError && error.code === 'Aborted')) notify(error);
  } finally {
    void awake?.release();
  }
  show(all.length ? 'done' : 'choose');
}

async function measure(source: string, options: BenchmarkOptions, signal: AbortSignal): Promise<Measured> {
  const shape = source.replace(SYNTHETIC, '').replace(/\/$/, '').split('/').at(-1) || source;
  page.runningName.textContent = shape;
  const prose = await (await fetch('bench.txt')).text();
  const began = performance.now();
  const engine = await MobileMoE.load(source, { onProgress: showLoading, signal });
  try {
    const load_ms = performance.now() - began;
    const onProgress: BenchmarkOptions['onProgress'] = ({ now, done, total }) => {
      page.runningBar.max = total;
      page.runningBar.value = done;
      page.runningLine.textContent = `${now}\n${done} of ${total} done`;
    };
    const report = await engine.benchmark({ ...options, prose, signal, onProgress });
    return { shape, load_ms, experts: engine.facts.experts, ...report };
  } finally {
    engine.dispose();
  }
}

function showLoading({ fraction, text }: LoadProgress): void {
  page.runningBar.max = 1;
  page.runningBar.value = fraction;
  page.runningLine.textContent = text;
}

function present(all: Measured[]): void {
  const [first, ...others] = all;
  if (!first) return;
  page.results.replaceChildren(
    ...others.map((other) => tableElement(comparison(first, other))),
    ...all.flatMap((measured) => [heading(measured), factList(measured), ...tables(measured).map(tableElement)]),
  );
  const text = JSON.stringify(json(all), undefined, 1);
  page.copy.onclick = () =>
    navigator.clipboard.writeText(text).then(() => {
      page.copy.textContent = 'Copied';
      setTimeout(() => (page.copy.textContent = 'Copy JSON'), 2000);
    }, notify);
  URL.revokeObjectURL(page.download.href);
  page.download.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
}

function heading({ shape, aborted }: Measured): HTMLElement {
  const h2 = document.createElement('h2');
  h2.textContent = aborted ? `${shape}, ended early` : shape;
  return h2;
}

function factList(measured: Measured): HTMLElement {
  const list = document.createElement('dl');
  for (const [label, text] of facts(measured)) {
    const [term, description] = [document.createElement('dt'), document.createElement('dd')];
    term.textContent = label;
    description.textContent = text;
    list.append(term, description);
  }
  return list;
}

function tableElement({ title, columns, rows }: Table): HTMLElement {
  const table = document.createElement('table');
  table.createCaption().textContent = title;
  const head = table.createTHead().insertRow();
  for (const column of columns) {
    const cell = document.createElement('th');
    cell.scope = 'col';
    cell.textContent = column;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const { text, note, bar } of row) {
      const cell = line.insertCell();
      cell.textContent = text;
      if (bar !== undefined) cell.style.setProperty('--bar', String(bar));
      if (note) {
        const small = document.createElement('small');
        small.textContent = note;
        cell.append(small);
      }
    }
  }
  return table;
}

page.options.addEventListener('change', () => {
  page.url.hidden = new FormData(page.options).get('model') !== 'url';
  page.url.required = !page.url.hidden;
});
page.options.addEventListener('submit', (event) => {
  event.preventDefault();
  void run();
});
page.again.addEventListener('click', () => show('choose'));
void capability().then(({ ok, text }) => {
  page.capability.dataset.ok = String(ok);
  page.capability.textContent = text;
});
