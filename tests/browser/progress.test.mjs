// The rate and the time left that a loading page shows.

import { strict as assert } from 'node:assert';
import { mock, test } from 'node:test';

import { ProgressMeter } from '../../pkg/dist/progress.js';

test('progress: a steady transfer, then one twice as fast', () => {
  let nowMs = 5_000;
  mock.method(performance, 'now', () => nowMs);
  const reports = [];
  const meter = new ProgressMeter((progress) => reports.push(progress));
  meter.update({ stage: 'opening', bytesDone: 0, bytesTotal: 0 });
  nowMs += 20_000; // compiling is no transfer
  const bytesTotal = 40_000_000;
  let bytesDone = 0;
  const transfer = (seconds, bytesPerSecond) => {
    for (let step = 0; step < seconds * 10; step++) {
      nowMs += 100;
      bytesDone += bytesPerSecond / 10;
      meter.update({ stage: 'weights', bytesDone, bytesTotal });
    }
    return reports.at(-1);
  };
  const near = (found, expected, tolerance) => assert.ok(Math.abs(found - expected) <= tolerance * expected, `${found}, expected ${expected}`);

  assert.deepEqual(reports.map(({ stage }) => stage), ['starting', 'opening']);
  assert.equal(transfer(0.1, 1e6).secondsLeft, undefined, 'one report tells no rate');
  const steady = transfer(9.9, 1e6);
  near(steady.bytesPerSecond, 1e6, 0.001);
  near(steady.secondsLeft, 30, 0.001);
  near(transfer(1, 2e6).bytesPerSecond, 1.28e6, 0.02); // a third of the way after a third of the window
  near(transfer(13, 2e6).bytesPerSecond, 2e6, 0.02);
  assert.equal(transfer(0.1, 20e6).secondsLeft, 0);
  mock.restoreAll();
});
