'use strict';
const $ = (id) => document.getElementById(id);
const linesMax = 200, tripsMax = 100;
const own = Math.random().toString(36).slice(2); // tells own messages from those of other tabs
const trips = [];
let subscription = null, count = 0;

const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
const client = new Centrifuge(`${scheme}://${location.host}/connection/websocket`);

function show(state) {
  $('state').dataset.state = state;
  $('state').querySelector('b').textContent = state;
}

function fail(what) {
  $('error').hidden = !what;
  $('error').textContent = what || '';
}

function line(data, latency) {
  $('log').querySelector('.empty')?.remove();
  const li = document.createElement('li');
  const time = document.createElement('time'), code = document.createElement('code'), note = document.createElement('i');
  time.textContent = new Date().toLocaleTimeString();
  code.textContent = typeof data === 'object' && data !== null && 'text' in data ? String(data.text) : JSON.stringify(data);
  note.textContent = latency === undefined ? '' : `${latency.toFixed(1)} ms`;
  li.append(time, code, note);
  $('log').prepend(li);
  while ($('log').childElementCount > linesMax) $('log').lastElementChild.remove();
}

function trip(ms) {
  trips.push(ms);
  if (trips.length > tripsMax) trips.shift();
  const sorted = [...trips].sort((a, b) => a - b);
  $('last').textContent = `${ms.toFixed(1)} ms`;
  $('median').textContent = `${sorted[sorted.length >> 1].toFixed(1)} ms`;
  const top = sorted[sorted.length - 1] || 1;
  const step = 300 / Math.max(trips.length - 1, 1);
  $('spark').querySelector('polyline').setAttribute('points',
    trips.map((v, i) => `${(i * step).toFixed(1)},${(46 - 44 * v / top).toFixed(1)}`).join(' '));
}

function received(ctx) {
  $('count').textContent = String(++count);
  const mine = ctx.data && ctx.data.from === own;
  const latency = mine ? performance.now() - ctx.data.sent : undefined;
  if (mine) trip(latency);
  line(ctx.data, latency);
}

function subscribe(channel) {
  if (subscription) {
    subscription.unsubscribe();
    client.removeSubscription(subscription);
  }
  fail('');
  subscription = client.newSubscription(channel);
  subscription.on('publication', received);
  subscription.on('subscribed', () => line({ text: `subscribed to ${channel}` }));
  subscription.on('error', (ctx) => fail(`Subscribing to ${channel}: ${ctx.error.message}`));
  subscription.on('unsubscribed', (ctx) => { if (ctx.code !== 0) fail(`${channel}: ${ctx.reason} (${ctx.code})`); });
  subscription.subscribe();
  $('curl').textContent = `curl -H 'X-API-Key: dev' -d '${JSON.stringify({ channel, data: { text: 'hello from a shell' } })}' ${location.origin}/api/publish`;
}

$('subscribe').addEventListener('submit', (e) => { e.preventDefault(); subscribe($('channel').value); });
$('publish').addEventListener('submit', (e) => {
  e.preventDefault();
  subscription.publish({ text: $('text').value, from: own, sent: performance.now() })
    .then(() => { fail(''); $('text').value = ''; }, (err) => fail(`Publishing: ${err.message}`));
});

client.on('connecting', () => show('connecting'));
client.on('connected', () => { show('connected'); fail(''); });
client.on('disconnected', (ctx) => { show('disconnected'); fail(`Disconnected: ${ctx.reason} (${ctx.code})`); });
client.connect();
subscribe($('channel').value);
