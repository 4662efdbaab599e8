/** The source of `worker.js`, for where that file cannot be had; the build fills it in (scripts/bundle-worker.mjs). */
const source: string = '';
export default source;
