import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TimeLeft, Unread } from '../src/time_left.js';
import { until } from './wait.js';

/** Deadlines by a clock that is a day wrong; `now` is this machine's. */
function clocks(unread = 0) {
  const at = { now: 1_000_000, unread };
  const left = new TimeLeft(() => at.unread, () => at.now);
  /** @param {number} waited milliseconds between its publication and now */
  const of = (waited) => left.of(at.now - waited + 2_000 + 86_400_000, 2_000);
  return { at, of };
}

test('what has waited has less left, whatever the clocks say', () => {
  const { of } = clocks();
  assert.equal(of(0), 2_000);
  assert.equal(of(30), 1_970);
});

test('a clock that was set is believed, unless a backlog explains it', () => {
  const { at, of } = clocks();
  of(0);
  assert.equal(of(5_000), 2_000, 'RabbitMQ hands out nothing that has expired');
  at.unread = Infinity;
  of(0);
  assert.equal(of(10_000), 2_000 - 10_000, 'it lay in the socket');
});

test('one of several in a message may have expired before it', () => {
  const { at } = clocks();
  const left = new TimeLeft(() => 0, () => at.now);
  left.of(at.now + 1_000, 1_000);
  assert.equal(left.of(at.now - 3_000 + 1_000, 1_000, 10_000), -2_000);
  assert.equal(left.of(at.now - 11_000 + 1_000, 1_000, 10_000), 1_000, 'its message, too: a clock was set');
});

test('a socket that was read empty is known', async () => {
  const unread = new Unread();
  assert.equal(unread.milliseconds(), Infinity);
  await until(() => unread.milliseconds() < 1_000);
  unread.close();
});
