/** Several requests in one message: what is read, what is written, and where a batch is cut. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch, encodePart, isBatch, joined, messages } from '../src/batches.js';
import { CodecError, decode, encode } from '../src/contract.js';
import { Service } from '../src/service.js';
import { Work } from '../src/work.js';

const asked = (/** @type {object} */ more = {}) => encode([{ correlation_id: 'a', event: 'e', node: 'n', ...more }]);

test('a batch is a msgpack array, and no request is', () => {
  for (const size of [0, 1, 15, 16, 70_000]) assert.ok(isBatch(encode(Array(size).fill(null))), `${size}`);
  for (const other of [{}, { event: 'e' }, 'e', 1, null]) assert.ok(!isBatch(encode(other)));
  assert.ok(!isBatch(Buffer.from('[]')) && !isBatch(Buffer.from('{}')) && !isBatch(Buffer.alloc(0)));
});

test('each request is the map that it would be alone', () => {
  const [found] = decodeBatch(asked({ headers: { 'x-time-left': 5 } }));
  assert.deepEqual(found, { correlationId: 'a', headers: { 'x-time-left': 5 }, request: { event: 'e', node: 'n' } });
  assert.deepEqual(decodeBatch(asked())[0]?.headers, {});
});

for (const [what, content] of /** @type {[string, Buffer][]} */ ([
  ['no array', encode({ event: 'e' })],
  ['a part that is no map', encode([1])],
  ['no correlation id', asked({ correlation_id: undefined })],
  ['a correlation id that is no text', asked({ correlation_id: 5 })],
  ['an empty correlation id', asked({ correlation_id: '' })],
  ['a correlation id that no property holds', asked({ correlation_id: 'x'.repeat(256) })],
  ['one of fewer letters', asked({ correlation_id: '\u20ac'.repeat(86) })],
  ['headers that are no map', asked({ headers: [] })],
  ['half a batch', asked().subarray(0, 9)],
])) {
  test(`no batch: ${what}`, () => assert.throws(() => decodeBatch(content), CodecError));
}

test('replies of one message are what each would be alone', () => {
  const parts = [encodePart('a', Buffer.from([0x80]), {}), encodePart('b', Buffer.alloc(0), { 'x-status': 'none' })];
  const found = /** @type {any[]} */ (decode(joined(parts)));
  assert.deepEqual(found.map((each) => ({ ...each, body: Buffer.from(each.body).toString('hex') })), [
    { correlation_id: 'a', body: '80' },
    { correlation_id: 'b', body: '', headers: { 'x-status': 'none' } },
  ]);
});

test('a message is no longer than what the adapter reads, and holds no more than a thousand', () => {
  const sizes = (/** @type {number} */ size, /** @type {number} */ count) =>
    messages(Array.from({ length: count }, () => ({ part: Buffer.alloc(size) }))).map((each) => each.length);
  assert.deepEqual(sizes(40_000, 7), [3, 3, 1]);
  assert.deepEqual(sizes(1, 2_001), [1000, 1000, 1]);
  assert.deepEqual(sizes(200_000, 2), [1, 1]);
  assert.deepEqual(sizes(1, 0), []);
});

for (const [what, settled, error] of /** @type {[string, string, Error | null][]} */ ([
  ['is a dead letter alone', 'ack', null],
  ['that cannot be one costs its message, once all is done with', 'nack', new Error('refused')],
])) {
  test(`one that is no request ${what}`, async () => {
    /** @type {string[]} */
    const did = [];
    /** @type {any} */
    const channel = { ack: () => did.push('ack'), nack: () => did.push('nack') };
    /** @type {any[][]} */
    const published = [];
    /** @type {any} */
    const replies = { on: () => replies, publish: (/** @type {any[]} */ ...given) => published.push(given) };
    const log = { info() {}, warn() {}, error() {} };
    const service = new Service('x', { log }).on('e', () => ({ action: 'allow' }));
    const work = new Work(service, channel, replies, async () => replies);
    const deadline = Date.now() + 9_000;
    const content = encode([
      { correlation_id: 'a', event: 'e', node: 'n', data: {}, deadline, tm_index: 1, tm_label: 1, seq: 1 },
      { correlation_id: 'b', event: 7 },
    ]);
    const properties = { headers: { 'x-batch': 2, 'x-node': 'n' }, replyTo: 'r' };
    work.take(/** @type {any} */ ({ content, properties, fields: { exchange: '' } }));
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.deepEqual(published.map(([exchange]) => exchange), ['evapi.dead', '']);
    published[0]?.[4](error);
    assert.deepEqual(did, []);
    published[1]?.[4](null);
    assert.deepEqual(did, [settled]);
    work.close();
  });
}

test('what has expired in a message that has not is skipped', async () => {
  /** @type {any[][]} */
  const published = [];
  /** @type {any} */
  const replies = { on: () => replies, publish: (/** @type {any[]} */ ...given) => published.push(given) };
  const service = new Service('x', { log: { info() {}, warn() {}, error() {} } }).on('e', () => ({ action: 'allow' }));
  const work = new Work(service, /** @type {any} */ ({}), replies, async () => replies);
  for (const ago of [0, 3_000]) {
    const at = Date.now() - ago;
    const part = (/** @type {string} */ id, /** @type {number} */ left) =>
      ({ correlation_id: id, event: 'e', node: 'n', deadline: at + left, headers: { 'x-time-left': left } });
    const content = encode([part('a', 1_000), part('b', 10_000), part('c', 1_000), part('d', 9_000)]);
    const headers = { 'x-batch': 4, 'x-node': 'n', 'x-time-left': 10_000 };
    work.take(/** @type {any} */ ({ content, properties: { headers, replyTo: 'r' }, fields: { exchange: '' } }));
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  }
  const ids = published.map(([, , body]) => /** @type {any[]} */ (decode(body)).map((each) => each.correlation_id));
  assert.deepEqual(ids, [['a', 'b', 'c', 'd'], ['b', 'd']]);
  work.close();
});
