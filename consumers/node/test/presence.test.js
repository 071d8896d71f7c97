/** Instances say hello on the real RabbitMQ: at first, when they are asked, and at the end. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { connect } from 'amqplib';
import { Runner, route } from '../src/index.js';
import { ASK, SERVICES_EXCHANGE, askKey, encodeHello, helloKey } from '../src/contract.js';
import { ask } from '../src/testing.js';
import { URL_, onChannel, quiet, start, unique } from './broker.js';
import { until } from './wait.js';

/**
 * Hear what the instances of a service say, until the test ends.
 * @param {import('node:test').TestContext} test
 * @param {string} service
 */
async function hearer(test, service) {
  const connection = await connect(URL_, { noDelay: true });
  test.after(() => connection.close());
  const channel = await connection.createChannel();
  await channel.assertExchange(SERVICES_EXCHANGE, 'topic');
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, SERVICES_EXCHANGE, `hello.${service}.*`);
  /** @type {any[]} */
  const heard = [];
  await channel.consume(queue, (message) => void (message && heard.push(JSON.parse(message.content.toString()))), { noAck: true });
  return {
    heard,
    hears: async (/** @type {number} */ count) => {
      await until(() => heard.length >= count);
      return heard[count - 1];
    },
    asks: (/** @type {string} */ key) => channel.publish(SERVICES_EXCHANGE, key, Buffer.alloc(0)),
  };
}

test('an instance says hello at first, when it is asked, and at the end', async (t) => {
  const event = unique();
  const { service } = quiet(unique(), { version: '2.1' });
  service.on(event, ({ data }) => {
    if (data.bad) throw new TypeError('of another caller');
    return route('sip:1@gw');
  });
  const { heard, hears, asks } = await hearer(t, service.name);
  const { stop } = await start(t, service, { hello: 3_600_000, prefetch: 7 });
  const first = await hears(1);
  assert.deepEqual([first.service, first.version, first.state, first.events], [service.name, '2.1', 'here', [event]]);
  assert.deepEqual([first.requests, first.prefetch, first.error, first.per_decision], [0, 7, undefined, undefined]);
  assert.match(first.sdk, /^node \d/);
  await ask(event, {}, { url: URL_ });
  await assert.rejects(ask(event, { bad: true }, { url: URL_ }));
  asks(ASK);
  const second = await hears(2);
  assert.deepEqual([second.requests, second.decided, second.failed], [2, 1, 1]);
  assert.equal(second.error, `${event}: TypeError`);
  assert.ok(second.per_decision >= 0 && second.error_age >= 0 && second.uptime >= first.uptime);
  asks(askKey('another'));
  asks(askKey(service.name));
  assert.equal((await hears(3)).instance, first.instance);
  await stop();
  assert.equal((await hears(4)).state, 'leaves');
  assert.equal(heard.length, 4);
});

test('an instance says hello each few milliseconds, or never', async (t) => {
  const { service } = quiet();
  const { hears } = await hearer(t, service.name);
  await start(t, service.on(unique(), () => route('sip:1@gw')), { hello: 50 });
  await hears(4);
  const silent = quiet();
  const { heard, asks } = await hearer(t, silent.service.name);
  const event = unique();
  const { stop } = await start(t, silent.service.on(event, () => route('sip:1@gw')), { hello: 0 });
  asks(ASK);
  await ask(event, {}, { url: URL_ });
  await stop();
  assert.deepEqual(heard, []);
});

test('an instance that stops before it is bound stops', async () => {
  for (let turns = 0; turns < 40; turns += 4) {
    const { service } = quiet();
    const runner = new Runner(service.on(unique(), () => route('sip:1@gw')), { url: URL_ });
    const running = runner.run();
    await until(() => runner.consuming);
    for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
    runner.stop();
    await running;
    await onChannel((channel) => channel.deleteQueue(`evapi.decide.${service.name}`));
  }
});

test('a hello is bounded', () => {
  const text = '\u{1f600}'.repeat(5_000);
  const hello = { service: 's', instance: 'i', host: text, version: text, sdk: text, events: Array(1_000).fill(text) };
  const more = { state: /** @type {const} */ ('here'), uptime: 0, requests: 0, decided: 0, failed: 0, prefetch: 1 };
  assert.ok(encodeHello({ ...hello, ...more }).length <= 16_000);
});

const FOLDER = new URL('../../contract/golden/', import.meta.url);
/** @type {{ [key: string]: any }[]} */
const INDEX = JSON.parse(readFileSync(new URL('index.json', FOLDER), 'utf8'));

for (const { name, body, fields, routing_key: key } of INDEX.filter(({ message }) => message === 'hello')) {
  test(`golden: ${name}`, () => {
    assert.equal(encodeHello(fields).toString('hex'), readFileSync(new URL(body, FOLDER)).toString('hex'));
    assert.equal(helloKey(fields['service'], fields['instance']), key);
  });
}
