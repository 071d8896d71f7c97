/**
 * Keeps a service bound to the events that it has handlers for, and to no others: see the head of
 * `consumers/amqp/bindings.py`, which tells why. Each instance consumes a queue
 * `evapi.handles.<service>.<event>` for each of its handlers. Who has no handler passes a request on to it; if
 * there is no such queue, no instance has a handler, and the binding is taken away.
 *
 * All of this is on a connection of its own: a cluster of RabbitMQ 4.3 without majority closes a connection 30 s
 * after a binding was asked for, even one that is there. Requests and replies go on beside it.
 */
import {
  DEAD_EXCHANGE,
  EVENTS_EXCHANGE,
  HEADER_DIRECT,
  HEADER_NODE,
  handlesQueue,
  messageOf,
  routingKey,
  serviceQueue,
  word,
} from './contract.js';
import { close, inTime, onChannel, open, refusal, userOf } from './connection.js';
import { End, STOPPED } from './end.js';
import { bindService, queueExists } from './topology.js';
import { Work, isDirect } from './work.js';

/** @typedef {import('amqplib').ConsumeMessage} ConsumeMessage */
/** @typedef {import('./several.js').Part} Part */
/** @typedef {import('./connection.js').Channel} Channel */
/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./connection.js').ConfirmChannel} ConfirmChannel */
/** @typedef {import('./presence.js').Presence} Presence */
/** @typedef {import('./service.js').Service} Service */

/** Milliseconds after which the bindings are made again: somebody may have taken one away. */
const AGAIN_EACH = 60_000;
/** Milliseconds between two attempts, twice as many after each that fails. */
const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 30_000;
/** Milliseconds between two times that the same binding is taken away. */
const UNBIND_EACH = 1_000;
/** Of a queue `evapi.handles...`. It goes with its last consumer, or, if nobody ever came, by itself. */
const HANDLES_OPTIONS = Object.freeze({
  durable: true,
  autoDelete: true,
  arguments: { 'x-dead-letter-exchange': DEAD_EXCHANGE, 'x-expires': 60_000 },
});

