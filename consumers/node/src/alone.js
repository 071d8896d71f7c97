/**
 * What is answered to a request that came to one service alone, and that it leaves undecided: see the head of
 * `consumers/alone.py`, which tells why.
 */
import { HEADER_DETAIL, HEADER_SERVICE, HEADER_STATUS, STATUS_FAILED, STATUS_NONE, encodeReply } from './contract.js';

/** @typedef {import('./log.js').Log} Log */
/** @typedef {import('./service.js').Answer} Answer */
/** @typedef {import('./service.js').Reply} Reply */

/** Events that are told of: their names come from peers. */
const TOLD = 1_000;

/** Answers for one service. */
export class Alone {
  #service;
  #log;
  /** @type {Set<string>} */
  #told = new Set();
  /** What it said last of a request that it has no handler for. */
  why = '';

  /**
   * @param {string} service
   * @param {Log} log
   */
  constructor(service, log) {
    this.#service = service;
    this.#log = log;
  }

  /**
   * Return what to send in place of an answer without a body; undefined if nothing is to be sent. Without a handler
   * of its event the request has failed. A handler that has no say says so.
   * @param {Answer} answer
   * @returns {Reply | undefined}
   */
  reply({ result, event }) {
    if (result === 'unhandled' && event !== undefined) {
      this.why = `no handler for ${event} in ${this.#service}`;
      this.#tell(event);
      const headers = { [HEADER_SERVICE]: this.#service, [HEADER_STATUS]: STATUS_FAILED, [HEADER_DETAIL]: this.why };
      return { body: encodeReply({ error: 'UnknownEvent' }), headers };
    }
    if (result !== 'silent') return undefined;
    return { body: Buffer.alloc(0), headers: { [HEADER_SERVICE]: this.#service, [HEADER_STATUS]: STATUS_NONE } };
  }

  /**
   * Log it, once for each event.
   * @param {string} event
   */
  #tell(event) {
    if (this.#told.has(event) || this.#told.size >= TOLD) return;
    this.#told.add(event);
    const name = this.#service;
    this.#log.error(
      `${name}: no handler of ${event}, and it alone was asked: its calls fail. Give ${name} a handler of the event, ` +
        `or take it out of the policy's lists for that event (services, backup, observers, shadows)`,
    );
  }
}
