/** An event as a handler gets it. */

/** @typedef {import('./contract.js').Decision} Decision */
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
  #send;
  #extended = false;

  /**
   * @param {RequestBody} body
   * @param {number} left milliseconds that it may still take; infinity: as many as it likes
   * @param {string} [correlationId]
   * @param {{ [key: string]: any }} [headers]
   * @param {(milliseconds: number) => void} [send] asks the adapter for more time
   */
  constructor(body, left, correlationId, headers = {}, send = undefined) {
    this.event = body.event;
    /** The name of the Kamailio. */
    this.node = body.node;
    /** @type {Data} A map, or a Uint8Array where Kamailio sent no JSON object. */
    this.data = body.data;
    /**
     * What services decided that were asked before this one, by their names, if the policy asks one after the other.
     * @type {{ [service: string]: Decision }}
     */
    this.decisions = body.decisions ?? {};
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
    this.#send = send;
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
   * Ask for more time, once. It is sent at once; `deadline`, `timeLeft` and `signal` move. The adapter moves its own
   * deadline once for a call, as far as `max_deadline` of the event's policy, and says nothing of it: a decision that
   * comes too late all the same comes to nothing.
   * @param {number} milliseconds from the deadline that there is
   * @returns {boolean} false if it was not asked for: it was before, the deadline is over, or nobody waits for a
   *   decision (a notice, what an observer gets)
   * @throws {RangeError} for what is no number above 0
   */
  extend(milliseconds) {
    if (!(Number.isFinite(milliseconds) && milliseconds > 0)) {
      throw new RangeError(`${milliseconds} is no number of milliseconds above 0`);
    }
    if (this.#extended || this.correlationId === undefined || this.deadline === undefined) return false;
    if (this.timeLeft <= 0) return false;
    this.#extended = true;
    this.#until += milliseconds;
    this.deadline += milliseconds;
    this.#send?.(milliseconds);
    return true;
  }

  /**
   * Call `late` at the deadline, wherever it moves, after `signal` was aborted.
   * @param {() => void} late
   * @returns {() => void} what calls it off
   */
  atDeadline(late) {
    if (this.timeLeft === Infinity) return () => {};
    const look = () => {
      if (this.timeLeft > 0) timer = wait();
      else {
        this.abort(PASSED);
        late();
      }
    };
    const wait = () => setTimeout(look, Math.min(Math.max(this.timeLeft, 0), DAY));
    let timer = wait();
    return () => clearTimeout(timer);
  }

  /**
   * Abort `signal`, if anybody asked for it.
   * @param {string} why
   */
  abort(why) {
    this.#controller?.abort(new DOMException(why, why === PASSED ? 'TimeoutError' : 'AbortError'));
  }
}
