// All devices at a glance, looked at every second.

import { sparkline } from './charts.js';
import { h, show } from './dom.js';
import { duration, w } from './words.js';

/** A device's state, by colour, mark and word. */
export const badge = (state) => h('span', { class: `state ${state}` }, w(`state_${state}`));

const KEPT = 60;

/** Signatures a second of each device, over the last minute, from counters that only rise. */
export class Rates {
  constructor() { this.of = new Map(); }

  take(devices, at) {
    for (const device of devices) {
      const before = this.of.get(device.id);
      const rates = before?.rates ?? [];
      if (before && at > before.at) {
        // A counter that fell belongs to a device that was started anew.
        rates.push((Math.max(0, device.signed - before.signed) * 1000) / (at - before.at));
      }
      this.of.set(device.id, { signed: device.signed, at, rates: rates.slice(-KEPT) });
    }
  }

  get(id) { return this.of.get(id)?.rates ?? []; }
}

function card(device, rates) {
  const values = rates.get(device.id);
  const now = (values.at(-1) ?? 0).toFixed(values.at(-1) >= 10 ? 0 : 1);
  return h('li', {}, h('a', { class: `card ${device.state}`, href: `#/devices/${encodeURIComponent(device.id)}` },
    h('span', { class: 'row spread' }, h('strong', {}, device.id), badge(device.state)),
    sparkline(values, w('lineRate', device.id, now)),
    h('dl', { class: 'figures' },
      h('div', {}, h('dt', {}, w('rate')), h('dd', {}, w('perSecond', now))),
      h('div', {}, h('dt', {}, w('latency')), h('dd', {}, device.signed ? duration(device.latency_us) : '—', device.slow && h('span', { class: 'tag bad' }, w('slow')))),
      h('div', {}, h('dt', {}, w('load')), h('dd', {}, `${device.load} (${w('queued')} ${device.queued})`)),
      h('div', {}, h('dt', {}, w('failures')), h('dd', {}, device.failed))),
    device.state !== 'ready' && device.last_error && h('span', { class: 'bad small' }, device.last_error)));
}

/** The page. */
export function fleetPage(place, { caller, every, alive }) {
  const rates = new Rates();
  const summary = h('p', { class: 'summary', role: 'status' }, w('loading'));
  const groups = h('div');
  show(place, h('h1', {}, w('fleet')), summary, groups);
  let said = '';
  every(1000, async () => {
    const { items } = await caller.get('/v1/devices');
    if (!alive()) return;
    rates.take(items, performance.now());
    const troubled = items.filter((device) => device.state !== 'ready').length;
    const news = troubled ? w('troubled', troubled) : w('allReady', items.length);
    if (news !== said) { show(summary, news); summary.className = `summary ${troubled ? 'bad' : 'good'}`; said = news; }
    const focused = document.activeElement?.closest?.('a.card')?.getAttribute('href');
    const names = [...new Set(items.map((device) => device.group))];
    show(groups, names.map((name) => {
      const members = items.filter((device) => device.group === name);
      const ready = members.filter((device) => device.state === 'ready').length;
      return h('section', { 'aria-label': w('group', name) },
        h('h2', {}, w('group', name), ' ', h('span', { class: 'dim' }, w('devicesReady', ready, members.length))),
        h('ul', { class: 'cards' }, members.map((device) => card(device, rates))));
    }));
    // Drawn anew each second: whoever goes by keyboard stays where they are.
    [...groups.querySelectorAll('a.card')].find((one) => one.getAttribute('href') === focused)?.focus({ preventScroll: true });
  });
}
