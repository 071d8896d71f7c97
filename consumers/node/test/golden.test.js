/** Messages of the contract, byte for byte: read and written as Python does it (`consumers/contract`). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decodeReply, decodeRequest, encodeReply, encodeRequest, routingKey, serviceQueue } from '../src/contract.js';

const FOLDER = new URL('../../contract/golden/', import.meta.url);
const read = (/** @type {string} */ name) => readFileSync(new URL(name, FOLDER));
/** @type {{ [key: string]: any }[]} */
const INDEX = JSON.parse(read('index.json').toString());
const EVENTS = INDEX.filter(({ message }) => message === 'request' || message === 'notice');
const REPLIES = INDEX.filter(({ message, fields }) => message === 'reply' && fields);

/** A request as the SDK has it, of what the index says. */
function asked(/** @type {{ [key: string]: any }} */ { event, node, data, ...more }) {
  const bytes = typeof data.base64 === 'string' && Buffer.from(data.base64, 'base64');
  const request = { event, node, data: bytes || data };
  if (more['tm_index'] === undefined) return request;
  const { tm_index: tmIndex, tm_label: tmLabel, seq, deadline, ...rest } = more;
  return { ...request, tmIndex, tmLabel, seq, deadline, ...rest };
}

/** JSON without white space, as the SDK of Python writes it. */
function json(/** @type {unknown} */ value) {
  return Buffer.from(JSON.stringify(value));
}

test('there are messages', () => {
  assert.ok(EVENTS.length > 8 && REPLIES.length > 8);
});

for (const { name, format, body, fields, headers, exchange, routing_key: key } of EVENTS) {
  test(`golden: ${name}`, () => {
    const bytes = read(body);
    const found = decodeRequest(bytes, headers['x-version']);
    assert.deepEqual(found, asked(fields));
    if (exchange) assert.equal(key, routingKey(found.event, found.node));
    else assert.ok(key.startsWith(serviceQueue('')), 'to the queue of one service');
    const written = format === 'json' ? json(fields) : encodeRequest(found);
    assert.equal(written.toString('hex'), bytes.toString('hex'));
  });
}

for (const { name, format, body, fields } of REPLIES) {
  test(`golden: ${name}`, () => {
    const bytes = read(body);
    const found = decodeReply(bytes);
    assert.deepEqual(found, fields);
    const written = format === 'json' ? json(found) : encodeReply(found);
    assert.equal(written.toString('hex'), bytes.toString('hex'));
  });
}
