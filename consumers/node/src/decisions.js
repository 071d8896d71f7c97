/**
 * What a consumer answers: plain objects, checked before they leave. A decision may be any object; these are
 * the ones that the configuration shipped with the adapter knows.
 */

/** @typedef {import('./contract.js').Decision} Decision */

/** Bytes of a URI: Kamailio's own limit. */
const MAX_URI = 1024;
/** Characters of a reason phrase. */
const MAX_REASON = 128;
// Brackets, quotes and white space would end the URI in a header and begin something else.
const URI = /^(?:sips?|tel):[!#-;=?-~]+$/i;

/** A decision cannot be carried out; the text says what is wrong with it. */
export class DecisionError extends Error {
  name = 'DecisionError';
}

/**
 * Thrown by a handler: the call is `failed`, for a reason that the text tells. It goes with the reply (`x-detail`),
 * so it must hold nothing of other people's calls.
 */
export class Failed extends Error {
  name = 'Failed';
}

/**
 * Returned by a handler that has no say in a call. If the policy names the service, nobody else got the request: so that
 * is told at once, and the call goes on without it. Else no reply is sent: another service decides, or nobody until its
 * deadline.
 */
export const NO_ANSWER = Object.freeze({ answer: null }); // no symbol: TypeScript widens it in async functions

/**
 * Send the call to `uri`.
 * @param {string} uri
 * @param {Decision} [more] is passed on beside it, for a configuration that reads it
 * @returns {Decision}
 * @throws {DecisionError} if that is no SIP URI
 */
export function route(uri, more) {
  return { action: 'route', uri: checkedUri(uri), ...more };
}

/**
 * Refuse the call.
 * @param {number} code a SIP status from 400 to 699
 * @param {string} reason one line
 * @param {Decision} [more]
 * @returns {Decision}
 * @throws {DecisionError} for anything else
 */
export function reject(code, reason, more) {
  if (typeof reason !== 'string' || /\p{C}|\p{Zl}|\p{Zp}/u.test(reason) || reason.length > MAX_REASON) {
    throw new DecisionError(`${shown(reason)} is no reason phrase: a line of at most ${MAX_REASON} characters`);
  }
  return { action: 'reject', code: checkedCode(code, 400, 699), reason, ...more };
}

/**
 * Send the caller elsewhere; the first contact is preferred.
 * @param {string | string[]} contacts
 * @param {number} [code] a SIP status from 300 to 399
 * @param {Decision} [more]
 * @returns {Decision}
 * @throws {DecisionError} if there is no contact, or one that is no SIP URI
 */
export function redirect(contacts, code = 302, more) {
  const found = typeof contacts === 'string' ? [contacts] : contacts;
  if (!found.length) throw new DecisionError('redirect: at least one contact is needed');
  return { action: 'redirect', contacts: found.map(checkedUri), code: checkedCode(code, 300, 399), ...more };
}

/**
 * Let the call go on as it was.
 * @param {Decision} [more]
 * @returns {Decision}
 */
export function allow(more) {
  return { action: 'allow', ...more };
}

/** Under which a decision keeps for how long it holds: no key of it, so that it is sent as it is. */
const CACHE = Symbol('evapi-cache');
/** Seconds for which a decision holds, at most. */
const MAX_CACHE = 365 * 86_400;

/**
 * Let a decision hold for calls that are alike, where the policy says by which keys they are (`cache`).
 * @param {Decision} decision any; it is sent as it is
 * @param {{ seconds: number }} options for how long, in whole seconds
 * @returns {Decision}
 * @throws {DecisionError} if these are not from 1 to a year's
 */
export function cached(decision, { seconds }) {
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > MAX_CACHE) {
    throw new DecisionError(`cached: ${shown(seconds)} is no number of seconds from 1 to ${MAX_CACHE}`);
  }
  return Object.defineProperty({ ...decision }, CACHE, { value: seconds });
}

/**
 * Return the seconds for which a decision holds; undefined if nobody said so.
 * @param {any} decision
 * @returns {number | undefined}
 */
export function cacheOf(decision) {
  return decision[CACHE];
}

/** @param {unknown} uri */
function checkedUri(uri) {
  if (typeof uri !== 'string' || uri.length > MAX_URI || !URI.test(uri)) {
    throw new DecisionError(
      `${shown(uri)} is no SIP URI such as sip:441632960000@gw1.example.net ` +
        `(printable ASCII without spaces, brackets or quotes, at most ${MAX_URI} bytes)`,
    );
  }
  return uri;
}

/**
 * @param {number} code
 * @param {number} low
 * @param {number} high
 */
function checkedCode(code, low, high) {
  if (!Number.isInteger(code) || code < low || code > high) {
    throw new DecisionError(`${shown(code)} is no SIP status from ${low} to ${high}`);
  }
  return code;
}

/** @param {unknown} value */
function shown(value) {
  return JSON.stringify(String(value).slice(0, 100));
}
