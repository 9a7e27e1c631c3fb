// What the stock JavaScript client lives through on one server. The test starts this
// file with the addresses in the environment and compares what it prints: one JSON line
// for every event, {"who", "event", …}.
import { createHmac } from 'node:crypto';
import WebSocket from 'ws';
import { Centrifuge as JSONCentrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';

const { COMPAT_WS, COMPAT_API, COMPAT_KEY, COMPAT_SECRET, COMPAT_ENCODING } = process.env;
const protobuf = COMPAT_ENCODING === 'protobuf';
const Centrifuge = protobuf ? ProtobufCentrifuge : JSONCentrifuge;

// Payloads are bytes for a Protobuf client.
const encode = (value) => (protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
const decode = (data) => {
  if (data === undefined || data === null) return null;
  if (!protobuf) return data;
  const text = new TextDecoder().decode(data);
  return text === '' ? null : JSON.parse(text);
};

// Times in claims are seconds from now.
function token(claims) {
  const now = Math.floor(Date.now() / 1000);
  const absolute = { ...claims };
  for (const key of ['exp', 'expire_at']) if (absolute[key]) absolute[key] += now;
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(absolute)}`;
  return `${body}.${createHmac('sha256', COMPAT_SECRET).update(body).digest('base64url')}`;
}

async function api(method, body) {
  const res = await fetch(`${COMPAT_API}/api/${method}`, {
    method: 'POST', headers: { 'X-API-Key': COMPAT_KEY }, body: JSON.stringify(body),
  });
  const answer = await res.json();
  if (answer.error) throw new Error(`api ${method}: ${JSON.stringify(answer)}`);
}

const names = new Map(); // client ids, and what they are called
const events = new Map(); // by whom
const waiting = new Set();

function named(value) {
  let text = JSON.stringify(value);
  for (const [id, name] of names) text = text.replaceAll(id, name);
  return text;
}

function note(who, event, more = {}) {
  const text = named({ who, event, ...more });
  console.log(text);
  if (!events.has(who)) events.set(who, { list: [], seen: 0 });
  events.get(who).list.push(text);
  for (const check of [...waiting]) check();
}

// wait waits for the next event of who that has all the texts in it.
function wait(who, ...texts) {
  return new Promise((resolve, reject) => {
    const timeout = setTimeout(() => reject(new Error(`${who}: no event with ${texts}; all: ${JSON.stringify([...events])}`)), 15000);
    const check = () => {
      const e = events.get(who);
      const i = e ? e.list.findIndex((text, at) => at >= e.seen && texts.every((t) => text.includes(t))) : -1;
      if (i < 0) return;
      e.seen = i + 1;
      waiting.delete(check);
      clearTimeout(timeout);
      resolve();
    };
    waiting.add(check);
    check();
  });
}

const info = (i) => (i ? { client: i.client, user: i.user, conn: decode(i.connInfo), chan: decode(i.chanInfo) } : null);
const publication = (p) => ({ data: decode(p.data), offset: p.offset, tags: p.tags, info: info(p.info) });
const subscribed = (c) => ({
  wasRecovering: c.wasRecovering, recovered: c.recovered, recoverable: c.recoverable, positioned: c.positioned,
  offset: c.streamPosition && c.streamPosition.offset, publications: c.hasRecoveredPublications, data: decode(c.data),
});

function client(name, options) {
  const c = new Centrifuge(COMPAT_WS, { websocket: WebSocket, minReconnectDelay: 300, maxReconnectDelay: 600, ...options });
  c.on('connecting', (e) => note(name, 'connecting', { code: e.code, reason: e.reason }));
  c.on('connected', (e) => {
    names.set(e.client, `<${name}>`);
    note(name, 'connected', { client: e.client, data: decode(e.data) });
  });
  c.on('disconnected', (e) => note(name, 'disconnected', { code: e.code, reason: e.reason }));
  c.on('error', (e) => note(name, 'error', { type: e.type, code: e.error.code }));
  c.on('message', (e) => note(name, 'message', { data: decode(e.data) }));
  c.on('subscribing', (e) => note(`${name} ${e.channel}`, 'subscribing'));
  c.on('subscribed', (e) => note(`${name} ${e.channel}`, 'subscribed', subscribed(e)));
  c.on('unsubscribed', (e) => note(`${name} ${e.channel}`, 'unsubscribed'));
  c.on('publication', (e) => note(`${name} ${e.channel}`, 'publication', publication(e)));
  c.on('join', (e) => note(`${name} ${e.channel}`, 'join', info(e.info)));
  c.on('leave', (e) => note(`${name} ${e.channel}`, 'leave', info(e.info)));
  return c;
}

async function connect(name, options) {
  const c = client(name, options);
  c.connect();
  await wait(name, '"connected"');
  return c;
}

function subscription(name, c, channel, options) {
  const who = `${name} ${channel}`;
  const sub = c.newSubscription(channel, { minResubscribeDelay: 100, maxResubscribeDelay: 200, ...options });
  sub.on('subscribing', (e) => note(who, 'subscribing', { code: e.code, reason: e.reason }));
  sub.on('subscribed', (e) => note(who, 'subscribed', subscribed(e)));
  sub.on('unsubscribed', (e) => note(who, 'unsubscribed', { code: e.code, reason: e.reason }));
  sub.on('error', (e) => note(who, 'error', { type: e.type, code: e.error.code, message: e.error.message }));
  sub.on('publication', (e) => note(who, 'publication', publication(e)));
  sub.on('join', (e) => note(who, 'join', info(e.info)));
  sub.on('leave', (e) => note(who, 'leave', info(e.info)));
  return sub;
}

async function subscribe(name, c, channel, options) {
  const sub = subscription(name, c, channel, options);
  sub.subscribe();
  await wait(`${name} ${channel}`, '"subscribed"');
  return sub;
}

const caught = async (who, what, promise) => {
  try {
    await promise;
    note(who, `${what} succeeded`);
  } catch (e) {
    note(who, `${what} failed`, { code: e.code, message: e.message, temporary: e.temporary });
  }
};

const publish = (channel, n, more = {}) => api('publish', { channel, data: { text: 'some of this stays as it is', n }, ...more });

async function commands() {
  const a = await connect('a', { token: token({ sub: '42', info: { name: 'Ada' } }), name: 'js' });
  const b = await connect('b', {});
  const sub = await subscribe('a', a, 'open:x', { data: encode({ hello: 1 }) });
  await subscribe('b', b, 'open:x', {});
  for (let n = 0; n < 3; n++) {
    await sub.publish(encode({ n }));
    await wait('a open:x', '"publication"');
    await wait('b open:x', '"publication"');
  }
  await publish('open:x', 3, { tags: { k: 'v' } });
  await wait('a open:x', '"publication"');
  const all = await sub.history({ limit: -1 });
  note('a history', 'all', { offset: all.offset, publications: all.publications.map(publication) });
  const since = await a.history('open:x', { limit: 10, since: { offset: 2, epoch: all.epoch } });
  note('a history', 'since', { offset: since.offset, publications: since.publications.map(publication) });
  const reverse = await sub.history({ limit: 2, reverse: true });
  note('a history', 'reverse', { offset: reverse.offset, publications: reverse.publications.map(publication) });
  await caught('a history', 'unrecoverable', a.history('open:x', { limit: 10, since: { offset: 2, epoch: 'none' } }));
  const presence = await sub.presence();
  for (const i of Object.values(presence.clients)) note(`a presence of ${i.user}`, 'there', info(i));
  const stats = await b.presenceStats('open:x');
  note('b stats', 'stats', { clients: stats.numClients, users: stats.numUsers });
  note('a rpc', 'answer', { data: decode((await a.rpc('m', encode({ a: 1 }))).data) });
  await caught('a rpc', 'fail', a.rpc('fail', encode({})));
  await caught('a', 'publish elsewhere', a.publish('closed:x', encode({})));
  await caught('a', 'presence elsewhere', a.presence('nosuch:x'));
  for (const channel of ['closed:x', 'nosuch:x', '$open:x']) {
    subscription('a', a, channel, {}).subscribe();
    await wait(`a ${channel}`, '"unsubscribed"');
  }
  sub.unsubscribe();
  await wait('a open:x', '"unsubscribed"');
  a.disconnect();
  await wait('a', '"disconnected"');
  b.disconnect();
}

// away lets the server end the connection, and publishes before it is back.
async function away(name, user, channel, ...numbers) {
  await api('disconnect', { user, disconnect: { code: 3011, reason: 'force reconnect' } });
  await wait(name, '"connecting"');
  for (const n of numbers) await publish(channel, n);
  await wait(name, '"connected"');
}

async function recovery() {
  const c = await connect('r', { token: token({ sub: 'rec' }) });
  await subscribe('r', c, 'forced:r', {});
  await publish('forced:r', 1);
  await wait('r forced:r', '"publication"');
  await away('r', 'rec', 'forced:r', 2, 3);
  await wait('r forced:r', '"n":3');
  await away('r', 'rec', 'forced:r');
  await wait('r forced:r', '"subscribed"');
  await away('r', 'rec', 'forced:r', 4, 5, 6, 7, 8, 9, 10);
  await wait('r forced:r', '"subscribed"');
  await publish('forced:r', 11);
  await wait('r forced:r', '"n":11');
  const asked = await subscribe('r', c, 'asked:r', { positioned: true, recoverable: true });
  await away('r', 'rec', 'asked:r', 1);
  await wait('r asked:r', '"n":1');
  await api('unsubscribe', { user: 'rec', channel: 'asked:r' });
  await wait('r asked:r', '"unsubscribed"', '2000');
  asked.subscribe();
  await wait('r asked:r', '"subscribed"');
  await api('disconnect', { user: 'rec' });
  await wait('r', '"disconnected"', '3503');
}

async function tokens() {
  let n = 0;
  const c = await connect('t', { // error 109 first, then a short token, then a long one
    token: token({ sub: 'tok', exp: -5 }),
    getToken: async () => {
      n++;
      note('t token', 'asked', { n });
      return token({ sub: 'tok', exp: n === 1 ? 2 : 600 });
    },
  });
  let m = 0;
  await subscribe('t', c, '$closed:t', {
    getToken: async (ctx) => {
      m++;
      note('t subtoken', 'asked', { m, channel: ctx.channel });
      return token({ sub: 'tok', channel: '$closed:t', exp: m === 1 ? 2 : 600, info: { m } });
    },
  });
  await wait('t token', '"n":2');
  await wait('t subtoken', '"m":2');
  await new Promise((done) => setTimeout(done, 50)); // the tokens are sent when those who gave them are done,
  await c.presenceStats('nosuch:x').catch(() => {}); // and answered before this
  const wrong = await connect('w', { token: token({ sub: 'w' }) });
  subscription('w', wrong, 'open:x', { token: token({ sub: 'w', channel: 'open:y' }) }).subscribe();
  await wait('w', '"disconnected"', '3500');
  client('v', { token: 'nonsense' }).connect();
  await wait('v', '"disconnected"', '3500');
  c.disconnect();
}

async function insufficient() {
  const c = await connect('i', {});
  await subscribe('i', c, 'brief:i', {});
  await publish('brief:i', 1);
  await wait('i brief:i', '"publication"');
  client('clock', { token: token({ sub: 'clock', exp: 3 }) }).connect(); // no getToken: ended soon after
  await wait('clock', '"disconnected"');
  await publish('brief:i', 2);
  await wait('i brief:i', '"subscribing"', '2500');
  await wait('i brief:i', '"subscribed"');
  await publish('brief:i', 3);
  await wait('i brief:i', '"n":3');
  c.disconnect();
}

async function deltas() {
  const c = await connect('d', { token: token({ sub: 'del' }) });
  for (const channel of ['fossil:d', 'fossilrec:d', 'fossilcache:d']) {
    await subscribe('d', c, channel, { delta: 'fossil' });
    for (let n = 1; n <= 3; n++) {
      await publish(channel, n);
      await wait(`d ${channel}`, `"n":${n}`);
    }
    await away('d', 'del', channel, 4, 5);
    await wait(`d ${channel}`, '"subscribed"');
    await publish(channel, 6);
    await publish(channel, 7);
    await wait(`d ${channel}`, '"n":7');
    c.getSubscription(channel).unsubscribe();
    await wait(`d ${channel}`, '"unsubscribed"');
  }
  c.disconnect();
}

async function filters() {
  const c = await connect('f', { token: token({ sub: 'fil' }) });
  const sub = await subscribe('f', c, 'tagged:f', { tagsFilter: { key: 't', cmp: 'eq', val: 'a' } });
  for (const [n, t] of [[1, 'a'], [2, 'b'], [3, 'a']]) await publish('tagged:f', n, { tags: { t } });
  await wait('f tagged:f', '"n":3');
  await away('f', 'fil', 'tagged:f', 4);
  await wait('f tagged:f', '"subscribed"');
  await publish('tagged:f', 5, { tags: { t: 'a' } });
  await wait('f tagged:f', '"n":5');
  sub.setTagsFilter({ key: 't', cmp: 'neq', val: 'a' });
  c.disconnect();
}

async function serverSide() {
  const c = await connect('s', { token: token({ sub: 'srv', subs: { 'forced:s': { data: { hello: 1 }, info: { role: 'host' } } } }) });
  await wait('s forced:s', '"subscribed"');
  await publish('forced:s', 1);
  await wait('s forced:s', '"n":1');
  await away('s', 'srv', 'forced:s', 2, 3);
  await wait('s forced:s', '"n":3');
  await api('subscribe', { user: 'srv', channel: 'open:s', data: { hi: 1 } });
  await wait('s open:s', '"subscribed"');
  await publish('open:s', 1);
  await wait('s open:s', '"n":1');
  await api('unsubscribe', { user: 'srv', channel: 'open:s' });
  await wait('s open:s', '"unsubscribed"');
  c.disconnect();
}

async function joins() {
  const a = await connect('j', {});
  await subscribe('j', a, 'joined:j', {});
  await wait('j joined:j', '"join"');
  const b = await connect('k', { token: token({ sub: 'k', info: { name: 'Ada' } }) });
  const sub = await subscribe('k', b, 'joined:j', {});
  await wait('j joined:j', '"join"');
  await wait('k joined:j', '"join"');
  sub.unsubscribe();
  await wait('j joined:j', '"leave"');
  await subscribe('k', b, 'joinask:k', { joinLeave: true });
  await wait('k joinask:k', '"join"');
  b.disconnect();
  a.disconnect();
}

await Promise.all([commands(), recovery(), tokens(), insufficient(), deltas(), filters(), serverSide(), joins()]);
process.exit(0);
