/**
 * Several requests, or several replies, in one message: a msgpack array of maps. The same as `adapter/batches.py`.
 */
import { CodecError, decode, encode, isMap } from './contract.js';

/** Parts of one message at most. */
const MOST = 1_000;
/** Bytes of the body of a batch: of a longer one the adapter reads its beginning alone. */
const MAX_BYTES = 128_000;
/** Bytes: a property of AMQP has no more, and a reply may have to go alone. */
const MAX_ID = 255;

/**
 * One request of a batch.
 * @typedef {object} Asked
 * @property {string} correlationId
 * @property {{ [key: string]: any }} headers
 * @property {{ [key: string]: any }} request the map that is its body if it comes alone
 */

/**
 * Return true for a msgpack array, which no request is.
 * @param {Uint8Array} content
 */
export function isBatch(content) {
  const first = content[0] ?? 0;
  return (first >= 0x90 && first <= 0x9f) || first === 0xdc || first === 0xdd;
}

/**
 * Read a batch of requests.
 * @param {Uint8Array} content
 * @returns {Asked[]}
 * @throws {CodecError} if it is none, or any of them is no request's map
 */
export function decodeBatch(content) {
  const found = decode(content);
  if (!Array.isArray(found)) throw new CodecError('no msgpack array');
  return found.map((each) => {
    if (!isMap(each)) throw new CodecError('a part of a batch is no map');
    const { correlation_id: correlationId, headers = {}, ...request } = each;
    if (typeof correlationId !== 'string' || !correlationId || Buffer.byteLength(correlationId) > MAX_ID) {
      throw new CodecError('a part of a batch has no correlation_id');
    }
    if (!isMap(headers)) throw new CodecError('a part of a batch whose headers are no map');
    return { correlationId, headers, request };
  });
}

/**
 * Write a reply as part of a batch.
 * @param {string} correlationId
 * @param {Buffer} body
 * @param {{ [key: string]: unknown }} headers those that it does not share with the message
 */
export function encodePart(correlationId, body, headers) {
  const more = Object.keys(headers).length ? { headers } : {};
  return encode({ correlation_id: correlationId, body, ...more });
}

/**
 * Return the body of a batch.
 * @param {Buffer[]} parts
 */
export function joined(parts) {
  const head = Buffer.from([0xdc, parts.length >> 8, parts.length & 0xff]);
  return Buffer.concat([head, ...parts]);
}

/**
 * Cut parts into as many messages as the adapter reads whole.
 * @template {{ part: Buffer }} P
 * @param {P[]} parts
 * @returns {P[][]}
 */
export function messages(parts) {
  /** @type {P[][]} */
  const found = [];
  /** @type {P[]} */
  let some = [];
  let size = 3;
  for (const each of parts) {
    if (some.length === MOST || (some.length && size + each.part.length > MAX_BYTES)) {
      found.push(some);
      [some, size] = [[], 3];
    }
    some.push(each);
    size += each.part.length;
  }
  return some.length ? [...found, some] : found;
}
