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
/** Routes of one decision: those behind them are not tried. */
const MAX_ROUTES = 10;
/** Milliseconds of a route, seconds of a call, entries of `reroute_on`, bytes of a caller and of all headers, at most. */
const MAX_TIMEOUT = 9_999_999;
const MAX_DURATION = 99_999_999;
const MAX_REROUTE = 50;
const MAX_CALLER = 255;
const MAX_HEADERS = 4000;
const SIP_URI = /^sips?:/i; // tel has no host
const CALLER = /^(?:[+0-9A-Z_.-]+|sips?:[!#-;=?-~]+)$/i;
const REROUTE = /^[3456](?:[0-9]{2}|xx)$/;
const UNPRINTABLE = /\p{C}|\p{Zl}|\p{Zp}/u;
const HEADER = /^[a-z][a-z0-9-]*$/i;
/** Headers that are Kamailio's to set. */
const NOT_SET =
  /^(?:via|v|from|f|to|t|call-id|i|cseq|contact|m|route|record-route|max-forwards|content-(?:length|type|encoding)|[lce])$/i;

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
 * One gateway. `uri`: a SIP URI; with a user it is the new request URI, without one the next hop. `timeout_ms`: for a final
 * reply, ringing included. `reroute_on`: the replies after which the next route is tried, as codes (503) or classes ('5xx').
 * `headers`: in place of the caller's of these names. `caller`: a number or a URI for From.
 * @typedef {{ uri: string, timeout_ms?: number, reroute_on?: (number | string)[], headers?: Record<string, string>,
 *   caller?: string }} Route
 */

/**
 * Try gateways until one takes the call.
 * @param {(string | Route)[]} listed from 1 to 10, the preferred one first
 * @param {Decision & { mode?: 'serial' | 'parallel', max_duration?: number }} [more] `mode`: one after the other (the
 *   default) or all at once; `max_duration`: seconds after which Kamailio ends the call. Others are passed on
 * @returns {Decision}
 * @throws {DecisionError} if one of these is wrong; the text names it
 */
export function routes(listed, more = {}) {
  if (!Array.isArray(listed) || listed.length < 1 || listed.length > MAX_ROUTES) {
    throw new DecisionError(`routes: a list of 1 to ${MAX_ROUTES} routes is needed`);
  }
  const { mode, max_duration: duration } = more;
  if (mode !== undefined && mode !== 'serial' && mode !== 'parallel') {
    throw new DecisionError(`routes: mode is ${shown(mode)}; write serial or parallel`);
  }
  if (duration !== undefined) checkedWhole(duration, MAX_DURATION);
  return { action: 'route', routes: listed.map(checkedRoute), ...more };
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
  if (more?.headers !== undefined) checkedHeaders(more.headers);
  if (typeof reason !== 'string' || UNPRINTABLE.test(reason) || reason.length > MAX_REASON) {
    throw new DecisionError(`${shown(reason)} is no reason phrase: a line of at most ${MAX_REASON} characters`);
  }
  return { action: 'reject', code: checkedCode(code, 400, 699), reason, ...more };
}

/**
 * Send the caller elsewhere; the first URI is preferred.
 * @param {string | string[]} uris
 * @param {number} [code] a SIP status from 300 to 399
 * @param {Decision} [more]
 * @returns {Decision}
 * @throws {DecisionError} if there is none, or one that is no SIP URI
 */
export function redirect(uris, code = 302, more) {
  const found = typeof uris === 'string' ? [uris] : uris;
  if (!found.length) throw new DecisionError('redirect: at least one URI is needed');
  return { action: 'redirect', uris: found.map(checkedUri), code: checkedCode(code, 300, 399), ...more };
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

/**
 * @param {unknown} one
 * @param {number} at
 */
function checkedRoute(one, at) {
  const found = typeof one === 'string' ? { uri: one } : one;
  try {
    if (typeof found !== 'object' || found === null || !('uri' in found)) {
      throw new DecisionError(`${shown(one)} is no URI, and no object that has one as uri`);
    }
    for (const [key, value] of Object.entries(found)) {
      const check = CHECKS[key];
      if (check === undefined) throw new DecisionError(`unknown key ${shown(key)}`);
      if (value !== undefined) check(value);
    }
  } catch (error) {
    if (error instanceof DecisionError) throw new DecisionError(`routes[${at}]: ${error.message}`);
    throw error;
  }
  return found;
}

/** @type {Record<string, (value: any) => void>} */
const CHECKS = {
  uri: (uri) => {
    if (!SIP_URI.test(checkedUri(uri))) {
      throw new DecisionError(`${shown(uri)} is no SIP URI that Kamailio can send a call to: tel has no host`);
    }
  },
  timeout_ms: (milliseconds) => checkedWhole(milliseconds, MAX_TIMEOUT),
  reroute_on: (entries) => {
    if (!Array.isArray(entries) || entries.length > MAX_REROUTE) {
      throw new DecisionError(`reroute_on is ${shown(entries)}: a list of at most ${MAX_REROUTE} is needed`);
    }
    for (const one of entries) {
      if (!['number', 'string'].includes(typeof one) || !REROUTE.test(String(one))) {
        throw new DecisionError(`reroute_on: ${shown(one)} is no code such as 503, and no class such as '5xx'`);
      }
    }
  },
  headers: checkedHeaders,
  caller: (caller) => {
    if (typeof caller !== 'string' || caller.length > MAX_CALLER || !CALLER.test(caller)) {
      throw new DecisionError(`${shown(caller)} is no caller: a number such as +442079460000, or a SIP URI`);
    }
  },
};

/**
 * @param {number} number
 * @param {number} most
 */
function checkedWhole(number, most) {
  if (!Number.isInteger(number) || number < 1 || number > most) {
    throw new DecisionError(`${shown(number)} is no whole number from 1 to ${most}`);
  }
}

/** @param {any} headers */
function checkedHeaders(headers) {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) {
    throw new DecisionError(`headers are ${shown(headers)}: an object of names and texts is needed`);
  }
  for (const [name, text] of Object.entries(headers)) {
    if (!HEADER.test(name) || NOT_SET.test(name)) {
      throw new DecisionError(`${shown(name)} is no header that a decision may set`);
    }
    if (typeof text !== 'string' || UNPRINTABLE.test(text)) {
      throw new DecisionError(`header ${name}: ${shown(text)} is no printable line`);
    }
  }
  if (Buffer.byteLength(JSON.stringify(headers)) > MAX_HEADERS) {
    throw new DecisionError(`headers: more than ${MAX_HEADERS} bytes`);
  }
}
