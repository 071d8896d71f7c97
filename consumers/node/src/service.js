/**
 * A service and its core: a request's message in, the answer out; no transport. RabbitMQ (`work.js`) and the
 * tests' `ask` both go through `Service.answer`.
 */
import {
  CodecError,
  HEADER_CACHE,
  HEADER_DETAIL,
  HEADER_EXTEND,
  HEADER_SERVICE,
  HEADER_STATUS,
  HEADER_TIME_LEFT,
  HEADER_VERSION,
  STATUS_EXTEND,
  STATUS_FAILED,
  decodeRequest,
  encodeReply,
  isMap,
  messageOf,
  requestOf,
  word,
} from './contract.js';
import { Alone } from './alone.js';
import { DecisionError, Failed, NO_ANSWER, cacheOf } from './decisions.js';
import { stderr } from './log.js';
import { Request } from './request.js';
import { TimeLeft } from './time_left.js';

/** @typedef {import('./contract.js').Decision} Decision */
/** @typedef {import('./contract.js').RequestBody} RequestBody */
/** @typedef {import('./log.js').Log} Log */

/**
 * A decision, or `NO_ANSWER`; nothing, for a notice.
 * @typedef {Decision | typeof NO_ANSWER | null | undefined | void} Decided
 */

/**
 * Decides a request. What it gives for a notice is ignored. At its deadline a request is given up, and
 * `request.signal` aborted.
 * @template [Data=any]
 * @callback Handler
 * @param {Request<Data>} request
 * @returns {Decided | PromiseLike<Decided>}
 */

/**
 * A message as it came from a transport.
 * @typedef {object} Message
 * @property {Uint8Array} [content]
 * @property {{ [key: string]: any }} [request] the map that its body was, where it came with others in one message
 * @property {unknown} [lasts] the milliseconds that this message had when it was published, if it says so
 * @property {string | undefined} correlationId undefined where nobody waits for an answer
 * @property {{ [key: string]: any }} headers
 * @property {Set<() => void>} [inHand] takes what gives it up while its handler is at it
 * @property {(reply: Reply) => void} [send] sends a reply before the answer, at once
 */

/**
 * A reply beside decisions and failures, such as one that asks for more time.
 * @typedef {object} Reply
 * @property {Buffer} body
 * @property {{ [key: string]: string | number }} headers
 */

/**
 * What became of a message:
 * `decided`, the answer has a body; `silent`, the handler has no say; `failed`, the handler threw or gave no decision; `noted`, a notice;
 * `expired`, its deadline had passed; `late`, it passed while the handler was at it; `rejected`, no request: to
 * the dead letters; `unhandled`, no handler of its event; `refused`, from somebody who may not ask.
 * @typedef {'decided' | 'silent' | 'failed' | 'noted' | 'expired' | 'late' | 'rejected' | 'unhandled' | 'refused'} Result
 */

/**
 * What to do with a message: send `body`, if there is one, then acknowledge or reject.
 * @typedef {object} Answer
 * @property {Result} result
 * @property {Buffer} [body]
 * @property {{ [key: string]: string | number }} [headers] of the reply
 * @property {string} [event] that has no handler
 * @property {unknown} [error] why it failed or was rejected; it stays in this process
 */

const NOTHING = new Uint8Array();
/** Milliseconds between two warnings of the same kind, of which there may be one for each request. */
const TELL_EACH = 5_000;

/** Handlers of events under one name. Its instances, in any number of processes, compete. */
export class Service {
  /** @type {Map<string, Handler>} */
  #handlers = new Map();
  #toldAt = -Infinity;
  #timeLeft = new TimeLeft(() => this.unread());
  #headers;
  #alone;

