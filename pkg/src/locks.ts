import { MobileMoEError } from './errors.js';

const nameOf = (id: string, revision: string) => `mobilemoe-web ${id} ${revision}`;

/** Does something with a stored model that nobody else, in this page or another, may do meanwhile; `onWait`: somebody does. */
export async function withModel<T>({ id, revision }: { id: string; revision: string }, onWait: () => void, use: () => Promise<T>): Promise<T> {
  const { locks } = navigator;
  if (!locks) return use();
  // `request` resolves with what the callback returns; the wrapper tells a lock that was not to be had from any result.
  const done = (await locks.request(nameOf(id, revision), { ifAvailable: true }, async (lock) => lock && { result: await use() })) as { result: T } | null;
  if (done) return done.result;
  onWait();
  return locks.request(nameOf(id, revision), use) as Promise<T>;
}

/** The same, but an error if somebody else does something with it. */
export function withFreeModel<T>(model: { id: string; revision: string }, use: () => Promise<T>): Promise<T> {
  const busy = () => {
    throw new MobileMoEError('StoreBusy', `${model.id} is being loaded or stored by another page, or by this one; try again when it is done`);
  };
  return withModel(model, busy, use);
}
