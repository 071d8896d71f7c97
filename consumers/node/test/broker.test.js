import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Runner, allow, cached, route } from '../src/index.js';
import { DEAD_EXCHANGE, EVENTS_EXCHANGE, decode, decodeReply, encode, encodeRequest } from '../src/contract.js';
import { Undecided, ask } from '../src/testing.js';
import { TLS_URL, URL_, inbox, onChannel, proxy, quiet, start, unique } from './broker.js';
import { until } from './wait.js';

let asked = 0;

/**
 * Publish a request as the adapter does; gives its correlation id.
 * @param {string} event
 * @param {string} replyTo
 * @param {{ left?: number, content?: Buffer, user?: string }} [more]
 */
async function request(event, replyTo, { left = 20_000, content, user } = {}) {
  const correlationId = `n:${(asked += 1)}:1:1`;
  const deadline = Date.now() + left;
  const body = { event, node: 'n', data: { user: '1' }, tmIndex: asked, tmLabel: 1, seq: 1, deadline };
  const headers = { 'x-node': 'n', 'x-deadline': deadline, 'x-time-left': left, 'x-version': 1 };
  const properties = { correlationId, replyTo, headers, ...(user && { userId: user }) };
  await onChannel(async (channel) => {
    channel.publish(EVENTS_EXCHANGE, `${event}.n`, content ?? encodeRequest(body), properties);
    await channel.waitForConfirms();
  });
  return correlationId;
}

/** @param {string} name */
async function waitingIn(name) {
  return onChannel(async (channel) => (await channel.checkQueue(name)).messageCount);
}

test('a running service decides, fails, and has no say', async (t) => {
  const event = unique();
  const { service } = quiet();
  service.on(event, async ({ data }) => route(`sip:${data.user}@gw`));
  service.on(`${event}-bad`, () => { throw new Error('a'); });
  await start(t, service);
  assert.deepEqual(await ask(event, { user: '1' }, { url: URL_ }), { action: 'route', uri: 'sip:1@gw' });
  await assert.rejects(ask(`${event}-bad`, {}, { url: URL_ }), { name: 'Undecided', message: `${event}-bad: failed` });
  await assert.rejects(ask(`${event}-none`, {}, { url: URL_ }), /no service is bound/);
});

test('a reply says what the adapter reads', async (t) => {
  const { queue, next } = await inbox(t);
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => allow()));
  const before = Date.now() * 1000;
  const { properties, content } = await next(await request(event, queue));
  assert.deepEqual(decodeReply(content), { action: 'allow' });
  assert.equal(properties.contentType, 'application/msgpack');
  assert.equal(properties.deliveryMode, 1, 'transient');
  assert.equal(properties.appId, 'evapi-adapter');
  const headers = properties.headers ?? {};
  assert.deepEqual(Object.keys(headers).sort(), ['x-received', 'x-replied', 'x-service']); // 4.x sorts them
  assert.ok(before <= headers['x-received'] && headers['x-received'] <= headers['x-replied']);
  assert.ok(headers['x-replied'] <= Date.now() * 1000 + 1_000_000);
});

test('a handler asks for more time, and the request stays in hand until it decides', async (t) => {
  const { queue, came, next } = await inbox(t);
  const event = unique();
  const { service } = quiet();
  /** @type {(decided: object) => void} */
  let decide = () => {};
  service.on(event, (request) => {
    request.extend(20_000);
    return new Promise((resolve) => (decide = () => resolve(cached(allow(), { seconds: 30 }))));
  });
  await start(t, service);
  const id = await request(event, queue);
  const { properties, content } = await next(id);
  assert.equal(content.length, 0);
  const { 'x-received': _, 'x-replied': __, ...headers } = properties.headers ?? {};
  assert.deepEqual(headers, { 'x-service': service.name, 'x-status': 'extend', 'x-extend': 20_000 });
  decide({});
  await until(() => came.length === 2);
  assert.equal(came[1]?.properties.correlationId, id);
  assert.equal(came[1]?.properties.headers?.['x-cache'], 30);
  assert.deepEqual(service.counts, { decided: 1 });
});

test('the asker waits for as long as the service has asked for', async (t) => {
  const event = unique();
  const { service } = quiet();
  service.on(event, async (request) => {
    const wait = request.timeLeft + 20;
    request.extend(20_000);
    await new Promise((resolve) => setTimeout(resolve, wait));
    return allow();
  });
  await start(t, service);
  assert.deepEqual(await ask(event, {}, { url: URL_, deadline: 500 }), allow());
});

test('a request without reply_to is an observer\'s: its decision is dropped without a word', async (t) => {
  const event = unique();
  const { service, log } = quiet();
  const { stop } = await start(t, service.on(event, () => allow()));
  await request(event, '');
  await until(() => service.counts.noted === 1);
  const lines = log.lines.length;
  await stop();
  assert.equal(await waitingIn(`evapi.decide.${service.name}`), 0);
  assert.equal(log.lines.slice(0, lines).some((line) => line.includes('n:')), false);
});