  /**
   * @param {string} name names its queue, `evapi.decide.<name>`; letters, digits, `_` and `-`
   * @param {object} [options]
   * @param {number} [options.prefetch] how many requests one process works on at a time
   * @param {'classic' | 'quorum'} [options.queueType] of its queue, as the next two: fixed when it is first
   *   declared
   * @param {number} [options.maxLength] what waits at most; the oldest gives way
   * @param {number} [options.deliveryLimit] of a quorum queue: how often a request is tried whose consumer died
   * @param {string} [options.version] its own, as `evapi-adapter services` shows it
   * @param {Log} [options.log]
   * @throws {TypeError} for a name or option that is none
   */
  constructor(name, options = {}) {
    const { prefetch = 100, queueType = 'classic', maxLength = 100_000, deliveryLimit = 3 } = options;
    if (!name || word(name) !== name || name.length > 100) {
      throw new TypeError(`service name ${JSON.stringify(name)}: 1 to 100 letters, digits, _ and -`);
    }
    if (queueType !== 'classic' && queueType !== 'quorum') {
      throw new TypeError(`queueType ${queueType} is neither 'classic' nor 'quorum'`);
    }
    if (!(Number.isInteger(prefetch) && prefetch > 0 && prefetch < 65_536)) {
      throw new TypeError(`prefetch ${prefetch} is not from 1 to 65535`);
    }
    this.name = name;
    this.prefetch = prefetch;
    this.queueType = queueType;
    this.maxLength = maxLength;
    this.deliveryLimit = deliveryLimit;
    this.version = options.version ?? '';
    this.log = options.log ?? stderr;
    /** @type {{ [result in Result]?: number }} */
    this.counts = {};
    /** Milliseconds from a request's arrival to its reply, of all that got one. */
    this.spent = 0;
    /** @type {{ at: number, why: string } | undefined} When, by the monotonic clock, and why a request failed last. */
    this.lastFailure = undefined;
    /** Gives the milliseconds for which a message may have lain unread in this process, at most. */
    this.unread = () => 0;
    this.#headers = { [HEADER_SERVICE]: name };
    this.#alone = new Alone(name, this.log);
  }

