import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecisionError, Failed, NO_ANSWER, Service, allow, cached, redirect, reject, route, routes } from '../src/index.js';
import { decodeReply, encodeRequest } from '../src/contract.js';
import { Undecided, ask } from '../src/testing.js';

/** @typedef {import('../src/index.js').Handler} Handler */

const silent = { info: () => {}, warn: () => {}, error: () => {} };

/** @param {Handler} handler */
function made(handler) {
  return new Service('s', { log: silent }).on('e', handler);
}

/**
 * @param {Service} service
 * @param {object} [more] of the request
 * @param {object} [headers]
 * @param {string} [correlationId]
 */
async function answer(service, more = {}, headers = {}, correlationId = 'id') {
  const ids = { tmIndex: 1, tmLabel: 1, seq: 1, deadline: Date.now() + 2_000 };
  const content = encodeRequest({ event: 'e', node: 'n', data: {}, ...ids, ...more });
  return service.answer({ content, correlationId, headers });
}

for (const [kind, handler] of /** @type {[string, Handler][]} */ ([
  ['a function', ({ data }) => route(`sip:${data.user}@gw`)],
  ['an async function', async ({ data }) => route(`sip:${data.user}@gw`)],
])) {
  test(`${kind} decides`, async () => {
    const service = made(handler);
    assert.deepEqual(await ask('e', { user: '1' }, { service }), { action: 'route', uri: 'sip:1@gw' });
    assert.deepEqual(service.counts, { decided: 1 });
  });
}

for (const [what, handler] of /** @type {[string, Handler][]} */ ([
  ['throws', () => { throw new RangeError('of 4420'); }],
  ['rejects', async () => { throw new RangeError('of 4420'); }],
])) {
  test(`a handler that ${what} has failed, and says no more than the type`, async () => {
    const found = await answer(made(handler));
    assert.equal(found.result, 'failed');
    assert.deepEqual(decodeReply(found.body ?? Buffer.alloc(0)), { error: 'RangeError' });
    assert.deepEqual(found.headers, { 'x-service': 's', 'x-status': 'failed' });
  });
}

test('a handler may say why it fails', async () => {
  const found = await answer(made(() => { throw new Failed('the accounts are away'); }));
  assert.deepEqual(decodeReply(found.body ?? Buffer.alloc(0)), { error: 'Failed' });
  assert.equal(found.headers?.['x-detail'], 'the accounts are away');
});

test('a handler may have no say', async () => {
  assert.deepEqual(await answer(made(async () => NO_ANSWER)), { result: 'silent' });
});

for (const value of [undefined, null, 'allow', [1], new Map(), Buffer.from('a'), { uri: 1n }]) {
  test(`no decision: ${Object.prototype.toString.call(value)}`, async () => {
    const handler = /** @type {Handler} */ (/** @type {unknown} */ (() => value));
    assert.equal((await answer(made(handler))).result, 'failed');
  });
}

test('a request is given up at its deadline, and its signal aborts', async () => {
  /** @type {AbortSignal | undefined} */
  let signal;
  const service = made((request) => {
    signal = request.signal;
    return new Promise((_, refuse) => signal?.addEventListener('abort', () => refuse(signal?.reason)));
  });
  const found = await answer(service, { deadline: Date.now() + 30 });
  assert.deepEqual(found, { result: 'late' });
  assert.equal(signal?.aborted, true);
  assert.equal(signal?.reason.name, 'TimeoutError');
  assert.deepEqual(service.counts, { late: 1 });
});

test('a decision that comes after that is dropped', async () => {
  /** @type {(decision: {}) => void} */
  let decide = () => {};
  const service = made(() => new Promise((resolve) => (decide = resolve)));
  assert.equal((await answer(service, { deadline: Date.now() + 10 })).result, 'late');
  decide(allow());
  await new Promise(setImmediate);
  assert.deepEqual(service.counts, { late: 1 });
});

test('a request whose time is over is not handled', async () => {
  const service = made(() => assert.fail());
  assert.equal((await answer(service, { deadline: Date.now() - 1 })).result, 'expired');
  assert.equal((await answer(service, {}, { 'x-time-left': 0 })).result, 'expired');
});

