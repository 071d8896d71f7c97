/** The requests in hand of one channel: decide, reply, acknowledge. */
import { encodePart, joined, messages } from './batches.js';
import {
  APP_ID,
  HEADER_BATCH,
  HEADER_DIRECT,
  HEADER_RECEIVED,
  HEADER_REPLIED,
  HEADER_SERVICE,
  MSGPACK,
  messageOf,
} from './contract.js';
import { Part, Whole, parts } from './several.js';
import { Unread } from './time_left.js';

/** @typedef {import('amqplib').ConsumeMessage} ConsumeMessage */
/** @typedef {import('./connection.js').Channel} Channel */
/** @typedef {import('./connection.js').ConfirmChannel} ConfirmChannel */
/** @typedef {import('./service.js').Answer} Answer */
/** @typedef {import('./service.js').Reply} Reply */
/** @typedef {import('./service.js').Service} Service */

/** In about a second: a quorum queue without a leader refuses, and an election takes less. */
const REPLY_ATTEMPTS = 8;
/** Milliseconds before the second attempt, twice as many before the third; less at random. */
const REPLY_PAUSE = 50;
/** Bytes of a reply that goes out with others. A larger one gains nothing by it. */
const SMALL = 8_192;

/**
 * A request in hand.
 * @typedef {object} Delivery
 * @property {ConsumeMessage | Part} message
 * @property {Whole} whole the message that it came in
 * @property {number} received epoch microseconds
 * @property {number} at the same by the monotonic clock, in milliseconds
 * @property {number} attempts how often its reply was refused
 * @property {boolean} [early] whether the reply comes before the answer, and so does not end it
 */

/**
 * A reply on its way. Of one that goes out with others: when it was there, in epoch microseconds.
 * @typedef {{ delivery: Delivery, reply: Reply, replied: number }} Joined
 */

/**
 * @typedef {object} Options
 * @property {(message: ConsumeMessage | Part, event: string) => Promise<boolean>} [passOn] is given a request that the
 *   service has no handler for; gives whether another instance has it now. Then it is acknowledged, as is one that
 *   nobody has, unless it came to this service alone: that one is answered
 * @property {boolean} [passedOn] whether it is other instances that pass these requests on
 * @property {string[]} [requestsFrom] the users of RabbitMQ whose requests are taken; empty: everybody's
 */

/**
 * Takes requests until the channel closes; RabbitMQ then delivers again what was not acknowledged. A request
 * is acknowledged once RabbitMQ has confirmed its reply.
 */
export class Work {
  #service;
  #channel;
  #openReplies;
  #options;
  #replies;
  /** @type {Promise<void> | undefined} */
  #renewing;
  #unread = new Unread();
  /** @type {Set<() => void>} what gives up those that handlers are at */
  #handled = new Set();
  /** @type {Map<string, Joined[]>} replies that go out together, by where they go */
  #together = new Map();
  #numbers = 0;
  #inHand = 0;
  #over = false;
  #onIdle = () => {};

  /**
   * @param {Service} service
   * @param {Channel} channel on which the requests come
   * @param {ConfirmChannel} replies on which nobody else publishes
   * @param {() => Promise<ConfirmChannel>} openReplies opens another: RabbitMQ 3.10 refuses all that comes on one
   *   whose first publication met a quorum queue without a leader
   * @param {Options} [options]
   */
  constructor(service, channel, replies, openReplies, options = {}) {
    this.#service = service;
    this.#channel = channel;
    this.#openReplies = openReplies;
    this.#options = options;
    this.#replies = this.#listened(replies);
  }

  /**
   * Take a message: a request, or several.
   * @param {ConsumeMessage} message
   */
  take(message) {
    if (this.#over) return;
    this.#unread.batch();
    const found = parts(message);
    const whole = new Whole(message, found.length);
    const [received, at] = [Date.now() * 1000, performance.now()];
    this.#inHand += found.length;
    for (const each of found) this.#begin({ message: each, whole, received, at, attempts: 0 });
  }

  /** @param {Delivery} delivery */
  #begin(delivery) {
    if (this.#over) return;
    const { message } = delivery;
    const { headers = {}, userId, replyTo } = message.properties;
    const correlationId = replyTo ? message.properties.correlationId : undefined; // nobody waits otherwise
    const { requestsFrom } = this.#options;
    if (requestsFrom?.length && !requestsFrom.includes(userId)) {
      return this.#settle(delivery, this.#service.refuse(userId, correlationId));
    }
    const send = (/** @type {Reply} */ reply) => this.#over || this.#reply({ ...delivery, early: true }, reply);
    const inHand = this.#handled;
    const body =
      message instanceof Part ? { request: message.request, lasts: message.lasts } : { content: message.content };
    const answer = this.#service.answer({ ...body, correlationId, headers, inHand, send });
    if (answer instanceof Promise) answer.then((found) => this.#settle(delivery, found));
    else this.#settle(delivery, answer);
  }

  /**
   * Return once nothing is in hand, or after `grace` milliseconds: the rest is delivered again.
   * @param {number} grace
   */
  async finished(grace) {
    if (this.#inHand) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, grace);
        this.#onIdle = () => resolve(clearTimeout(timer));
      });
    }
    if (this.#inHand) {
      this.#service.log.warn(`${this.#service.name}: ${this.#inHand} requests left after ${grace} ms`);
    }
    this.close();
  }

