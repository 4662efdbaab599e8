/** A benchmark's figures as tables; what shows them is up to the page, or to `npm run bench`. */
import type { BenchmarkReport, KernelProfile, Spread } from '../../pkg/dist/index.js';
import * as format from './format.js';

/** What was measured of one model. */
export interface Measured extends BenchmarkReport {
  shape: string;
  load_ms: number;
  /** Routed experts in a layer. */
  experts: number;
}

export interface Cell {
  text: string;
  /** In small print under or behind it. */
  note?: string;
  /** Of the largest, from 0 to 1: a bar. */
  bar?: number;
}

export interface Table {
  title: string;
  columns: string[];
  rows: Cell[][];
}

/** Label and text, for a list. */
export function facts(measured: Measured): [string, string][] {
  const count = (value: number | undefined) => whole(value ?? 0);
  const out: [string, string][] = [
    ['adapter', `${measured.adapter} (${measured.backend})`],
    ['variant', `${measured.variant}; cache ${measured.kv}, chunks of ${measured.chunk_tokens}`],
    [
      'memory',
      `${format.bytes(measured.gpu_bytes)} on the GPU, ${format.bytes(measured.weight_bytes)} of them weights`,
    ],
    ['loaded in', format.milliseconds(measured.load_ms)],
  ];
  if (measured.dispatches_per_token !== undefined) {
    out.push([
      'a token',
      `${format.plural(Math.round(measured.dispatches_per_token), 'dispatch', 'dispatches')}, ` +
        `${format.plural(Math.round(measured.passes_per_token ?? 0), 'pass', 'passes')}, ` +
        `${format.plural(Math.round(measured.submits_per_token ?? 0), 'submit')}, ` +
        `${count(measured.readback_bytes_per_token)} bytes read back; ` +
        `${count(measured.bind_groups_created_per_token)} bind groups and ${count(measured.buffers_created_per_token)} buffers made, ` +
        `${count(measured.buffer_writes_per_token)} buffer writes`,
    ]);
  }
  const ratio = measured.weight_bytes_per_token / measured.min_weight_bytes_per_token;
  out.push([
    'weights read',
    `${format.bytes(measured.weight_bytes_per_token)} a token, ${ratio.toFixed(3)} times the least`,
  ]);
  const reached = measured.decode[0] && `; decoding reaches ${percent(measured.decode[0].gb_per_s / measured.read_gb_per_s)} of it`;
  if (measured.read_gb_per_s) {
    out.push(['memory gives', `${figures(measured.read_gb_per_s)} GB/s to plain reading${reached ?? ''}`]);
  }
  return out;
}

export function tables(measured: Measured): Table[] {
  const out: Table[] = [];
  const [shortest] = measured.decode;
  if (shortest) {
    const computed = measured.decode.some(({ fill }) => fill === 'prompt');
    out.push({
      title: computed ? 'Decoding after a prompt' : 'Decoding after random keys and values',
      columns: ['after', 'ms/token', 'tokens/s', 'speed', 'GB/s'],
      rows: measured.decode.map(({ context, ms_per_token, gb_per_s }) => [
        { text: whole(context) },
        spread(ms_per_token),
        { text: figures(1000 / ms_per_token.median) },
        { text: percent(shortest.ms_per_token.median / ms_per_token.median) },
        { text: figures(gb_per_s) },
      ]),
    });
  }
  if (measured.prefill.length) {
    out.push({
      title: 'Prefill, to the first token',
      columns: ['prompt', 'tokens/s', 'experts used'],
      rows: measured.prefill.map((figure) => {
        const cut = figure.measured_tokens < figure.prompt_tokens ? `, first ${whole(figure.measured_tokens)}` : '';
        const by = `of ${measured.experts} by ${figure.experts_used_by_tokens}`;
        return [
          { text: whole(figure.prompt_tokens), note: figure.stream + cut },
          spread(figure.tokens_per_s),
          measured.experts ? { text: whole(figure.experts_used), note: by } : { text: 'none' },
        ];
      }),
    });
  }
  if (measured.profile) {
    const { decode, decode_context, prefill, prefill_tokens } = measured.profile;
    out.push(kernels(`GPU time of a token after ${whole(decode_context)}`, decode));
    out.push(kernels(`GPU time of ${whole(prefill_tokens)} tokens of prompt`, prefill));
  }
  return out;
}

function kernels(title: string, profile: KernelProfile[]): Table {
  const sum = (value: (kernel: KernelProfile) => number) => profile.reduce((total, kernel) => total + value(kernel), 0);
  const all = { kernel: 'in all', dispatches: sum(({ dispatches }) => dispatches), ms: sum(({ ms }) => ms) };
  const bytes = sum(({ bytes }) => bytes ?? 0);
  const largest = Math.max(...profile.map(({ ms }) => ms));
  const rows = [...profile, { ...all, bytes: bytes || null, gb_per_s: bytes ? bytes / all.ms / 1e6 : null }];
  return {
    title,
    columns: ['kernel', 'ms', 'calls', ...(bytes ? ['read', 'GB/s'] : [])],
    rows: rows.map(({ kernel, ms, dispatches, bytes: read, gb_per_s }) => [
      { text: kernel, bar: kernel === all.kernel ? 0 : ms / largest },
      { text: figures(ms) },
      { text: whole(dispatches) },
      ...(bytes ? [{ text: read === null ? '' : format.bytes(read) }, { text: gb_per_s === null ? '' : figures(gb_per_s) }] : []),
    ]),
  };
}

/** How many times as fast the first model is as the other, figure by figure that both have. */
export function speedups(first: Measured, other: Measured): { figure: string; ratio: number }[] {
  const decode = first.decode.flatMap(({ context, ms_per_token }) => {
    const theirs = other.decode.find((figure) => figure.context === context);
    return theirs ? [{ figure: `decode after ${context}`, ratio: theirs.ms_per_token.median / ms_per_token.median }] : [];
  });
  const prefill = first.prefill.flatMap(({ prompt_tokens, stream, tokens_per_s }) => {
    const theirs = other.prefill.find((figure) => figure.prompt_tokens === prompt_tokens && figure.stream === stream);
    const figure = `prefill of ${prompt_tokens}, ${stream}`;
    return theirs ? [{ figure, ratio: tokens_per_s.median / theirs.tokens_per_s.median }] : [];
  });
  return [...decode, ...prefill];
}

export function comparison(first: Measured, other: Measured): Table {
  const rows = speedups(first, other).map(({ figure, ratio }) => [{ text: figure }, { text: `${ratio.toFixed(2)} x` }]);
  return { title: `${first.shape} over ${other.shape}`, columns: ['figure', 'as fast'], rows };
}

/** One model's object; of several an object with theirs and with how the first compares: as `mobilemoe bench --json`. */
export function json(all: Measured[]): unknown {
  const [first, ...others] = all;
  if (!first || !others.length) return first;
  const compared = others.map((other) => ({ of: first.shape, over: other.shape, figures: speedups(first, other) }));
  return { models: all, speedups: compared };
}

function spread({ median, min, max, runs }: Spread): Cell {
  return { text: figures(median), note: runs > 1 ? `${figures(min)}–${figures(max)}, ${runs} runs` : '1 run' };
}

function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** Four figures: 0.123, 1.234, 12.34, 123.4, 1,234. */
function figures(value: number): string {
  if (value >= 1000) return whole(value);
  return value.toFixed(value < 10 ? 3 : value < 100 ? 2 : 1);
}
