/** `mobilemoe_web_bg.wasm` in gzip and base64, for where that file cannot be had; the build fills it in (scripts/bundle-worker.mjs). */
const gzip: string = '';
export default gzip;
