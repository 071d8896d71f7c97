/** Where a service tells what it does: stderr, so that stdout stays free for data. */
import { inspect } from 'node:util';

/**
 * Takes lines, and an error where there is one. `console` will do; so will pino's logger.
 * @typedef {object} Log
 * @property {(text: string, error?: unknown) => void} info
 * @property {(text: string, error?: unknown) => void} warn
 * @property {(text: string, error?: unknown) => void} error
 */

/** @type {Log} */
export const stderr = { info: writer('INFO'), warn: writer('WARNING'), error: writer('ERROR') };

/** @param {string} level */
function writer(level) {
  return (/** @type {string} */ text, /** @type {unknown} */ error) => {
    const at = `${new Date().toISOString()} ${level.padEnd(7)} ${text}`;
    console.error('%s', error === undefined ? at : `${at}\n${inspect(error)}`);
  };
}
