/**
 * Ask a service in a test: in this process without a broker, or any service that runs, as the adapter does.
 *
 *     const decision = await ask('invite_request', { user: '4420' }, { service });
 *     const decision = await ask('invite_request', { user: '4420' }, { url: 'amqp://127.0.0.1/' });
 */
import {
  APP_ID,
  EVENTS_EXCHANGE,
  HEADER_DEADLINE,
  HEADER_EXTEND,
  HEADER_NODE,
  HEADER_STATUS,
  HEADER_TIME_LEFT,
  HEADER_VERSION,
  MSGPACK,
  STATUS_EXTEND,
  VERSION,
  decodeReply,
  encodeRequest,
  routingKey,
} from './contract.js';
import { close, inTime, open, parseUrls } from './connection.js';

/** @typedef {import('./contract.js').Decision} Decision */
/** @typedef {import('./service.js').Service} Service */

/** A service gave no decision; the text says why, and `cause` is what its handler threw. */
export class Undecided extends Error {
  name = 'Undecided';
}

/**
 * @typedef {object} AskOptions
 * @property {Service} [service] asked in this process, without a broker
 * @property {string} [url] of RabbitMQ, where a service runs; default: EVAPI_AMQP_URL
 * @property {string} [node] the name of the Kamailio
 * @property {number} [deadline] milliseconds from now; a service that asks for more time gets it
 * @property {{ [service: string]: Decision }} [decisions] of services that were asked before this one
 */

let index = 0;

/**
 * Return the decision about an event.
 * @param {string} event
 * @param {any} data a map, or bytes
 * @param {AskOptions} [options]
 * @returns {Promise<Decision>}
 * @throws {Undecided} if it failed, or gave no decision in time
 */
export async function ask(event, data, { service, url, node = 'test', deadline = 2_000, decisions } = {}) {
  const ids = { tmIndex: (index += 1), tmLabel: 1, seq: 1 };
  const request = { event, node, data, ...ids, deadline: Date.now() + deadline, ...(decisions && { decisions }) };
  const correlationId = `${node}:${index}:1:1`;
  const headers = {
    [HEADER_NODE]: node,
    [HEADER_DEADLINE]: request.deadline,
    [HEADER_TIME_LEFT]: deadline,
    [HEADER_VERSION]: VERSION,
  };
  const message = { content: encodeRequest(request), correlationId, headers };
  if (!service) return askBroker(url ?? process.env['EVAPI_AMQP_URL'] ?? '', request, message, deadline);
  const answer = await service.answer(message);
  if (answer.result === 'decided' && answer.body) return decodeReply(answer.body);
  throw new Undecided(`${service.name} on ${event}: ${answer.result}`, { cause: answer.error });
}

/**
 * @param {string} url
 * @param {import('./contract.js').RequestBody} request
 * @param {{ content: Buffer, correlationId: string, headers: object }} message
 * @param {number} deadline
 * @returns {Promise<Decision>}
 */
async function askBroker(url, { event, node }, { content, correlationId, headers }, deadline) {
  const { connection } = await open(parseUrls(url), 'ask');
  try {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    let longer = 0; // milliseconds that were asked for
    /** @type {Promise<import('amqplib').ConsumeMessage>} */
    const replied = new Promise((resolve, refuse) => {
      channel.on('return', () => refuse(new Undecided(`${event}: no service is bound to it`)));
      const take = (/** @type {import('amqplib').ConsumeMessage | null} */ reply) => {
        const { headers = {} } = reply?.properties ?? {};
        if (headers[HEADER_STATUS] === STATUS_EXTEND) longer = Number(headers[HEADER_EXTEND]);
        else if (reply) resolve(reply);
      };
      channel.consume(queue, take, { noAck: true }).catch(refuse);
    });
    const asked = { contentType: MSGPACK, correlationId, messageId: correlationId, replyTo: queue, type: event };
    const more = { expiration: deadline, appId: APP_ID, mandatory: true, headers };
    channel.publish(EVENTS_EXCHANGE, routingKey(event, node), content, { ...asked, ...more });
    const first = inTime(replied, deadline);
    const reply = await first.catch((error) => (longer ? inTime(replied, longer) : Promise.reject(error))).catch((error) => {
      if (error instanceof Undecided) throw error;
      throw new Undecided(`${event}: no reply in ${deadline + longer} ms`, { cause: error });
    });
    const found = decodeReply(reply.content);
    const status = reply.properties.headers?.[HEADER_STATUS];
    if (status !== undefined) throw new Undecided(`${event}: ${status}`, { cause: found });
    return found;
  } finally {
    await close(connection);
  }
}
