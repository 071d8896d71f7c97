import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_ANSWER, allow } from '../src/index.js';
import { HEADER_DIRECT, encodeRequest, handlesQueue, serviceQueue } from '../src/contract.js';
import { inbox, quiet, start, unique } from './broker.js';
import { until } from './wait.js';

/**
 * Return what asks straight on a queue, and gives headers and size of the reply.
 * @param {import('node:test').TestContext} test
 */
async function asker(test) {
  const { queue: replyTo, next, came, channel } = await inbox(test);
  let number = 0;
  /** @param {string} queue @param {string} event @param {object} [headers] */
  const send = (queue, event, headers = {}) => {
    const correlationId = `n:1:1:${(number += 1)}`;
    const deadline = Date.now() + 20_000;
    const content = encodeRequest({ event, node: 'n', data: {}, tmIndex: 1, tmLabel: 1, seq: number, deadline });
    channel.publish('', queue, content, { correlationId, replyTo, headers: { 'x-node': 'n', 'x-version': 1, ...headers } });
    return correlationId;
  };
  /** @param {string} queue @param {string} event @param {object} [headers] */
  const ask = async (queue, event, headers) => {
    const { properties, content } = await next(send(queue, event, headers));
    const { 'x-received': _, 'x-replied': __, ...said } = properties.headers ?? {};
    return { said, size: content.length };
  };
  return { ask, send, came };
}

/** @param {string} name @param {string} event */
function failed(name, event) {
  return { 'x-service': name, 'x-status': 'failed', 'x-detail': `no handler for ${event} in ${name}` };
}

test('a request to this service alone is answered, whatever becomes of it', async (t) => {
  const event = unique();
  const { service, log } = quiet();
  const { name } = service;
  await start(t, service.on(event, () => NO_ANSWER));
  const { ask } = await asker(t);
  for (let count = 0; count < 3; count += 1) {
    assert.deepEqual((await ask(serviceQueue(name), 'other')).said, failed(name, 'other'));
  }
  assert.equal(log.lines.filter((line) => line.includes("take it out of the policy's lists")).length, 1);
  assert.equal(service.lastFailure?.why, `no handler for other in ${name}`);
  const idle = await ask(serviceQueue(name), event);
  assert.deepEqual(idle, { said: { 'x-service': name, 'x-status': 'none' }, size: 0 });
});

test('an instance that has a handler knows that nobody else was asked', async (t) => {
  const [one, two, idle] = [unique(), unique(), unique()];
  const before = quiet();
  const { name } = before.service;
  await start(t, before.service.on(one, () => allow()));
  const after = quiet(name);
  await start(t, after.service.on([one, two], () => allow()).on(idle, () => NO_ANSWER));
  const { ask } = await asker(t);
  for (let count = 0; count < 6; count += 1) {
    assert.deepEqual((await ask(serviceQueue(name), two)).said, { 'x-service': name });
    assert.deepEqual((await ask(serviceQueue(name), idle)).said, { 'x-service': name, 'x-status': 'none' });
  }
  assert.ok((before.service.counts.unhandled ?? 0) > 0);
});

test('what was passed on and finds no handler there is left to others, unless there are none', async (t) => {
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => allow()));
  const { ask, send, came } = await asker(t);
  const queue = handlesQueue(service.name, event);
  const left = send(queue, 'gone');
  assert.deepEqual((await ask(queue, 'gone', { [HEADER_DIRECT]: 1 })).said, failed(service.name, 'gone'));
  await until(() => service.counts.unhandled === 2);
  assert.ok(!came.some(({ properties }) => properties.correlationId === left));
});
