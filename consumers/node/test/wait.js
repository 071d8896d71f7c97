/**
 * Return once `condition` holds.
 * @param {() => unknown} condition
 */
export async function until(condition) {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${condition}`);
    await new Promise((wake) => setTimeout(wake, 5));
  }
}
