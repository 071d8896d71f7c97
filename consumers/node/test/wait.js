/**
 * Return what `condition` gives, once that is something.
 * @template T
 * @param {() => T | undefined | null | false | Promise<T | undefined | null | false>} condition
 * @returns {Promise<T>}
 */
export async function until(condition) {
  const end = Date.now() + 20_000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${condition}`);
    await new Promise((wake) => setTimeout(wake, 5));
  }
}
