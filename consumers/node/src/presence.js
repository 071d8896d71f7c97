/**
 * Says hello: that this instance of a service is there, and how it fares; see the head of
 * `consumers/amqp/presence.py`. Nothing depends on it: a user without the rights to it serves all the same.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { inTime } from './connection.js';
import {
  APP_ID,
  ASK,
  HEADER_VERSION,
  JSON_TYPE,
  SERVICES_EXCHANGE,
  VERSION,
  askKey,
  askedQueue,
  encodeHello,
  helloKey,
  messageOf,
  word,
} from './contract.js';
import { End } from './end.js';
import { exchange } from './topology.js';

/** @typedef {import('amqplib').ConsumeMessage} ConsumeMessage */
/** @typedef {import('./connection.js').Channel} Channel */
/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./contract.js').Hello} Hello */
/** @typedef {import('./service.js').Service} Service */

/** Milliseconds between two hellos that nobody asked for. */
export const HELLO_EACH = 10_000;
/** Milliseconds between two, however often somebody asks. */
const LEAST_PAUSE = 200;
/** Milliseconds for which RabbitMQ keeps a hello. */
const EXPIRES = 30_000;
/** Milliseconds after which it is tried again, if something is in the way: mostly missing rights. */
const FIRST_RETRY = 10_000;
const LONGEST_RETRY = 600_000;
/** Of the queue of questions. It goes with its instance, or, if nobody ever came, by itself. */
const ASKED_OPTIONS = Object.freeze({
  durable: true,
  autoDelete: true,
  arguments: { 'x-max-length': 1, 'x-message-ttl': 2_000, 'x-expires': 60_000 },
});
const { version: OWN } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** One instance of a service, as it says of itself. */
export class Presence {
  #service;
  #prefetch;
  #each;
  #began = performance.now();
  #replies = 0;
  #spent = 0;
  /** @type {number | undefined} */
  #perDecision;
  #asked = new End();
  /** @type {ConsumeMessage | undefined} */
  #question;
  /** @type {Set<string>} */
  #told = new Set();

  /**
   * @param {Service} service
   * @param {number} prefetch requests that it holds at a time
   * @param {number} each milliseconds between two hellos; 0: says none
   */
  constructor(service, prefetch, each) {
    this.#service = service;
    this.#prefetch = prefetch;
    this.#each = each;
    this.instance = `${word(hostname()).slice(0, 60)}-${process.pid}-${randomBytes(4).toString('hex')}`;
  }

  /**
   * Return what is to be said now.
   * @param {boolean} [leaves]
   * @returns {Hello}
   */
  hello(leaves = false) {
    const { name, version, events, counts, spent, lastFailure } = this.#service;
    const { decided = 0, failed = 0 } = counts;
    if (decided + failed > this.#replies) {
      this.#perDecision = Math.max(0, Math.round(((spent - this.#spent) / (decided + failed - this.#replies)) * 1000));
      this.#replies = decided + failed;
      this.#spent = spent;
    }
    const now = performance.now();
    return {
      service: name,
      instance: this.instance,
      host: hostname(),
      version,
      sdk: `node ${OWN}`,
      state: leaves ? 'leaves' : 'here',
      events,
      uptime: Math.round(now - this.#began),
      requests: Object.values(counts).reduce((sum, count) => sum + count, 0),
      decided,
      failed,
      prefetch: this.#prefetch,
      ...(this.#perDecision !== undefined && { per_decision: this.#perDecision }),
      ...(lastFailure && { error: lastFailure.why, error_age: Math.round(now - lastFailure.at) }),
    };
  }

  /**
   * Say hello on a connection until `over`, and then that it leaves, if the connection is still there. What
   * hinders it is told once, and hinders no call. Throws nothing.
   * @param {Connection} connection
   * @param {End} over
   */
  async keep(connection, over) {
    for (let pause = FIRST_RETRY; this.#each && !over.reason; pause = Math.min(2 * pause, LONGEST_RETRY)) {
      try {
        await this.#session(connection, over);
      } catch (error) {
        if (!over.reason) this.#tellOnce(`it cannot say hello (evapi-adapter services): ${messageOf(error)}`);
      }
      await over.within(pause);
    }
  }

  /**
   * @param {Connection} connection
   * @param {End} over
   */
  async #session(connection, over) {
    const { name } = this.#service;
    const ended = new End();
    await exchange(connection, SERVICES_EXCHANGE, 'topic');
    const channel = await inTime(connection.createChannel());
    channel.on('error', (error) => ended.because(messageOf(error))).on('close', () => ended.because('its channel was closed'));
    over.happened.then(() => ended.because('over'));
    const queue = askedQueue(name, this.instance);
    await inTime(channel.assertQueue(queue, ASKED_OPTIONS));
    for (const key of [ASK, askKey(name)]) await inTime(channel.bindQueue(queue, SERVICES_EXCHANGE, key));
    await inTime(channel.prefetch(1)); // the next question comes when this one is acknowledged
    await inTime(channel.consume(queue, (message) => {
      if (!message) return ended.because(`${queue} was deleted`);
      this.#question = message;
      this.#asked.because('asked');
    }));
    while (!ended.reason) {
      this.#say(channel);
      await ended.within(LEAST_PAUSE);
      await Promise.race([this.#asked.happened, ended.within(this.#each)]);
    }
    if (!over.reason) throw new Error(ended.reason);
    this.#say(channel, true);
    await inTime(channel.close());
  }

  /**
   * @param {Channel} channel
   * @param {boolean} [leaves]
   */
  #say(channel, leaves = false) {
    const question = this.#question;
    this.#question = undefined;
    this.#asked = new End();
    const hello = this.hello(leaves);
    channel.publish(SERVICES_EXCHANGE, helloKey(hello.service, hello.instance), encodeHello(hello), {
      contentType: JSON_TYPE,
      persistent: false,
      expiration: EXPIRES,
      appId: APP_ID,
      headers: { [HEADER_VERSION]: VERSION },
    });
    if (question) channel.ack(question);
  }

  /** @param {string} text */
  #tellOnce(text) {
    if (this.#told.has(text)) return;
    this.#told.add(text);
    this.#service.log.warn(`${this.#service.name}: ${text}`);
  }
}