  /** Milliseconds for which a request may have lain unread here, at most. */
  get unread() {
    return this.#unread.milliseconds();
  }

  /** Settle nothing more; the signals of those that handlers are at abort. */
  close() {
    this.#over = true;
    this.#unread.close();
    for (const giveUp of this.#handled) giveUp();
    this.#onIdle();
  }

  /**
   * Have done what an answer asks for.
   * @param {Delivery} delivery
   * @param {Answer} answer
   */
  #settle(delivery, answer) {
    if (this.#over) return;
    const { passOn } = this.#options;
    const { body, headers = {} } = answer;
    if (body && delivery.message.properties.replyTo) this.#reply(delivery, { body, headers });
    else if (answer.result === 'rejected' || answer.result === 'refused') this.#done(delivery, false);
    else if (passOn && answer.event !== undefined) {
      passOn(delivery.message, answer.event).then((passed) =>
        passed ? this.#done(delivery) : this.#leave(delivery, answer),
      );
    } else this.#leave(delivery, answer);
  }

  /**
   * Leave a request to others; reply if there are none.
   * @param {Delivery} delivery
   * @param {Answer} answer
   */
  #leave(delivery, answer) {
    if (this.#over) return;
    const { message } = delivery;
    const direct = isDirect(message, this.#options.passedOn);
    const reply = direct ? this.#service.alone(answer) : undefined;
    if (reply && message.properties.replyTo) this.#reply(delivery, reply);
    else this.#done(delivery);
  }

  /**
   * @param {Delivery} delivery
   * @param {Reply} reply
   */
  #reply(delivery, reply) {
    const { message } = delivery;
    const spent = performance.now() - delivery.at;
    if (!delivery.attempts && !delivery.early) this.#service.spent += spent;
    const one = { delivery, reply, replied: delivery.received + Math.round(spent * 1000) };
    const alone = delivery.early || delivery.attempts || reply.body.length > SMALL;
    if (alone || !(message instanceof Part)) return this.#publish(one);
    if (!this.#together.size) setImmediate(() => this.#flush());
    const others = this.#together.get(message.properties.replyTo);
    if (others) others.push(one);
    else this.#together.set(message.properties.replyTo, [one]);
  }

  /** Send what this turn of the loop has replied to requests that came with others. */
  #flush() {
    const together = [...this.#together.values()];
    this.#together.clear();
    if (this.#over) return;
    for (const replies of together) {
      const { received } = replies[0].delivery;
      const written = replies.map((one) => ({ one, part: this.#part(one, received) }));
      for (const some of messages(written)) this.#join(some.map(({ one }) => one), some.map(({ part }) => part));
    }
  }

  /**
   * @param {Joined} one
   * @param {number} received when the first of those came with which it goes out
   */
  #part({ delivery, reply, replied }, received) {
    const { [HEADER_SERVICE]: _, ...own } = reply.headers;
    if (delivery.received !== received) {
      Object.assign(own, { [HEADER_RECEIVED]: delivery.received, [HEADER_REPLIED]: replied });
    }
    return encodePart(delivery.message.properties.correlationId, reply.body, own);
  }

  /**
   * @param {Joined[]} some
   * @param {Buffer[]} written
   */
  #join(some, written) {
    if (some.length === 1) return this.#publish(some[0]);
    const { delivery, reply } = some[0];
    const headers = { [HEADER_SERVICE]: reply.headers[HEADER_SERVICE], [HEADER_BATCH]: some.length };
    // The adapter gives a message of several no id. Who gives it one finds it in the replies to that message alone.
    const ids = new Set(some.map((each) => each.delivery.whole.message.properties.correlationId));
    const id = ids.size === 1 ? [...ids][0] : undefined;
    this.#send(some, delivery.message.properties.replyTo, joined(written), id, {
      ...headers,
      [HEADER_RECEIVED]: delivery.received,
      [HEADER_REPLIED]: some[some.length - 1].replied,
    });
  }

  /** @param {Joined} one */
  #publish(one) {
    const { delivery, reply, replied } = one;
    const { replyTo, correlationId } = delivery.message.properties;
    const times = { [HEADER_RECEIVED]: delivery.received, [HEADER_REPLIED]: replied };
    this.#send([one], replyTo, reply.body, correlationId, { ...reply.headers, ...times });
  }

  /**
   * @param {Joined[]} some that are done with once RabbitMQ has confirmed the message
   * @param {string} to
   * @param {Buffer} body
   * @param {string | undefined} correlationId
   * @param {{ [key: string]: unknown }} headers
   */
  #send(some, to, body, correlationId, headers) {
    const outlet = this.#replies;
    const again = () => some.forEach(({ delivery, reply }) => this.#again(outlet, delivery, reply));
    try {
      outlet.publish('', to, body, {
        ...(body.length && { contentType: MSGPACK }),
        ...(correlationId && { correlationId }),
        messageId: `${this.#service.name}:${(this.#numbers += 1)}`,
        appId: APP_ID,
        mandatory: true,
        persistent: false,
        headers,
      }, (error) => (error ? again() : some.forEach(({ delivery }) => this.#done(delivery))));
    } catch {
      again(); // its channel is closed
    }
  }

  /**
   * Reply once more, on another channel.
   * @param {ConfirmChannel} refused
   * @param {Delivery} delivery
   * @param {Reply} reply
   */
  async #again(refused, delivery, reply) {
    if (this.#over) return;
    const { name, log } = this.#service;
    const { correlationId, replyTo } = delivery.message.properties;
    try {
      await this.#renew(refused);
    } catch (error) {
      log.error(`${name}: ${correlationId}: no channel for its reply: ${messageOf(error)}`);
      return this.#done(delivery, false);
    }
    if ((delivery.attempts += 1) < REPLY_ATTEMPTS) {
      const pause = REPLY_PAUSE * delivery.attempts * (0.5 + Math.random() / 2);
      setTimeout(() => this.#over || this.#reply(delivery, reply), pause);
    } else {
      log.error(`${name}: ${correlationId}: ${replyTo} takes no reply`);
      this.#done(delivery, false);
    }
  }

  /**
   * Reply on another channel from now on; once for all that were refused on this one.
   * @param {ConfirmChannel} refused
   */
  async #renew(refused) {
    if (this.#replies !== refused) return;
    this.#renewing ??= this.#openReplies()
      .then((opened) => {
        this.#replies = this.#listened(opened);
        refused.waitForConfirms().then(() => refused.close()).catch(() => {}); // closed, or with the connection
      })
      .finally(() => (this.#renewing = undefined));
    await this.#renewing;
  }

  /** @param {ConfirmChannel} replies */
  #listened(replies) {
    replies.on('error', () => {}); // its unconfirmed replies are told of it, each
    replies.on('return', ({ fields, properties }) => {
      const { name, log } = this.#service;
      log.warn(`${name}: ${properties.correlationId}: there is no queue ${fields.routingKey}`);
    });
    return replies;
  }

  /**
   * Acknowledge a request, or reject it: to the dead letters. Nothing while its answer is still to come. A message
   * of several is acknowledged once all of it is done with; rejected if one of them could not be a dead letter alone.
   * @param {Delivery} delivery
   * @param {boolean} [good]
   */
  #done(delivery, good = true) {
    if (this.#over || delivery.early) return;
    const { message, whole } = delivery;
    if (!good && message instanceof Part) return this.#bury(delivery, message);
    whole.lost ||= !good;
    this.#settled(whole);
  }

  /** @param {Whole} whole of which one request more is done with */
  #settled(whole) {
    try {
      if ((whole.left -= 1) === 0) {
        if (whole.lost) this.#channel.nack(whole.message, false, false);
        else this.#channel.ack(whole.message);
      }
    } catch {
      this.#over = true; // the channel is closed: all comes again
    }
    if ((this.#inHand -= 1) === 0) this.#onIdle();
  }

  /**
   * Have one of several requests go to the dead letters.
   * @param {Delivery} delivery
   * @param {Part} part
   */
  #bury({ whole }, part) {
    const { name, log } = this.#service;
    const { exchange, key, options } = part.dead(name);
    const buried = (/** @type {unknown} */ error) => {
      if (this.#over) return;
      if (error) log.error(`${name}: ${part.properties.correlationId}: no dead letter: ${messageOf(error)}`);
      whole.lost ||= Boolean(error);
      this.#settled(whole);
    };
    try {
      this.#replies.publish(exchange, key, part.content, options, buried);
    } catch (error) {
      buried(error);
    }
  }
}

/**
 * Return true if nobody but one service got a request: it came straight to its queue, by the exchange without a name.
 * @param {ConsumeMessage | Part} message
 * @param {boolean} [passedOn] by another instance, which tells of it in a header
 */
export function isDirect(message, passedOn = false) {
  return passedOn ? message.properties.headers?.[HEADER_DIRECT] === 1 : message.fields.exchange === '';
}
