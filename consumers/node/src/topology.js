/** What a service declares on RabbitMQ: the same each time, by every instance, and the same as the Python SDK. */
import { DEAD_EXCHANGE, EVENTS_EXCHANGE, messageOf, serviceQueue, word } from './contract.js';
import { onChannel, refusal } from './connection.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./service.js').Service} Service */

/**
 * Return the arguments of a service's queue. Dead requests keep their routing key: it names the node.
 * @param {Service} service
 */
export function queueArguments(service) {
  return {
    'x-queue-type': service.queueType,
    'x-dead-letter-exchange': DEAD_EXCHANGE,
    'x-max-length': service.maxLength,
    ...(service.queueType === 'quorum' && { 'x-delivery-limit': service.deliveryLimit }),
  };
}

/**
 * Declare the exchanges and the service's queue. `bindService` comes after it.
 *
 * What is the adapter's is declared only where it is missing, so that a service needs no right to it. What is
 * kept of what died is the adapter's affair. A queue that exists with other arguments is used as it is: they
 * cannot be changed, and calls are waiting.
 * @param {Connection} connection
 * @param {Service} service
 */
export async function declare(connection, service) {
  await exchange(connection, EVENTS_EXCHANGE, 'topic');
  await exchange(connection, DEAD_EXCHANGE, 'fanout');
  await queue(connection, service, serviceQueue(service.name), queueArguments(service));
}

/**
 * Bind the service's queue to its events.
 * @param {Connection} connection
 * @param {Service} service
 */
export async function bindService(connection, service) {
  await onChannel(connection, async (channel) => {
    for (const event of service.events) {
      await channel.bindQueue(serviceQueue(service.name), EVENTS_EXCHANGE, `${word(event)}.*`);
    }
  });
}

/**
 * Return true if there is a queue of that name.
 * @param {Connection} connection
 * @param {string} name
 */
export async function queueExists(connection, name) {
  try {
    await onChannel(connection, (channel) => channel.checkQueue(name));
    return true;
  } catch (error) {
    if (refusal(error) === 404) return false;
    throw error;
  }
}

/**
 * Declare an exchange if there is none.
 * @param {Connection} connection
 * @param {string} name
 * @param {string} kind
 */
export async function exchange(connection, name, kind) {
  try {
    await onChannel(connection, (channel) => channel.checkExchange(name));
  } catch (error) {
    if (refusal(error) !== 404) throw error;
    try {
      await onChannel(connection, (channel) => channel.assertExchange(name, kind, { durable: true }));
    } catch (refused) {
      if (refusal(refused) !== 403) throw refused;
      throw new Error(`there is no exchange ${name}: start an adapter first, which makes it`);
    }
  }
}

/**
 * @param {Connection} connection
 * @param {Service} service
 * @param {string} name
 * @param {object} arguments_
 */
async function queue(connection, service, name, arguments_) {
  try {
    await onChannel(connection, (channel) => channel.assertQueue(name, { durable: true, arguments: arguments_ }));
  } catch (error) {
    if (refusal(error) !== 406) throw error;
    service.log.warn(`${name} is used as it is: ${messageOf(error)}`);
  }
}
