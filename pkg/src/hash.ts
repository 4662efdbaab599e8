/** A short name for a text, the same each time: FNV-1a of its characters. Not for secrets. */
export function hashOf(text: string): string {
  const hash = [...text].reduce((hash, character) => Math.imul(hash ^ character.codePointAt(0)!, 0x01000193), 0x811c9dc5);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
