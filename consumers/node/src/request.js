/** An event as a handler gets it. */

/** @typedef {import('./contract.js').RequestBody} RequestBody */

/** The longest time that a timer takes; deadlines are seconds away. */
const DAY = 86_400_000;
const PASSED = 'the deadline of the request has passed';

/**
 * An event as a handler gets it. Of a notice, for which nobody waits, the ids and the deadline are undefined.
 * @template [Data=any]
 */
export class Request {
  /** @type {AbortController | undefined} */
  #controller;
  /** @type {number} by the monotonic clock, in milliseconds */
  #until;

  /**
   * @param {RequestBody} body
   * @param {number} left milliseconds that it may still take; infinity: as many as it likes
   * @param {string} [correlationId]
   * @param {{ [key: string]: any }} [headers]
   */
  constructor(body, left, correlationId, headers = {}) {
    this.event = body.event;
    /** The name of the Kamailio. */
    this.node = body.node;
    /** @type {Data} A map, or a Uint8Array where Kamailio sent no JSON object. */
    this.data = body.data;
    this.tmIndex = body.tmIndex;
    this.tmLabel = body.tmLabel;
    this.seq = body.seq;
    /** Epoch milliseconds by this machine's clock. */
    this.deadline = left === Infinity ? undefined : Date.now() + left;
    /** Opaque: what the reply carries. */
    this.correlationId = correlationId;
    /** Of the message; `traceparent` where the call is traced. */
    this.headers = headers;
    this.#until = performance.now() + left;
  }

  /** Whether nobody waits for a decision. */
  get isNotice() {
    return this.tmIndex === undefined;
  }

  /** Milliseconds until the deadline, 0 or less once it has passed; infinity for a notice. */
  get timeLeft() {
    return this.#until - performance.now();
  }

  /**
   * Aborts at the deadline, and if the request is lost: for `fetch`, a database, whatever takes an AbortSignal.
   * @returns {AbortSignal}
   */
  get signal() {
    // Made when it is asked for: most handlers compute, and need none.
    this.#controller ??= new AbortController();
    if (this.timeLeft <= 0) this.abort(PASSED);
    return this.#controller.signal;
  }

  /**
   * Call `late` at the deadline, after `signal` was aborted.
   * @param {() => void} late
   */
  atDeadline(late) {
    const left = this.timeLeft;
    if (left === Infinity) return undefined;
    return setTimeout(() => {
      this.abort(PASSED);
      late();
    }, Math.min(left, DAY));
  }

  /**
   * Abort `signal`, if anybody asked for it.
   * @param {string} why
   */
  abort(why) {
    this.#controller?.abort(new DOMException(why, why === PASSED ? 'TimeoutError' : 'AbortError'));
  }
}
