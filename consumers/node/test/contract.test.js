import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { CodecError } from '../src/index.js';
import { decodeReply, decodeRequest, encodeReply, encodeRequest, handlesQueue, routingKey } from '../src/contract.js';

const REQUEST = {
  event: 'invite_request',
  node: 'sbc1',
  tmIndex: 37,
  tmLabel: 1840980198,
  seq: 2,
  deadline: 1_795_950_598_808,
  data: { user: '4420', list: [1, null, true] },
};
const NOTICE = { event: 'call_ended', node: 'sbc1', data: { call_id: 'a' } };

test('a request is read as it was written', () => {
  assert.deepEqual(decodeRequest(encodeRequest(REQUEST)), REQUEST);
  assert.deepEqual(decodeRequest(encodeRequest(NOTICE)), NOTICE);
});

test('what former services decided goes along, and is maps by name', () => {
  const decisions = { screening: { action: 'allow' }, fraud: {} };
  assert.deepEqual(decodeRequest(encodeRequest({ ...REQUEST, decisions })).decisions, decisions);
  assert.equal('decisions' in decodeRequest(encodeRequest(REQUEST)), false);
  for (const wrong of [null, 'allow', [{}], { fraud: 'allow' }, { fraud: [1] }]) {
    const json = Buffer.from(JSON.stringify({ event: 'e', node: 'n', decisions: wrong }));
    assert.throws(() => decodeRequest(json), CodecError, JSON.stringify(wrong));
  }
});

test('integers of 64 bits come as numbers', () => {
  const number = Buffer.alloc(9, 0xcf);
  number.writeBigUInt64BE(1_795_950_598_808n, 1);
  const head = [...encode('event'), ...encode('e'), ...encode('node'), ...encode('n'), ...encode('data')];
  const { data } = decodeRequest(Buffer.from([0x83, ...head, ...number]));
  assert.equal(data - 1, 1_795_950_598_807);
});

test('bytes come as bytes, in JSON by their base64', () => {
  const bytes = decodeRequest(encodeRequest({ ...NOTICE, data: Buffer.from('\xff', 'latin1') })).data;
  assert.deepEqual([...bytes], [0xff]);
  const json = Buffer.from(' {"event":"e","node":"n","data":{"base64":"/w=="}}');
  assert.deepEqual([...decodeRequest(json).data], [0xff]);
  const map = encodeRequest({ ...NOTICE, data: { base64: '/w==' } });
  assert.deepEqual(decodeRequest(map).data, { base64: '/w==' }, 'msgpack has bytes of its own');
});

test('keys and headers that are not known are ignored', () => {
  assert.deepEqual(decodeRequest(encode({ ...NOTICE, more: 1 })), NOTICE);
});

for (const [what, body, version] of /** @type {[string, Uint8Array, unknown?][]} */ ([
  ['a higher version', encodeRequest(NOTICE), 2],
  ['a version that is no number', encodeRequest(NOTICE), '1'],
  ['nothing', Buffer.alloc(0)],
  ['half a map', encodeRequest(NOTICE).subarray(0, 9)],
  ['a list', encode([1])],
  ['no JSON', Buffer.from('{"event"')],
  ['no event', encode({ node: 'n' })],
  ['an event of 256 characters', encode({ ...NOTICE, event: 'e'.repeat(256) })],
  ['some of the ids', encode({ ...NOTICE, tm_index: 1 })],
  ['ids that are text', encode({ ...NOTICE, tm_index: '1', tm_label: '1', seq: '1' })],
  ['a deadline that is text', encode({ ...NOTICE, deadline: 'soon' })],
  ['over 1 MiB', Buffer.alloc((1 << 20) + 1, ' ')],
])) {
  test(`no request: ${what}`, () => assert.throws(() => decodeRequest(body, version), CodecError));
}

test('a reply has no undefined and no records, whose first byte no reader knows', () => {
  const body = encodeReply({ action: 'route', uri: undefined, more: { left: undefined, list: [undefined] } });
  assert.equal(body.toString('hex'), Buffer.from(encode({ action: 'route', more: { list: [null] } })).toString('hex'));
  const many = Array.from({ length: 20 }, () => encodeReply({ action: 'route', uri: 'sip:a@b' }));
  assert.equal(new Set(many.map(String)).size, 1);
});

test('a reply in JSON is read, too', () => {
  assert.deepEqual(decodeReply(Buffer.from('{"action":"allow"}')), { action: 'allow' });
});

test('what msgpack has not cannot be replied', () => {
  for (const value of [1n, () => 1, Symbol('a')]) {
    assert.throws(() => encodeReply({ value }), CodecError);
  }
});

test('names are those of the contract', () => {
  assert.equal(routingKey('invite.request', 'sbc 1'), 'invite_request.sbc_1');
  assert.equal(handlesQueue('s', 'e'), 'evapi.handles.s.e');
  assert.match(handlesQueue('s', 'e'.repeat(250)), /^evapi\.handles\.s\.[0-9a-f]{64}$/);
});
