/** Requests that came in one message, each as if it had come alone. */
import { decodeBatch, isBatch } from './batches.js';
import {
  APP_ID,
  DEAD_EXCHANGE,
  HEADER_BATCH,
  HEADER_DEADLINE,
  HEADER_NODE,
  HEADER_TIME_LEFT,
  HEADER_VERSION,
  MSGPACK,
  VERSION,
  encode,
  routingKey,
  serviceQueue,
} from './contract.js';

/** @typedef {import('amqplib').ConsumeMessage} ConsumeMessage */
/** @typedef {import('./batches.js').Asked} Asked */

/** The message of one or several requests. */
export class Whole {
  /** @param {ConsumeMessage} message @param {number} left */
  constructor(message, left) {
    this.message = message;
    /** How many of them are not done with. */
    this.left = left;
    /** Whether one of them had to go to the dead letters, and could not go alone. */
    this.lost = false;
  }
}

/** One of several requests in a message, with what a message of its own would have. */
export class Part {
  /** @param {ConsumeMessage} message @param {Asked} asked */
  constructor(message, { correlationId, headers, request }) {
    const { [HEADER_BATCH]: _, ...shared } = message.properties.headers ?? {};
    this.request = request;
    /** The milliseconds that the message had when it was published, as it says. */
    this.lasts = shared[HEADER_TIME_LEFT];
    this.fields = message.fields;
    this.properties = {
      ...message.properties,
      contentType: MSGPACK,
      correlationId,
      messageId: correlationId,
      type: String(request['event']),
      appId: APP_ID,
      headers: /** @type {{ [name: string]: any }} */ ({
        ...shared,
        [HEADER_DEADLINE]: request['deadline'],
        ...headers,
      }),
    };
    const { deadline } = request;
    const left = Number.isFinite(deadline) ? Math.max(1, Math.floor(deadline - Date.now())) : undefined;
    this.properties.expiration = left && String(left);
  }

  /** The body with which it is sent on alone. */
  get content() {
    return encode(this.request);
  }

  /**
   * Return what is published for it to go to the dead letters alone, as RabbitMQ would send it there.
   * @param {string} service which rejects it
   */
  dead(service) {
    const queue = serviceQueue(service);
    const { expiration, headers, ...properties } = this.properties;
    const death = {
      reason: 'rejected',
      queue,
      exchange: '',
      'routing-keys': [queue],
      count: 1,
      time: { '!': 'timestamp', value: Math.floor(Date.now() / 1000) },
      'original-expiration': expiration ?? '',
    };
    return {
      exchange: DEAD_EXCHANGE,
      key: routingKey(String(this.request['event']), String(headers[HEADER_NODE])),
      options: { ...properties, headers: { ...headers, 'x-death': [death], 'x-first-death-reason': 'rejected' } },
    };
  }
}

/**
 * Return the requests of a message; it alone if it holds no several, or cannot be read: it is rejected then, as any
 * that is no request.
 * @param {ConsumeMessage} message
 * @returns {(ConsumeMessage | Part)[]}
 */
export function parts(message) {
  const headers = message.properties.headers ?? {};
  if (!(HEADER_BATCH in headers) || !isBatch(message.content)) return [message];
  if (Number(headers[HEADER_VERSION] ?? VERSION) > VERSION) return [message];
  try {
    const found = decodeBatch(message.content).map((asked) => new Part(message, asked));
    return found.length ? found : [message];
  } catch {
    return [message];
  }
}