/** The bindings of one instance of a service on one server, and the requests that came by one it has no use for. */
export class Bindings {
  #service;
  #url;
  #user;
  #requestsFrom;
  #presence;
  #stop = new End();
  #due = new End();
  #onBound = () => {};
  /** Fulfilled when the service is bound to its events for the first time. */
  bound = new Promise((resolve) => (this.#onBound = () => resolve(undefined)));
  /** @type {Promise<void> | undefined} */
  #keeping;
  /** @type {Connection | undefined} */
  #connection;
  /** @type {ConfirmChannel | undefined} */
  #offers;
  /** @type {Map<string, string>} consumer tags by queue */
  #consumed = new Map();
  /** @type {Map<string, number>} */
  #unboundAt = new Map();
  /** @type {Set<string>} */
  #told = new Set();

  /**
   * @param {Service} service
   * @param {string} url
   * @param {string[]} requestsFrom the users of RabbitMQ whose requests are taken; empty: everybody's
   * @param {Presence} presence says hello on the same connection, once the service is bound
   */
  constructor(service, url, requestsFrom, presence) {
    this.#service = service;
    this.#presence = presence;
    this.#url = url;
    this.#user = userOf(url);
    // Who passes a request on has looked at whose it is.
    this.#requestsFrom = requestsFrom.length ? [this.#user] : [];
  }

  /**
   * Bind now, not at the next time that it is due; stay connected and bound from then on, until `stop()`.
   * @param {number} grace milliseconds for what was passed on and is in hand at the stop
   */
  make(grace) {
    this.#due.because('asked for');
    this.#keeping ??= this.#keep(grace);
  }

  /**
   * Take no more from others. Fulfilled once what was passed on is finished, unless that is to be dropped.
   * @param {boolean} finish
   */
  async stop(finish) {
    this.#stop.because(finish ? STOPPED : 'dropped');
    this.#due.because(STOPPED);
    await this.#keeping;
  }

  /** @param {number} grace */
  async #keep(grace) {
    let pause = FIRST_PAUSE;
    while (!this.#stop.reason) {
      const began = performance.now();
      try {
        await this.#session(grace);
      } catch (error) {
        if (performance.now() - began > LONGEST_PAUSE) pause = FIRST_PAUSE;
        this.#tellOnce(`bindings: ${messageOf(error)}; trying again`);
        await this.#stop.within(pause);
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      }
    }
  }

  /** @param {number} grace */
  async #session(grace) {
    const { connection } = await open([this.#url], `bindings ${this.#service.name}`);
    const over = new End();
    const leaves = new End();
    /** @type {Promise<void> | undefined} */
    let hello;
    /** @type {Work | undefined} */
    let work;
    const closed = () => {
      leaves.because('lost');
      over.because('the connection, or a channel, was closed');
      this.#due.because('lost');
      work?.close();
    };
    connection.on('close', closed);
    try {
      const channel = await inTime(connection.createChannel());
      const openReplies = () => inTime(connection.createConfirmChannel());
      const offers = await openReplies();
      for (const each of [channel, offers]) each.on('error', () => {}).on('close', closed);
      await inTime(channel.prefetch(this.#service.prefetch));
      work = new Work(this.#service, channel, await openReplies(), openReplies, {
        requestsFrom: this.#requestsFrom,
        passedOn: true,
      });
      this.#connection = connection;
      this.#offers = offers;
      const begun = Promise.race([this.bound, leaves.happened]);
      hello = begun.then(() => this.#presence.keep(connection, leaves));
      while (!over.reason && !this.#stop.reason) await this.#makeOnce(connection, channel, work);
      if (over.reason) throw new Error(over.reason);
      if (this.#stop.reason !== STOPPED) return;
      for (const tag of this.#consumed.values()) await inTime(channel.cancel(tag));
      await work.finished(grace);
      leaves.because(STOPPED);
      await hello;
      await inTime(channel.close()); // behind the last acknowledgements
    } finally {
      this.#connection = this.#offers = undefined;
      this.#consumed.clear();
      leaves.because('over');
      work?.close();
      const closing = close(connection);
      if (this.#stop.reason === STOPPED) await closing; // else nobody waits for the goodbye of a server that may hang
    }
  }

  /**
   * Make the bindings, and wait until they are due again.
   * @param {Connection} connection
   * @param {Channel} channel
   * @param {Work} work
   */
  async #makeOnce(connection, channel, work) {
    this.#due = new End();
    for (const event of this.#service.events) await this.#consume(connection, channel, work, event);
    // Behind the queues, so that who unbinds sees them: see #unbind.
    await bindService(connection, this.#service);
    this.#onBound();
    this.#tellOnce(`bound to ${this.#service.events.join(', ')}`, 'info');
    if (!this.#stop.reason) await this.#due.within(AGAIN_EACH);
  }

  /**
   * Take what other instances pass on. If that is refused, they keep it to themselves.
   * @param {Connection} connection
   * @param {Channel} channel
   * @param {Work} work
   * @param {string} event
   */
  async #consume(connection, channel, work, event) {
    const queue = handlesQueue(this.#service.name, event);
    if (this.#consumed.has(queue)) return;
    try {
      await onChannel(connection, (own) => own.assertQueue(queue, HANDLES_OPTIONS));
    } catch (error) {
      if (refusal(error) === undefined) throw error;
      return this.#tellOnce(
        `${queue} cannot be declared: ${messageOf(error)}; until it can be, bindings that nobody uses stay, and ` +
          `a request that comes to an instance without a handler is not passed on`,
      );
    }
    const begun = await inTime(
      channel.consume(queue, (message) => {
        if (message) work.take(message);
        else this.#consumed.delete(queue); // deleted, or gone to another server of the cluster
      }),
    );
    this.#consumed.set(queue, begun.consumerTag);
  }

  /**
   * Deal with a request that this instance has no handler for: give it to one that has. If there is none, the
   * service is unbound from the event, unless the request came straight to its queue: that tells nothing of
   * bindings. Gives whether another instance has it. Throws nothing.
   * @param {ConsumeMessage | Part} message
   * @param {string} event
   * @returns {Promise<boolean>}
   */
  async passOn(message, event) {
    const { name, events } = this.#service;
    const key = word(event);
    try {
      if (await this.#offer(message, event)) {
        this.#tellOnce(`no handler of ${event} here: its requests are passed on to instances that have one`);
        return true;
      }
      if (isDirect(message)) return false;
      if (events.map(word).includes(key)) {
        this.#tellOnce(
          `no handler of ${event}, whose routing key ${key}.* it shares with an event that ${name} handles: its ` +
            `requests are left to other services. Rename one of the two`,
        );
      } else await this.#unbind(event, key);
    } catch (error) {
      this.#tellOnce(`no handler of ${event}; whether another instance has one is unknown: ${messageOf(error)}`);
    }
    return false;
  }

  /**
   * Return true if another instance got it.
   * @param {ConsumeMessage | Part} message
   * @param {string} event
   * @returns {Promise<boolean>}
   */
  #offer(message, event) {
    const queue = handlesQueue(this.#service.name, event);
    const offers = this.#offers;
    if (!offers) throw new Error('no connection for it');
    // The user is the adapter's: RabbitMQ takes no message in another's name.
    const { userId: _, headers: { [HEADER_DIRECT]: __, ...kept } = {}, ...properties } = message.properties;
    const headers = isDirect(message) ? { ...kept, [HEADER_DIRECT]: 1 } : kept;
    const user = this.#requestsFrom.length ? { userId: this.#user } : {};
    // If it dies, its node is to hear of it: by this key, which RabbitMQ takes out.
    const node = headers[HEADER_NODE];
    const BCC = typeof node === 'string' ? [routingKey(event, node)] : [];
    let returned = false;
    /** @param {import('amqplib').Message} back */
    const onReturn = (back) => {
      returned ||= back.fields.routingKey === queue && back.properties.correlationId === properties.correlationId;
    };
    offers.on('return', onReturn);
    const offered = new Promise((resolve, refuse) => {
      offers.publish('', queue, message.content, { ...properties, headers, ...user, BCC, mandatory: true }, (error) =>
        error ? refuse(error) : resolve(!returned),
      );
    });
    return inTime(offered).finally(() => offers.off('return', onReturn));
  }

  /**
   * Take the binding away. An instance with a handler that has come meanwhile is bound again.
   * @param {string} event
   * @param {string} key
   */
  async #unbind(event, key) {
    const { name, events } = this.#service;
    const connection = this.#connection;
    // Who may not have queues of its handlers cannot tell instances apart.
    if (!connection || this.#consumed.size < events.length) return;
    if (performance.now() < (this.#unboundAt.get(key) ?? 0)) return;
    this.#unboundAt.set(key, performance.now() + UNBIND_EACH);
    const queue = serviceQueue(name);
    this.#tellOnce(
      `no handler of ${event}: the binding ${key}.* of ${queue} is to go, and its requests are left to other ` +
        `services. If none is bound, calls of ${event} are unroutable: start a service that has a handler of it`,
    );
    try {
      await onChannel(connection, (channel) => channel.unbindQueue(queue, EVENTS_EXCHANGE, `${key}.*`));
    } catch (error) {
      if (refusal(error) !== 403) throw error;
      return this.#tellOnce(
        `the binding ${key}.* of ${queue} stays, as it may not be taken away: ${messageOf(error)}. Requests come ` +
          `by it in vain; take it away as an administrator`,
      );
    }
    if (await queueExists(connection, handlesQueue(name, event))) {
      await onChannel(connection, (channel) => channel.bindQueue(queue, EVENTS_EXCHANGE, `${key}.*`));
    }
  }

  /**
   * @param {string} text
   * @param {'info' | 'warn'} [level]
   */
  #tellOnce(text, level = 'warn') {
    if (this.#told.has(text)) return;
    this.#told.add(text);
    this.#service.log[level](`${this.#service.name}: ${text}`);
  }
}