test('a clock that is wrong by an hour costs nothing', async () => {
  const service = made((request) => ({ left: Math.round(request.timeLeft / 1000), at: request.deadline }));
  for (const hours of [-1, 0, 1]) {
    const found = await answer(service, { deadline: Date.now() + hours * 3_600_000 }, { 'x-time-left': 5_000 });
    const decision = decodeReply(found.body ?? Buffer.alloc(0));
    assert.equal(decision['left'], 5);
    assert.ok(Math.abs(Number(decision['at']) - Date.now() - 5_000) < 1_000, 'by this clock');
  }
});

test('a notice is handled, and answered by nobody', async () => {
  const service = made((request) => assert.equal(request.isNotice && request.timeLeft, Infinity));
  const content = encodeRequest({ event: 'e', node: 'n', data: {} });
  assert.deepEqual(await service.answer({ content, correlationId: undefined, headers: {} }), { result: 'noted' });
});

test('an event without a handler is none of this service', async () => {
  assert.deepEqual(await answer(made(() => allow()), { event: 'other' }), { result: 'unhandled', event: 'other' });
});

test('what is no request is rejected', async () => {
  const found = await made(() => allow()).answer({ content: Buffer.from('a'), correlationId: 'a', headers: {} });
  assert.equal(found.result, 'rejected');
});

test('ask throws if there is no decision, with what the handler threw', async () => {
  const error = new Error('a');
  await assert.rejects(ask('e', {}, { service: made(() => { throw error; }) }), (thrown) => {
    assert.ok(thrown instanceof Undecided);
    return thrown.cause === error;
  });
});

test('a service says what is wrong with it', () => {
  for (const name of ['', 'a b', 'a'.repeat(101)]) assert.throws(() => new Service(name), TypeError);
  assert.throws(() => new Service('s', { prefetch: 0 }), TypeError);
  assert.throws(() => made(() => allow()).on('e', () => allow()), /has a handler of e already/);
  assert.throws(() => made(() => allow()).on('', () => allow()), /name the event/);
});

test('decisions are checked before they leave', () => {
  assert.deepEqual(reject(403, 'No', { retry: 1 }), { action: 'reject', code: 403, reason: 'No', retry: 1 });
  assert.deepEqual(redirect('sip:a@b'), { action: 'redirect', uris: ['sip:a@b'], code: 302 });
  assert.deepEqual(allow(), { action: 'allow' });
  for (const wrong of [
    () => route('sip:a b'),
    () => route('http://a'),
    () => route(`sip:${'a'.repeat(1025)}`),
    () => reject(200, 'OK'),
    () => reject(403, 'a\r\nb'),
    () => redirect([]),
    () => redirect('sip:a@b', 404),
  ]) {
    assert.throws(wrong, DecisionError);
  }
});

test('several gateways are checked, each with its place', () => {
  const full = { uri: 'sip:a@b', timeout_ms: 2500, reroute_on: [486, '5xx'], headers: { 'X-A': 'ä' }, caller: '+44' };
  const more = { mode: /** @type {const} */ ('parallel'), max_duration: 60, note: 1 };
  assert.deepEqual(routes([full, 'sip:c'], more), { action: 'route', routes: [full, { uri: 'sip:c' }], ...more });
  for (const wrong of /** @type {any[]} */ ([
    ...[7, null, {}, 'tel:1', { uri: 'sip:a b' }, { uri: 'sip:a', timeout: 1 }, { uri: 'sip:a', timeout_ms: 1.5 }],
    ...[{ uri: 'sip:a', caller: 'a b' }, { uri: 'sip:a', reroute_on: 503 }, { uri: 'sip:a', reroute_on: [200] }],
    ...[{ Via: 'x' }, { 'X Y': 'x' }, { X: 'a\r\nb' }, { X: 1 }, []].map((headers) => ({ uri: 'sip:a', headers })),
  ])) {
    assert.throws(() => routes(['sip:a', wrong]), /^DecisionError: routes\[1\]: /);
  }
  for (const wrong of /** @type {any[]} */ ([[], 'sip:a', Array(11).fill('sip:a')])) {
    assert.throws(() => routes(wrong), DecisionError);
  }
  assert.throws(() => routes(['sip:a'], /** @type {any} */ ({ mode: 'both' })), DecisionError);
  assert.throws(() => routes(['sip:a'], { max_duration: 0 }), DecisionError);
  assert.throws(() => reject(486, 'Busy', { headers: { Via: 'x' } }), DecisionError);
});

