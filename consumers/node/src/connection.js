/** Connections to RabbitMQ: opened in time, of several servers the first that answers. */
import { readFileSync } from 'node:fs';
import { connect } from 'amqplib';
import { messageOf } from './contract.js';

/** @typedef {import('amqplib').ChannelModel} Connection */
/** @typedef {import('amqplib').Channel} Channel */
/** @typedef {import('amqplib').ConfirmChannel} ConfirmChannel */

/** Milliseconds for a connection, and for any answer of the server's. */
export const ANSWER_TIMEOUT = 3_000;
/** Seconds: one that is idle and hangs is let go of after two of them. A URL may say another. */
const HEARTBEAT = 5;
const CLOSE_TIMEOUT = 2_000;

/** A setting is wrong; the text names it. */
export class SettingsError extends Error {
  name = 'SettingsError';
}

/** The server did not answer in time. */
export class NoAnswer extends Error {
  name = 'NoAnswer';
}

/**
 * Return the servers of a list: URLs separated by commas.
 * @param {string} text
 * @returns {string[]}
 * @throws {SettingsError} that never shows a password
 */
export function parseUrls(text) {
  // A comma parts two of them where a scheme follows it: passwords may have one.
  const urls = text.trim().split(/\s*,\s*(?=[A-Za-z][A-Za-z0-9+.-]*:\/\/)/);
  urls.forEach((url, index) => {
    if (/^amqps?:\/\/[^/]/.test(url) && isUrl(url)) return;
    throw new SettingsError(`EVAPI_AMQP_URL: URL ${index + 1} is no amqp://user:password@host:port/vhost`);
  });
  return urls;
}

/**
 * Open a connection to the first of `urls` that answers.
 * @param {string[]} urls `cafile`, `certfile`, `keyfile` and `heartbeat` may stand behind a `?`
 * @param {string} name is shown in RabbitMQ's list of connections
 * @returns {Promise<{ connection: Connection, url: string }>}
 * @throws {Error} of all that did not answer
 */
export async function open(urls, name) {
  const troubles = [];
  for (const url of urls) {
    try {
      return { connection: await openOne(url, name), url };
    } catch (error) {
      troubles.push(`${place(url)}: ${messageOf(error)}`);
    }
  }
  throw new Error(troubles.join('; '));
}

/**
 * @param {string} text
 * @param {string} name
 */
async function openOne(text, name) {
  const url = new URL(text);
  const options = url.searchParams;
  /** @param {string} option */
  const file = (option) => {
    const path = options.get(option);
    return path === null ? {} : { [option.replace('file', '')]: readFileSync(path) };
  };
  if (!options.has('heartbeat')) options.set('heartbeat', String(HEARTBEAT));
  const connection = await connect(url.href, {
    ...file('cafile'),
    ...file('certfile'),
    ...file('keyfile'),
    rejectUnauthorized: options.get('no_verify_ssl') !== '1',
    noDelay: true,
    timeout: ANSWER_TIMEOUT,
    clientProperties: { connection_name: name },
  });
  connection.on('error', () => {}); // 'close' comes after it, and tells the same
  return connection;
}

/**
 * Close a connection, and its socket: a server that is short of memory says goodbye and keeps it open, and one that
 * hangs does not even say that.
 * @param {Connection} connection
 */
export async function close(connection) {
  await inTime(connection.close(), CLOSE_TIMEOUT).catch(() => {});
  // amqplib (2.3.1) has no other way, and stops its heartbeat over an error only.
  /** @type {any} */ (connection.connection).stream.destroy(new Error('no goodbye'));
}

/**
 * Run `use` on a channel of its own: the server closes one with each refusal.
 * @template T
 * @param {Connection} connection
 * @param {(channel: Channel) => Promise<T>} use
 * @returns {Promise<T>}
 */
export async function onChannel(connection, use) {
  const channel = await inTime(connection.createChannel());
  channel.on('error', () => {}); // what was refused is raised where it was asked for
  const found = await inTime(use(channel));
  await inTime(channel.close());
  return found;
}

/**
 * Await something of the server's; throw NoAnswer if it takes longer.
 * @template T
 * @param {Promise<T>} answer
 * @param {number} [milliseconds]
 * @returns {Promise<T>}
 */
export async function inTime(answer, milliseconds = ANSWER_TIMEOUT) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new NoAnswer(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await /** @type {Promise<T>} */ (Promise.race([answer, late]));
  } finally {
    clearTimeout(timer);
  }
}

/** @param {string} text */
function isUrl(text) {
  try {
    return Boolean(new URL(text));
  } catch {
    return false;
  }
}

/**
 * Return a URL for people: without user, password and options.
 * @param {string} url
 */
export function place(url) {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

/**
 * Return the user that a URL names.
 * @param {string} url
 */
export function userOf(url) {
  return decodeURIComponent(new URL(url).username) || 'guest';
}

/**
 * Return the code by which RabbitMQ refused something: 403, 404, 406; undefined for any other error.
 * @param {unknown} error
 * @returns {number | undefined}
 */
export function refusal(error) {
  return /** @type {any} */ (error)?.code;
}
