/**
 * What crosses the bus: names, headers, bodies. The same as `adapter/contract.py`; README.md of the project,
 * "The bus", tells it in words. Times are epoch milliseconds.
 */
import { createHash } from 'node:crypto';
import { Decoder, Encoder } from '@msgpack/msgpack';

export const EVENTS_EXCHANGE = 'evapi.events';
/** On it instances of services say hello, and are asked who is there. */
export const SERVICES_EXCHANGE = 'evapi.services';
/** The routing key of the question who is there. */
export const ASK = 'ask';
export const DEAD_EXCHANGE = 'evapi.dead';

export const APP_ID = 'evapi-adapter';
export const VERSION = 1;
export const MSGPACK = 'application/msgpack';
export const JSON_TYPE = 'application/json';

export const HEADER_NODE = 'x-node';
export const HEADER_DEADLINE = 'x-deadline';
/** Of a request: milliseconds until its deadline when it was published, whatever clock is wrong. */
export const HEADER_TIME_LEFT = 'x-time-left';
/** Of a request that an instance passes on to another: 1 if it came straight to the queue of the service. */
export const HEADER_DIRECT = 'x-direct';
export const HEADER_VERSION = 'x-version';
/** How many requests, or replies, stand in one message. */
export const HEADER_BATCH = 'x-batch';
export const HEADER_SERVICE = 'x-service';
export const HEADER_STATUS = 'x-status';
export const HEADER_DETAIL = 'x-detail';
/** Of a reply whose status is `extend`: milliseconds for which the deadline moves. */
export const HEADER_EXTEND = 'x-extend';
/** Of a reply: seconds for which its decision holds for calls that are alike. */
export const HEADER_CACHE = 'x-cache';
/** Of a reply: when the request came, and when the reply left; epoch microseconds. The last of its headers. */
export const HEADER_RECEIVED = 'x-received';
export const HEADER_REPLIED = 'x-replied';
export const STATUS_FAILED = 'failed';
/** The service has no say in a call of which nobody else was asked; the body is empty. */
export const STATUS_NONE = 'none';
/** The decision is still to come, and takes longer; the body is empty. Once for a request. */
export const STATUS_EXTEND = 'extend';

/** Bytes of a body that a reader takes on. */
export const MAX_BODY = 1 << 20;
/** Characters of an event's or a node's name: AMQP has no longer ones. */
export const MAX_NAME = 255;
/** Of a hello: bytes, events, characters of a text. */
const MAX_HELLO = 16_000;
const MAX_EVENTS = 100;
const MAX_TEXT = 200;

/** A body cannot be read or written; the text says why. */
export class CodecError extends Error {
  name = 'CodecError';
}

/**
 * What a consumer answers: any map, by convention with an `action`.
 * @typedef {{ [key: string]: unknown }} Decision
 */

/**
 * The body of a request. Of a notice, for which nobody waits, ids and deadline are undefined.
 * @typedef {object} RequestBody
 * @property {string} event
 * @property {string} node the name of the Kamailio
 * @property {any} data a map, or a Uint8Array where Kamailio sent no JSON object
 * @property {number} [tmIndex]
 * @property {number} [tmLabel]
 * @property {number} [seq]
 * @property {number} [deadline] epoch milliseconds, by the adapter's clock
 * @property {{ [service: string]: Decision }} [decisions] of services that were asked before this one
 */

// Integers of 64 bits come as numbers: exact up to 2^53, as JSON.parse has them.
const decoder = new Decoder();
// A key whose value is undefined is left out, as JSON.stringify does it: msgpack has no undefined.
const encoder = new Encoder({ ignoreUndefined: true });

/**
 * Make one word of a routing key: characters outside `[A-Za-z0-9_-]` become `_`.
 * @param {string} text
 */
export function word(text) {
  return text.replace(/[^A-Za-z0-9_-]/gu, '_');
}

