/** Keeps a service consuming: connects, watches, and begins again when anything breaks. */
import { Bindings } from './bindings.js';
import { NoAnswer, close, inTime, open, parseUrls, place } from './connection.js';
import { EVENTS_EXCHANGE, messageOf, serviceQueue } from './contract.js';
import { End, STOPPED } from './end.js';
import { HELLO_EACH, Presence } from './presence.js';
import { declare } from './topology.js';
import { Work } from './work.js';

/** @typedef {import('./connection.js').Channel} Channel */
/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./service.js').Service} Service */

/** Milliseconds between two attempts, twice as many after each that fails; less at random. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 1_000;
/** Milliseconds that declarations have before the queue is consumed without them: it may be there. */
const DECLARE_TIMEOUT = 1_000;
/** Milliseconds between two questions whether the server answers, and the exchange is there. */
const PROBE_EACH = 2_000;
/** Milliseconds that work in hand has to finish at a stop. */
const GRACE = 10_000;

/**
 * @typedef {object} RunOptions
 * @property {string} [url] amqp:// or amqps://; several separated by commas are tried in turn. Default:
 *   EVAPI_AMQP_URL
 * @property {number} [prefetch] requests at a time; default: what the service says
 * @property {number} [grace] milliseconds that work in hand has to finish at a stop
 * @property {string[]} [requestsFrom] the users of RabbitMQ whose requests are taken; default:
 *   EVAPI_REQUESTS_FROM, or everybody's
 * @property {number} [hello] milliseconds after which it says that it is there, 0 for never; default: 10,000
 */

