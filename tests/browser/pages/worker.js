// A page's own worker that uses the package.
import { MobileMoE } from '/pkg/dist/index.js';

const engine = await MobileMoE.load('synthetic-tiny', { chunkTokens: 32 });
const { text } = await engine.generate('Hello', { maxTokens: 4 }).result;
engine.dispose();
postMessage(text);