test('a decision may hold for a while, and is sent as it is', async () => {
  const found = await answer(made(() => cached(route('sip:1@gw'), { seconds: 30 })));
  const plain = await answer(made(() => route('sip:1@gw')));
  assert.deepEqual(found.headers, { 'x-service': 's', 'x-cache': 30 });
  assert.deepEqual(plain.headers, { 'x-service': 's' });
  assert.deepEqual(found.body, plain.body);
  for (const seconds of [0, -1, 1.5, NaN, 365 * 86_400 + 1]) {
    assert.throws(() => cached(allow(), { seconds }), DecisionError);
  }
});

test('a handler gets what former services decided', async () => {
  const service = made(({ decisions }) => allow({ decisions }));
  const decisions = { fraud: { action: 'allow', score: 1 } };
  assert.deepEqual(await ask('e', {}, { service, decisions }), { action: 'allow', decisions });
  assert.deepEqual(await ask('e', {}, { service }), { action: 'allow', decisions: {} });
});

for (const [when, before] of /** @type {[string, () => any][]} */ ([
  ['at once', () => {}],
  ['while it waits', () => new Promise((resolve) => setTimeout(resolve, 5))],
])) {
  test(`a handler asks for more time ${when}, and has it`, async () => {
    /** @type {import('../src/service.js').Reply[]} */
    const sent = [];
    const service = made(async (request) => {
      await before();
      const given = [request.extend(30_000.4), request.extend(1)];
      await new Promise((resolve) => setTimeout(resolve, 60));
      return allow({ given, left: request.timeLeft, deadline: Number(request.deadline) - Date.now() });
    });
    const content = encodeRequest({ event: 'e', node: 'n', data: {}, tmIndex: 1, tmLabel: 1, seq: 1, deadline: Date.now() + 50 });
    const found = await service.answer({ content, correlationId: 'id', headers: {}, send: (reply) => void sent.push(reply) });
    const { given, left, deadline } = /** @type {any} */ (decodeReply(found.body ?? Buffer.alloc(0)));
    assert.deepEqual(given, [true, false]);
    assert.ok(left > 25_000 && left < 30_000 && Math.abs(left - deadline) < 1_000);
    assert.deepEqual(sent, [
      { body: Buffer.alloc(0), headers: { 'x-service': 's', 'x-status': 'extend', 'x-extend': 30_000 } },
    ]);
  });
}

test('more time ends, too', async () => {
  const found = await answer(made(async (request) => {
    request.extend(10);
    return new Promise(() => {});
  }), { deadline: Date.now() + 10 });
  assert.deepEqual(found, { result: 'late' });
});

test('there is no more time where nobody waits, without a deadline, and after it', async () => {
  /** @type {boolean[]} */
  const given = [];
  const service = made((request) => {
    given.push(request.extend(1_000));
    return allow();
  });
  const content = encodeRequest({ event: 'e', node: 'n', data: {}, tmIndex: 1, tmLabel: 1, seq: 1, deadline: Date.now() + 2_000 });
  assert.deepEqual(await service.answer({ content, correlationId: undefined, headers: {} }), { result: 'noted' });
  await answer(service, { deadline: undefined });
  /** @type {any} */
  let kept;
  await answer(made((request) => {
    kept = request;
    return new Promise(() => {});
  }), { deadline: Date.now() + 10 });
  given.push(kept.extend(1_000));
  assert.deepEqual(given, [false, false, false]);
  for (const wrong of [0, -1, NaN, Infinity]) assert.throws(() => kept.extend(wrong), RangeError);
});
