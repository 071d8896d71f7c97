import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allow } from '../src/index.js';
import { EVENTS_EXCHANGE, encodeRequest } from '../src/contract.js';
import { ask } from '../src/testing.js';
import { URL_, onChannel, quiet, start, unique } from './broker.js';
import { until } from './wait.js';

/**
 * Ask until a service has decided; requests to one that is being unbound may find nobody.
 * @param {string} event
 */
function decided(event) {
  return until(() => ask(event, {}, { url: URL_, deadline: 500 }).catch(() => undefined));
}

test('during an update, who has no handler yet passes requests on to who has', async (t) => {
  const [one, two] = [unique(), unique()];
  const before = quiet();
  before.service.on(one, () => allow());
  await start(t, before.service);
  const after = quiet(before.service.name);
  after.service.on([one, two], () => allow());
  await start(t, after.service);
  for (let count = 0; count < 6; count += 1) {
    assert.deepEqual(await ask(two, {}, { url: URL_ }), { action: 'allow' });
  }
  assert.ok((before.service.counts.unhandled ?? 0) > 0);
  assert.equal(after.service.counts.decided, 6);
  assert.ok(before.log.has('are passed on to instances that have one'));
});

test('an event that nobody handles any more is unbound, and another service decides it', async (t) => {
  const moved = unique();
  const old = quiet();
  const { stop } = await start(t, old.service.on([moved, unique()], () => allow()));
  await stop();
  const now = quiet(old.service.name);
  await start(t, now.service.on(unique(), () => allow()));
  const other = quiet();
  await start(t, other.service.on(moved, () => allow()));
  await decided(moved);
  await until(() => now.log.has('is to go'));
  await until(async () => {
    const before = now.service.counts.unhandled;
    await ask(moved, {}, { url: URL_ });
    return now.service.counts.unhandled === before;
  });
});

test('of two events with one routing key, the one without a handler is left to others', async (t) => {
  const name = unique();
  const { service, log } = quiet();
  await start(t, service.on(`${name}_b`, () => allow()));
  await assert.rejects(ask(`${name}.b`, {}, { url: URL_, deadline: 300 }), /no reply/);
  assert.ok(log.has('whose routing key'));
  assert.deepEqual(await ask(`${name}_b`, {}, { url: URL_ }), { action: 'allow' });
});

test('a notice comes to the service, too', async (t) => {
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => undefined));
  const content = encodeRequest({ event, node: 'n', data: {} });
  await onChannel(async (channel) => {
    channel.publish(EVENTS_EXCHANGE, `${event}.n`, content);
    await channel.waitForConfirms();
  });
  await until(() => service.counts.noted === 1);
});