test('a request is acknowledged, also if nobody waits for its reply any more', async (t) => {
  const event = unique();
  const { service, log } = quiet();
  const { stop } = await start(t, service.on(event, () => allow()));
  await request(event, 'nobody.there');
  await until(() => log.has('there is no queue nobody.there'));
  await stop();
  assert.equal(await waitingIn(`evapi.decide.${service.name}`), 0);
});

test('until its reply is confirmed, a request is not acknowledged', async (t) => {
  const refusing = unique();
  await onChannel((channel) => channel.assertQueue(refusing, {
    durable: true, arguments: { 'x-max-length': 0, 'x-overflow': 'reject-publish' },
  }));
  t.after(() => onChannel((channel) => channel.deleteQueue(refusing)));
  const event = unique();
  const { service, log } = quiet();
  const { next } = await inbox(t, DEAD_EXCHANGE);
  await start(t, service.on(event, () => allow()));
  await next(await request(event, refusing));
  assert.ok(log.has(`${refusing} takes no reply`), 'after eight attempts, to the dead letters');
});

test('what is no request goes to the dead letters', async (t) => {
  const { queue, next } = await inbox(t, DEAD_EXCHANGE);
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => allow()));
  const id = await request(event, queue, { content: Buffer.from('a') });
  assert.equal((await next(id)).content.toString(), 'a');
});

test('requests of users who are not named go to the dead letters', async (t) => {
  const { queue, next } = await inbox(t, DEAD_EXCHANGE);
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => allow()), { requestsFrom: ['guest'] });
  const good = await request(event, queue, { user: 'guest' });
  const bad = await request(event, queue);
  assert.deepEqual(decodeReply((await next(good)).content), { action: 'allow' });
  await next(bad);
  assert.deepEqual(service.counts, { decided: 1, refused: 1 });
});

test('a stop takes nothing more, and finishes what is in hand', async (t) => {
  const { queue, next, came } = await inbox(t);
  const event = unique();
  const { service } = quiet();
  /** @type {(() => void)[]} */
  const deciding = [];
  service.on(event, () => new Promise((resolve) => deciding.push(() => resolve(allow()))));
  const { stop } = await start(t, service);
  const first = await request(event, queue);
  await until(() => deciding.length === 1);
  const stopped = stop();
  const second = await request(event, queue);
  await until(async () => (await waitingIn(`evapi.decide.${service.name}`)) === 1);
  deciding[0]?.();
  await Promise.all([stopped, next(first)]);
  assert.deepEqual(came.map(({ properties }) => properties.correlationId), [first], `${second} waits`);
});

test('what a stop cannot wait for is delivered again', async (t) => {
  const { queue, next } = await inbox(t);
  const event = unique();
  const { service, log } = quiet();
  /** @type {AbortSignal | undefined} */
  let taken;
  service.on(event, ({ signal }) => new Promise(() => (taken = signal)));
  const { stop } = await start(t, service, { grace: 20 });
  const id = await request(event, queue);
  await until(() => taken);
  await stop();
  assert.equal(taken?.aborted, true);
  assert.ok(log.has('1 requests left after 20 ms'));
  const { service: next_ } = quiet(service.name);
  await start(t, next_.on(event, () => allow()));
  await next(id);
});

test('a stop does not wait for what is lost with the connection', async (t) => {
  const { queue } = await inbox(t);
  const event = unique();
  const { service } = quiet();
  let taken = false;
  service.on(event, () => new Promise(() => (taken = true)));
  const way = await proxy(t);
  const { stop } = await start(t, service, { url: way.url, grace: 15_000 });
  await request(event, queue);
  await until(() => taken);
  const began = performance.now();
  const stopped = stop();
  await until(() => onChannel(async (channel) => {
    return (await channel.checkQueue(`evapi.decide.${service.name}`)).consumerCount === 0;
  }));
  way.cut();
  await stopped;
  assert.ok(performance.now() - began < 10_000);
});

test('a connection that breaks is opened again, by the next URL', async (t) => {
  const event = unique();
  const { service, log } = quiet();
  const way = await proxy(t);
  service.on(event, () => allow());
  await start(t, service, { url: `amqp://127.0.0.1:1/,${way.url},${URL_}` });
  assert.deepEqual(await ask(event, {}, { url: URL_ }), { action: 'allow' });
  way.cut();
  await until(() => log.lines.filter((line) => line.includes('consuming')).length === 2);
  assert.deepEqual(await ask(event, {}, { url: URL_, deadline: 10_000 }), { action: 'allow' });
});

test('a queue, or an exchange, that is deleted is declared and bound again', async (t) => {
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => allow()));
  await onChannel((channel) => channel.deleteQueue(`evapi.decide.${service.name}`));
  await until(() => ask(event, {}, { url: URL_ }).catch((error) => {
    assert.ok(error instanceof Undecided);
  }));
});