/** One service on one RabbitMQ, which may be a cluster. */
export class Runner {
  #urls;
  #options;
  #presence;
  #stop = new End();
  /** @type {End} of this session */
  #over = new End();
  /** The server of this session; empty before there is one. */
  #at = '';
  /** @type {Set<string>} */
  #told = new Set();
  #consuming = false;
  #onReady = () => {};
  /** Fulfilled when requests are taken in, and the service is bound to its events, for the first time. */
  ready = new Promise((resolve) => (this.#onReady = () => resolve(undefined)));

  /**
   * @param {Service} service
   * @param {RunOptions & { url: string }} options
   * @throws {import('./connection.js').SettingsError} for a URL that is none
   */
  constructor(service, options) {
    this.service = service;
    this.#urls = parseUrls(options.url);
    this.#options = { prefetch: service.prefetch, grace: GRACE, requestsFrom: [], hello: HELLO_EACH, ...options };
    this.#presence = new Presence(service, this.#options.prefetch, this.#options.hello);
  }

  /** Whether requests are taken in. */
  get consuming() {
    return this.#consuming;
  }

  /** Take no more requests; `run()` then ends, once the work in hand is done. */
  stop() {
    this.#stop.because(STOPPED);
    this.#over.because(STOPPED);
  }

  /** Consume until `stop()`. A server that is away is waited for, for ever. */
  async run() {
    let pause = FIRST_PAUSE;
    while (!this.#stop.reason) {
      const began = performance.now();
      this.#over = new End();
      this.#at = '';
      try {
        await this.#session(this.#over);
      } catch (error) {
        if (performance.now() - began > LONGEST_PAUSE) pause = FIRST_PAUSE;
        this.#tell(`${this.#at && `${place(this.#at)}: `}${messageOf(error)}${this.#stop.reason ? '' : '; trying again'}`);
        this.#urls.sort((one, other) => Number(one === this.#at) - Number(other === this.#at)); // it may hang
        await this.#stop.within(pause * (0.5 + Math.random() / 2));
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      }
    }
    const counts = Object.entries(this.service.counts).map(([result, count]) => `${count} ${result}`);
    this.service.log.info(`${this.service.name}: stopped: ${counts.join(', ') || 'no requests'}`);
  }

  /**
   * One connection until `stop()`. Whatever else ends it is thrown.
   * @param {End} over
   */
  async #session(over) {
    const { service } = this;
    const { grace, prefetch, requestsFrom } = this.#options;
    const { connection, url } = await open(this.#urls, `consumer ${service.name}`);
    this.#at = url;
    const bindings = new Bindings(service, url, requestsFrom, this.#presence);
    /** @type {Work | undefined} */
    let work;
    connection.on('close', () => {
      over.because('the connection was closed');
      work?.close(); // what is in hand is delivered again
    });
    let finished = false;
    try {
      const channel = await inTime(connection.createChannel());
      channel.on('error', (error) => over.because(messageOf(error)));
      channel.on('close', () => over.because('the channel was closed'));
      await inTime(channel.prefetch(prefetch));
      const openReplies = () => inTime(connection.createConfirmChannel());
      const passOn = bindings.passOn.bind(bindings);
      work = new Work(service, channel, await openReplies(), openReplies, { passOn, requestsFrom });
      watch(connection, over);
      await this.#consume(connection, channel, work, bindings, over);
      if (over.reason !== STOPPED) throw new Error(over.reason);
      await work.finished(grace);
      await inTime(channel.close()); // behind the last acknowledgements, so they have arrived
      finished = true;
    } finally {
      this.#consuming = false;
      over.because('over');
      work?.close();
      await bindings.stop(finished);
      const closing = close(connection);
      if (finished) await closing; // else nobody waits for the goodbye of a server that may hang
    }
  }

  /**
   * Consume until `over`.
   * @param {Connection} connection
   * @param {Channel} channel
   * @param {Work} work
   * @param {Bindings} bindings
   * @param {End} over
   */
  async #consume(connection, channel, work, bindings, over) {
    const { name, log } = this.service;
    const queue = serviceQueue(name);
    while (!over.reason) {
      await Promise.race([this.#declare(connection, bindings, over), over.within(DECLARE_TIMEOUT)]);
      const cancelled = new End();
      const { consumerTag } = await inTime(
        channel.consume(queue, (message) => (message ? work.take(message) : cancelled.because('by the server'))),
      );
      this.#consuming = true;
      this.#told.clear();
      const events = [...this.service.events].sort().join(', ') || 'none';
      log.info(`${name}: consuming ${queue} at ${place(this.#at)}; events: ${events}`);
      bindings.bound.then(this.#onReady);
      await Promise.race([cancelled.happened, over.happened]);
      this.#consuming = false;
      if (over.reason === STOPPED) await inTime(channel.cancel(consumerTag));
      else if (cancelled.reason) {
        // The queue was deleted, or went to another node of a cluster. What is in hand goes on.
        log.warn(`${name}: cancelled by the server; declaring ${queue} again`);
        await over.within(2 * FIRST_PAUSE);
      }
    }
  }

  /**
   * Declare what the service needs, again until it is done, and have it bound. In a cluster a server that hangs
   * holds up every declaration that is new; what was declared before can be consumed all the while.
   * @param {Connection} connection
   * @param {Bindings} bindings
   * @param {End} over
   */
  async #declare(connection, bindings, over) {
    while (!over.reason) {
      try {
        await declare(connection, this.service);
        return bindings.make(this.#options.grace);
      } catch (error) {
        if (!(error instanceof NoAnswer)) return over.because(messageOf(error));
        this.service.log.warn(`${this.service.name}: a declaration got no answer; trying again`);
      }
    }
  }

  /**
   * Tell why there is no connection: once for each reason, however often it is tried again.
   * @param {string} trouble
   */
  #tell(trouble) {
    if (this.#told.has(trouble)) return;
    this.#told.add(trouble);
    this.service.log.warn(`${this.service.name}: ${trouble}`);
  }
}

/**
 * End `over` when the server gives no answer, or somebody has deleted the exchange, and all bindings with it: nobody
 * is told of that.
 * @param {Connection} connection
 * @param {End} over
 */
async function watch(connection, over) {
  let blocked = false; // for want of memory or disk: it answers nothing then, and goes on later
  connection.on('blocked', () => (blocked = true)).on('unblocked', () => (blocked = false));
  try {
    const channel = await inTime(connection.createChannel());
    channel.on('error', () => {}); // raised below
    while (!over.reason) {
      await over.within(PROBE_EACH);
      if (!blocked && !over.reason) await inTime(channel.checkExchange(EVENTS_EXCHANGE));
    }
  } catch (error) {
    over.because(messageOf(error));
  }
}
