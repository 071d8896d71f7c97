/** The RabbitMQ of the tests, which whoever starts them has started, and what they ask of it. */
import { once } from 'node:events';
import net from 'node:net';
import { connect } from 'amqplib';
import { Runner, Service } from '../src/index.js';
import { DEAD_EXCHANGE } from '../src/contract.js';
import { until } from './wait.js';

/** @param {string} name */
function variable(name) {
  const found = process.env[name];
  if (!found) throw new Error(`${name}: name a RabbitMQ to test on, amqp://guest:guest@127.0.0.1:5672/`);
  return found;
}

// Without noDelay a connection takes 40 ms longer.
export const URL_ = variable('EVAPI_TEST_AMQP_URL');
/** The same by TLS, with `?cafile=`. */
export const TLS_URL = variable('EVAPI_TEST_AMQPS_URL');

/** Collects the lines of a log. */
export class Lines {
  /** @type {string[]} */
  lines = [];
  /** @param {string} text */
  info = (text) => void this.lines.push(text);
  warn = this.info;
  error = this.info;
  /** @param {string} part */
  has = (part) => this.lines.some((line) => line.includes(part));
}

let number = 0;

/** Return a name that no other test, and no other process, has. */
export function unique() {
  return `node-${process.pid}-${(number += 1)}`;
}

/**
 * Return a service whose log is kept.
 * @param {string} [name]
 * @param {object} [options]
 */
export function quiet(name = unique(), options = {}) {
  const log = new Lines();
  return { service: new Service(name, { ...options, log }), log };
}

/**
 * Run a service until the test ends; its queue goes with it.
 * @param {import('node:test').TestContext} test
 * @param {Service} service
 * @param {object} [options]
 */
export async function start(test, service, options = {}) {
  const runner = new Runner(service, { url: URL_, ...options });
  const running = runner.run();
  const stop = async () => {
    runner.stop();
    await running;
  };
  test.after(async () => {
    await stop();
    await onChannel((channel) => channel.deleteQueue(`evapi.decide.${service.name}`));
  });
  await runner.ready;
  return { runner, stop };
}

/**
 * Run something on a channel of its own.
 * @template T
 * @param {(channel: import('amqplib').ConfirmChannel) => Promise<T>} use
 * @returns {Promise<T>}
 */
export async function onChannel(use) {
  const connection = await connect(URL_, { noDelay: true });
  try {
    return await use(await connection.createConfirmChannel());
  } finally {
    await connection.close();
  }
}

/**
 * Return a queue, there until the test ends, and what comes to it: `next()` waits for one.
 * @param {import('node:test').TestContext} test
 * @param {string} [exchange] to which it is bound
 */
export async function inbox(test, exchange) {
  const connection = await connect(URL_, { noDelay: true });
  test.after(() => connection.close());
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  if (exchange === DEAD_EXCHANGE) await channel.assertExchange(exchange, 'fanout');
  if (exchange) await channel.bindQueue(queue, exchange, '#');
  /** @type {import('amqplib').ConsumeMessage[]} */
  const came = [];
  await channel.consume(queue, (message) => void (message && came.push(message)), { noAck: true });
  const next = (/** @type {string} */ correlationId) =>
    until(() => came.find((message) => message.properties.correlationId === correlationId));
  return { queue, next, came, channel };
}

/**
 * Return the URL of a way to RabbitMQ that can be cut.
 * @param {import('node:test').TestContext} test
 */
export async function proxy(test) {
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  const server = net.createServer((inside) => {
    const outside = net.connect(Number(new URL(URL_).port), '127.0.0.1');
    for (const [one, other] of /** @type {const} */ ([[inside, outside], [outside, inside]])) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => {}).on('close', () => other.destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => sockets.forEach((socket) => socket.destroy());
  test.after(() => {
    cut();
    server.close();
  });
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  return { url: `amqp://guest:guest@127.0.0.1:${port}/`, cut };
}