/**
 * Return the key of an event on `evapi.events`.
 * @param {string} event
 * @param {string} node
 */
export function routingKey(event, node) {
  return `${word(event)}.${word(node)}`;
}

/**
 * Return the queue on which the instances of a service compete.
 * @param {string} service
 */
export function serviceQueue(service) {
  return `evapi.decide.${service}`;
}

/**
 * Return the queue on which those instances of a service that have a handler of `event` compete.
 * An instance without one passes requests on to it.
 * @param {string} service
 * @param {string} event
 */
export function handlesQueue(service, event) {
  const name = `evapi.handles.${service}.${event}`;
  if (Buffer.byteLength(name) <= MAX_NAME) return name;
  return `evapi.handles.${service}.${createHash('sha256').update(event).digest('hex')}`;
}

/**
 * Return the routing key under which an instance of a service says hello.
 * @param {string} service
 * @param {string} instance
 */
export function helloKey(service, instance) {
  return `hello.${word(service)}.${word(instance)}`;
}

/**
 * Return the routing key of the question who of a service is there.
 * @param {string} service
 */
export function askKey(service) {
  return `${ASK}.${word(service)}`;
}

/**
 * Return the queue on which an instance hears that somebody asks who is there.
 * @param {string} service
 * @param {string} instance
 */
export function askedQueue(service, instance) {
  return `evapi.asked.${service}.${word(instance)}`;
}

/**
 * What an instance says of itself, as it is written; times in milliseconds, `per_decision` in microseconds.
 * @typedef {object} Hello
 * @property {string} service
 * @property {string} instance
 * @property {string} host
 * @property {string} version of the service
 * @property {string} sdk
 * @property {'here' | 'leaves'} state
 * @property {string[]} events
 * @property {number} uptime
 * @property {number} requests
 * @property {number} decided
 * @property {number} failed
 * @property {number} prefetch
 * @property {number} [concurrency]
 * @property {number} [per_decision]
 * @property {string} [error]
 * @property {number} [error_age]
 */

/**
 * Write a hello: texts of 200 characters and 100 events at most.
 * @param {Hello} hello
 */
export function encodeHello(hello) {
  const short = (/** @type {unknown} */ value) => (typeof value === 'string' ? value.slice(0, MAX_TEXT) : value);
  const events = hello.events.slice(0, MAX_EVENTS);
  const body = (/** @type {string[]} */ named) =>
    Buffer.from(JSON.stringify({ ...hello, events: named }, (_, value) => short(value)));
  let written = body(events);
  while (written.length > MAX_HELLO && events.length) {
    events.length >>= 1; // letters may be of several bytes each
    written = body(events);
  }
  return written;
}

/**
 * Read a request: msgpack, or JSON, told by its first byte. Unknown keys are ignored.
 * @param {Uint8Array} content
 * @param {unknown} [version] the header `x-version`
 * @returns {RequestBody}
 * @throws {CodecError} for a higher version, and for anything that is no request
 */
export function decodeRequest(content, version = VERSION) {
  if (!Number.isInteger(version)) throw new CodecError(`${HEADER_VERSION} is no number`);
  if (Number(version) > VERSION) {
    throw new CodecError(`${HEADER_VERSION} ${version}, this reader knows ${VERSION}`);
  }
  const raw = decodeMap(content);
  return requestOf(isJson(content) ? { ...raw, data: bytesOfJson(raw['data']) } : raw);
}

/**
 * Return the request that a map is.
 * @param {{ [key: string]: any }} raw
 * @returns {RequestBody}
 * @throws {CodecError} if it is none
 */
