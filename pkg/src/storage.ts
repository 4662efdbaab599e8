/** Asks the browser not to clear this site's files by itself; whether it agreed. Firefox asks the user. */
export async function persist(): Promise<boolean> {
  try {
    return await navigator.storage.persist();
  } catch {
    return false; // no such thing here: an insecure page, a worker
  }
}