  /** The events it has handlers for. */
  get events() {
    return [...this.#handlers.keys()];
  }

  /**
   * Register a handler of an event, or of several.
   * @template [Data=any]
   * @param {string | string[]} events
   * @param {Handler<Data>} handler
   * @returns {this}
   * @throws {TypeError} if an event has a handler already
   */
  on(events, handler) {
    if (typeof handler !== 'function') throw new TypeError(`${handler} is no function`);
    for (const event of [events].flat()) {
      if (!event) throw new TypeError("name the event: service.on('invite_request', ...)");
      if (this.#handlers.has(event)) throw new TypeError(`${this.name} has a handler of ${event} already`);
      this.#handlers.set(event, handler);
    }
    return this;
  }

  /**
   * Return the answer to a message, at once if the handler is no async function. Throws nothing: whatever goes
   * wrong is in the answer.
   * @param {Message} message
   * @returns {Answer | Promise<Answer>}
   */
  answer(message) {
    const { correlationId, headers } = message;
    let body;
    try {
      const { request, content = NOTHING } = message;
      body = request ? requestOf(request) : decodeRequest(content, headers[HEADER_VERSION]);
    } catch (error) {
      return this.#rejected(correlationId, error);
    }
    const left = this.#left(body, headers[HEADER_TIME_LEFT], message.lasts);
    if (!(left > 0)) return this.#expired(correlationId, left);
    const handler = this.#handlers.get(body.event);
    if (!handler) return this.#count({ result: 'unhandled', event: body.event });
    const request = new Request(body, left, correlationId, headers, (more) => message.send?.(this.#extension(more)));
    let found;
    try {
      found = handler(request);
    } catch (error) {
      return this.#failed(request, error);
    }
    return isThenable(found) ? this.#awaited(request, found, message.inHand) : this.#decided(request, found);
  }

  /**
   * Return what to send where an answer has no body, and nobody but this service got the request; undefined if
   * nothing.
   * @param {Answer} answer
   * @returns {Reply | undefined}
   */
  alone(answer) {
    const reply = this.#alone.reply(answer);
    if (answer.result === 'unhandled') this.lastFailure = { at: performance.now(), why: this.#alone.why };
    return reply;
  }

  /**
   * Return the answer to a message of a user of RabbitMQ whose requests are not taken.
   * @param {string | undefined} user
   * @param {string | undefined} correlationId
   * @returns {Answer}
   */
  refuse(user, correlationId) {
    this.#warn(
      `refused, to the dead letters: a request by ${user ?? 'nobody known'}, whose requests are not taken ` +
        `(EVAPI_REQUESTS_FROM): ${shown(correlationId)}; ${(this.counts.refused ?? 0) + 1} so far`,
    );
    return this.#count({ result: 'refused' });
  }

  /**
   * @param {RequestBody} body
   * @param {unknown} told
   * @param {unknown} lasts
   */
  #left(body, told, lasts) {
    if (body.deadline === undefined) return Infinity;
    if (typeof told !== 'number') return body.deadline - Date.now();
    return this.#timeLeft.of(body.deadline, told, typeof lasts === 'number' ? Math.max(told, lasts) : told);
  }

  /** @param {number} milliseconds @returns {Reply} */
  #extension(milliseconds) {
    const more = Math.max(1, Math.round(milliseconds));
    return { body: Buffer.alloc(0), headers: { ...this.#headers, [HEADER_STATUS]: STATUS_EXTEND, [HEADER_EXTEND]: more } };
  }

  /**
   * @param {Request} request
   * @param {PromiseLike<Decided>} deciding
   * @param {Set<() => void>} [inHand]
   * @returns {Promise<Answer>}
   */
  #awaited(request, deciding, inHand) {
    return new Promise((resolve) => {
      let over = false;
      /** @param {() => Answer} answer */
      const settle = (answer) => {
        if (over) return;
        over = true;
        callOff();
        inHand?.delete(giveUp);
        resolve(answer());
      };
      const callOff = request.atDeadline(() => settle(() => this.#late(request)));
      const giveUp = () => {
        request.abort('the service stopped, or lost its connection: the request is delivered again');
        settle(() => ({ result: 'late' }));
      };
      inHand?.add(giveUp);
      deciding.then(
        (found) => settle(() => this.#decided(request, found)),
        (error) => settle(() => this.#failed(request, error)),
      );
    });
  }

  /**
   * @param {Request} request
   * @param {Decided} found
   * @returns {Answer}
   */
  #decided(request, found) {
    if (request.correlationId === undefined) return this.#count({ result: 'noted' });
    if (found === NO_ANSWER) return this.#count({ result: 'silent' });
    try {
      if (!isMap(found)) throw new DecisionError(`a decision is an object, not ${described(found)}`);
      const seconds = cacheOf(found);
      const headers = seconds === undefined ? this.#headers : { ...this.#headers, [HEADER_CACHE]: seconds };
      return this.#count({ result: 'decided', body: encodeReply(found), headers });
    } catch (error) {
      return this.#failed(request, error);
    }
  }

  /**
   * @param {Request} request
   * @param {unknown} error
   * @returns {Answer}
   */
  #failed(request, error) {
    const told = `${this.name}: ${request.event} failed: ${shown(request.correlationId)}`;
    if (error instanceof Failed) this.log.error(`${told}: ${error.message}`);
    else this.log.error(told, error);
    // The type only: what the error says may be about other people's calls.
    const type = error instanceof Error ? error.name : typeof error;
    const why = `${request.event}: ${type}${error instanceof Failed ? `: ${error.message}` : ''}`;
    this.lastFailure = { at: performance.now(), why };
    if (request.correlationId === undefined) return this.#count({ result: 'failed', error });
    /** @type {{ [key: string]: string | number }} */
    const headers = { ...this.#headers, [HEADER_STATUS]: STATUS_FAILED };
    if (error instanceof Failed) headers[HEADER_DETAIL] = error.message;
    return this.#count({ result: 'failed', body: encodeReply({ error: type }), headers, error });
  }

  /** @param {Request} request @returns {Answer} */
  #late(request) {
    this.log.warn(`${this.name}: ${request.event} given up at its deadline: ${shown(request.correlationId)}`);
    return this.#count({ result: 'late' });
  }

  /** @param {string | undefined} correlationId @param {unknown} error @returns {Answer} */
  #rejected(correlationId, error) {
    const why = error instanceof CodecError ? error.message : messageOf(error);
    this.log.error(`${this.name}: not a request, to the dead letters: ${shown(correlationId)}: ${why}`);
    return this.#count({ result: 'rejected', error });
  }

  /** @param {string | undefined} correlationId @param {number} left @returns {Answer} */
  #expired(correlationId, left) {
    this.#warn(
      `dropped, with ${left.toFixed(0)} ms left (overload, or clocks that differ?): ${shown(correlationId)}; ` +
        `${(this.counts.expired ?? 0) + 1} so far`,
    );
    return this.#count({ result: 'expired' });
  }

  /** @param {string} text */
  #warn(text) {
    if (performance.now() - this.#toldAt < TELL_EACH) return;
    this.#toldAt = performance.now();
    this.log.warn(`${this.name}: ${text}`);
  }

  /** @param {Answer} answer */
  #count(answer) {
    this.counts[answer.result] = (this.counts[answer.result] ?? 0) + 1;
    return answer;
  }
}

/**
 * @param {any} found
 * @returns {found is PromiseLike<Decided>}
 */
function isThenable(found) {
  return typeof found?.then === 'function';
}

/** @param {string | undefined} correlationId */
function shown(correlationId) {
  return correlationId ?? 'a notice';
}

/** @param {unknown} value */
function described(value) {
  if (value === undefined || value === null) return `${value} (is a return missing?)`;
  return Object.prototype.toString.call(value).slice(8, -1);
}