test('several requests are worked on at a time, as many as the prefetch says', async (t) => {
  const { queue } = await inbox(t);
  const event = unique();
  const { service } = quiet(unique(), { prefetch: 3 });
  let at = 0;
  service.on(event, () => new Promise(() => (at += 1)));
  await start(t, service, { grace: 0 });
  for (let count = 0; count < 5; count += 1) await request(event, queue);
  await until(() => at === 3);
  assert.equal(await waitingIn(`evapi.decide.${service.name}`), 2);
});

test('TLS: amqps://, with the authority in cafile', async (t) => {
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => allow()), { url: TLS_URL });
  assert.deepEqual(await ask(event, {}, { url: TLS_URL }), { action: 'allow' });
});

test('an authority that is not known is refused', async (t) => {
  const { service, log } = quiet();
  const runner = new Runner(service, { url: TLS_URL.replace(/\?.*/, '') });
  const running = runner.run();
  t.after(() => running);
  await until(() => log.has('certificate'));
  runner.stop();
});

test('a URL that is none is told without its password', async () => {
  const { service } = quiet();
  assert.throws(() => new Runner(service, { url: 'http://u:secret@h/' }), (error) => {
    assert.ok(error instanceof Error);
    return error.name === 'SettingsError' && !error.message.includes('secret');
  });
});

/**
 * Publish several requests in one message, as the adapter does; gives their correlation ids.
 * @param {string} service
 * @param {string} replyTo
 * @param {object[]} some what differs of each
 */
async function several(service, replyTo, some) {
  const deadline = Date.now() + 20_000;
  const parts = some.map((more) => {
    const correlationId = `n:${(asked += 1)}:1:1`;
    const ids = { tm_index: asked, tm_label: 1, seq: 1, deadline };
    const own = { correlation_id: correlationId, headers: { 'x-time-left': 20_000 } };
    return { event: 'none', node: 'n', data: {}, ...ids, ...own, ...more };
  });
  const headers = { 'x-node': 'n', 'x-deadline': deadline, 'x-version': 1, 'x-batch': parts.length };
  await onChannel(async (channel) => {
    channel.publish('', `evapi.decide.${service}`, encode(parts), { replyTo, headers, contentType: 'application/msgpack' });
    await channel.waitForConfirms();
  });
  return parts.map(({ correlation_id: id }) => id);
}

test('requests that come in one message are answered in one, each by itself', async (t) => {
  const { queue, came } = await inbox(t);
  const event = unique();
  const { service } = quiet();
  service.on(event, ({ data, correlationId, timeLeft, headers }) => {
    if (data.bad) throw new Error('a');
    assert.ok(timeLeft > 10_000 && headers['x-batch'] === undefined);
    return allow({ by: correlationId });
  });
  await start(t, service);
  const ids = await several(service.name, queue, [{ event }, { event, data: { bad: 1 } }, { event }, {}]);
  await until(() => came.length === 2);
  const [{ properties, content }, { properties: last }] = /** @type {any[]} */ (came);
  assert.equal(properties.correlationId, undefined);
  assert.deepEqual([properties.headers['x-batch'], properties.headers['x-service']], [3, service.name]);
  const found = /** @type {any[]} */ (decode(content));
  assert.deepEqual(found.map((each) => each.correlation_id), ids.slice(0, 3));
  assert.deepEqual(decodeReply(found[0].body), { action: 'allow', by: ids[0] });
  assert.equal(found[1].headers['x-status'], 'failed');
  assert.equal(found[0].headers, undefined);
  // Of an event that it has no handler for, later: other instances were asked first.
  assert.deepEqual([last.correlationId, last.headers['x-status']], [ids[3], 'failed']);
  await until(async () => (await waitingIn(`evapi.decide.${service.name}`)) === 0);
});

test('a message of several is acknowledged once all of it is answered', async (t) => {
  const { queue, came } = await inbox(t);
  const event = unique();
  const { service } = quiet();
  service.on(event, ({ data }) => (data.waits ? new Promise(() => {}) : allow()));
  const { stop } = await start(t, service, { grace: 100 });
  await several(service.name, queue, [{ event }, { event, data: { waits: 1 } }]);
  await until(() => came.length === 1);
  await stop();
  assert.equal(await waitingIn(`evapi.decide.${service.name}`), 1);
});

test('one of several that is no request goes to the dead letters alone', async (t) => {
  const { queue, next } = await inbox(t);
  const dead = await inbox(t, DEAD_EXCHANGE);
  const event = unique();
  const { service } = quiet();
  await start(t, service.on(event, () => allow()));
  const [good, bad] = await several(service.name, queue, [{ event }, { event, seq: 'x' }]);
  const { properties, content } = await dead.next(/** @type {string} */ (bad));
  assert.equal(properties.headers?.['x-first-death-reason'], 'rejected');
  assert.equal(properties.headers?.['x-death']?.[0]?.queue, `evapi.decide.${service.name}`);
  assert.equal(/** @type {any} */ (decode(content)).event, event);
  assert.deepEqual(decodeReply((await next(/** @type {string} */ (good))).content), { action: 'allow' });
});