export function requestOf(raw) {
  const { event, node, tm_index: tmIndex, tm_label: tmLabel, seq, deadline } = raw;
  if (typeof event !== 'string' || typeof node !== 'string') throw new CodecError('no event, or no node');
  if (event.length > MAX_NAME || node.length > MAX_NAME) {
    throw new CodecError(`event or node of over ${MAX_NAME} characters`);
  }
  if (deadline != null && !Number.isFinite(deadline)) throw new CodecError('deadline is no number');
  /** @type {RequestBody} */
  const found = { event, node, data: raw['data'] };
  if (tmIndex != null || tmLabel != null || seq != null) {
    if (!(Number.isInteger(tmIndex) && Number.isInteger(tmLabel) && Number.isInteger(seq))) {
      throw new CodecError('ids of a wrong type');
    }
    Object.assign(found, { tmIndex, tmLabel, seq });
  }
  if (deadline != null) found.deadline = deadline;
  const { decisions } = raw;
  if (decisions !== undefined) {
    if (!isMap(decisions) || !Object.values(decisions).every(isMap)) throw new CodecError('decisions is no map of maps');
    found.decisions = decisions;
  }
  return found;
}

/**
 * Write a request as the adapter does, for tests.
 * @param {RequestBody} request
 */
export function encodeRequest(request) {
  const { event, node, data, tmIndex, tmLabel, seq, deadline, decisions } = request;
  if (tmIndex === undefined) return encode({ event, node, data });
  const ids = { tm_index: tmIndex, tm_label: tmLabel, seq };
  return encode({ event, node, ...ids, deadline: deadline ?? null, data, decisions });
}

/**
 * Write a reply, msgpack.
 * @param {Decision} decision
 * @throws {CodecError} for what msgpack has not (a BigInt, a function, a circle)
 */
export function encodeReply(decision) {
  return encode(decision);
}

/**
 * Read a reply: msgpack or JSON, told by its first byte.
 * @param {Uint8Array} content
 * @returns {Decision}
 * @throws {CodecError} if it is no map
 */
export function decodeReply(content) {
  return decodeMap(content);
}

/**
 * Write msgpack.
 * @param {unknown} value
 * @throws {CodecError} for what msgpack has not
 */
export function encode(value) {
  try {
    const packed = encoder.encode(value);
    return Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  } catch (error) {
    throw new CodecError(`it cannot be packed: ${messageOf(error)}`);
  }
}

/**
 * Read msgpack.
 * @param {Uint8Array} content
 * @returns {unknown}
 * @throws {CodecError} if it is none
 */
export function decode(content) {
  try {
    return decoder.decode(content);
  } catch (error) {
    throw new CodecError(`no msgpack: ${messageOf(error)}`);
  }
}

/**
 * @param {Uint8Array} content
 * @returns {{ [key: string]: any }}
 */
function decodeMap(content) {
  if (content.length > MAX_BODY) {
    throw new CodecError(`a body of ${content.length} bytes, at most ${MAX_BODY} are allowed`);
  }
  let found;
  try {
    found = isJson(content) ? JSON.parse(Buffer.from(content).toString()) : decoder.decode(content);
  } catch (error) {
    throw new CodecError(`neither a msgpack map nor a JSON object: ${messageOf(error)}`);
  }
  if (!isMap(found)) throw new CodecError('neither a msgpack map nor a JSON object');
  return found;
}

/**
 * Return true for what begins as a JSON object may, and a msgpack map never does.
 * @param {Uint8Array} content
 */
function isJson(content) {
  const first = content[0];
  return first === 0x7b || first === 0x20 || first === 0x09 || first === 0x0a || first === 0x0d;
}

/**
 * JSON has no bytes: they come as `{"base64": "..."}`.
 * @param {any} data
 */
function bytesOfJson(data) {
  if (!isMap(data) || typeof data['base64'] !== 'string' || Object.keys(data).length !== 1) return data;
  return Buffer.from(data['base64'], 'base64'); // as msgpack's are, of what came from a broker
}

/**
 * Return true for what is written as a map with its own keys.
 * @param {unknown} value
 * @returns {value is { [key: string]: any }}
 */
export function isMap(value) {
  return Object.prototype.toString.call(value) === '[object Object]';
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
