/**
 * Services that decide SIP calls of Kamailio, over RabbitMQ and evapi-adapter.
 *
 *     import { Service, reject, route, run } from 'evapi-consumers';
 *
 *     const service = new Service('my_service').on('invite_request', async ({ data, signal }) => {
 *       if (data.user.startsWith('999')) return reject(403, 'Forbidden');
 *       return route('sip:gw1.example.net');
 *     });
 *
 *     await run(service);
 */
import { readFileSync } from 'node:fs';
import { SettingsError } from './connection.js';
import { Runner } from './runner.js';

/** @typedef {import('./contract.js').Decision} Decision */
/** @typedef {import('./log.js').Log} Log */
/** @typedef {import('./runner.js').RunOptions} RunOptions */
/**
 * @template [Data=any]
 * @typedef {import('./service.js').Handler<Data>} Handler
 */

export { CodecError } from './contract.js';
export { SettingsError } from './connection.js';
export { DecisionError, Failed, NO_ANSWER, allow, cached, redirect, reject, route, routes } from './decisions.js';
export { Request } from './request.js';
export { Runner } from './runner.js';
export { Service } from './service.js';

/**
 * Run services until SIGTERM or SIGINT; what is in hand is finished then.
 * @param {import('./service.js').Service | import('./service.js').Service[]} services
 * @param {RunOptions} [options]
 * @throws {SettingsError} if no RabbitMQ is named, or a URL is none
 */
export async function run(services, options = {}) {
  const settings = { ...options, url: options.url ?? urlOfEnvironment() };
  const from = process.env['EVAPI_REQUESTS_FROM'];
  if (!settings.requestsFrom && from) settings.requestsFrom = from.split(',').map((user) => user.trim()).filter(Boolean);
  const runners = [services].flat().map((service) => new Runner(service, settings));
  const stop = () => runners.forEach((runner) => runner.stop());
  process.on('SIGTERM', stop).on('SIGINT', stop);
  try {
    await Promise.all(runners.map((runner) => runner.run()));
  } finally {
    process.off('SIGTERM', stop).off('SIGINT', stop);
  }
}

/** Return EVAPI_AMQP_URL, or what stands in the file that EVAPI_AMQP_URL_FILE names. */
function urlOfEnvironment() {
  const { EVAPI_AMQP_URL: url, EVAPI_AMQP_URL_FILE: file } = process.env;
  const found = url || (file && readFileSync(file, 'utf8').trim());
  if (!found) {
    throw new SettingsError('EVAPI_AMQP_URL: no RabbitMQ is named; write for example amqp://guest:guest@127.0.0.1:5672/');
  }
  return found;
}
