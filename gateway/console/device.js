// One device in depth, and what can be done to it.

import { latencyMap, sparkline } from './charts.js';
import { askReason, fault, showDialog, tell } from './dialogs.js';
import { h, show } from './dom.js';
import { Rates, badge } from './fleet.js';
import { clock, duration, moment, span, w } from './words.js';

const ACTS = ['drain', 'maintain', 'resume', 'release', 'self-test', 'restart'];
const DANGEROUS = new Set(['drain', 'maintain', 'restart', 'release']);
/** What makes sense in which state; whatever else is asked for, the gateway refuses. */
const FITS = {
  drain: ['ready', 'degraded'], maintain: ['ready', 'degraded', 'draining', 'down', 'quarantined'], resume: ['draining', 'maintenance'],
  release: ['quarantined'], 'self-test': ['ready', 'degraded', 'draining', 'maintenance', 'quarantined'],
  restart: ['ready', 'degraded', 'draining', 'down', 'maintenance', 'quarantined'],
};

const facts = (entries) => h('dl', { class: 'facts' }, entries.filter(([, value]) => value !== null && value !== undefined)
  .map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));

function selfTest(result) {
  return h('table', {}, h('tbody', {}, result.checks.map((check) =>
    h('tr', {}, h('th', { scope: 'row' }, check.name),
      h('td', {}, h('span', { class: `tag ${check.outcome === 'passed' ? 'good' : check.outcome === 'failed' ? 'bad' : ''}` },
        check.outcome === 'passed' ? w('passed') : check.outcome === 'failed' ? w('notPassed') : check.outcome)),
      h('td', { class: 'small' }, check.detail)))));
}

function acts(id, caller, can, again) {
  const buttons = new Map(ACTS.map((act) => [act, h('button', { type: 'button', class: DANGEROUS.has(act) ? '' : 'primary', onclick: () =>
    askReason(w('actOn', id, w(`act_${act}`)), null, async (reason) => {
      const answer = await caller.act(`/v1/devices/${encodeURIComponent(id)}/${act}`, { reason });
      if (act === 'self-test') showDialog(w('actOn', id, w('act_self-test')), selfTest(answer.self_test));
      again();
      return { audit_index: answer.audit_index };
    }, { danger: DANGEROUS.has(act) }) }, w(`act_${act}`))]));
  return {
    element: can && h('div', { class: 'row wrap', role: 'group', 'aria-label': w('action') }, ...buttons.values()),
    fit: (state) => buttons.forEach((button, act) => { button.disabled = !FITS[act].includes(state); }),
  };
}

/** Faults of a simulated device, which only a sandbox has. */
function faults(id, caller, again) {
  const set = (body) => async () => {
    try { tell(w('done', (await caller.put(`/v1/devices/${encodeURIComponent(id)}/fault`, body)).audit_index ?? '—')); } catch (refusal) {
      tell(fault(refusal), 'bad');
    }
    again();
  };
  return h('div', { class: 'row wrap' },
    h('button', { type: 'button', onclick: set({ unreachable: true }) }, w('faultOn')),
    h('button', { type: 'button', onclick: set({ latency_ms: 500 }) }, w('faultSlow')),
    h('button', { type: 'button', onclick: set({}) }, w('faultOff')));
}

/** The page of the device `id`. */
export function devicePage(place, { caller, can, every, alive }, id) {
  const path = `/v1/devices/${encodeURIComponent(id)}`;
  const rates = new Rates();
  const head = h('div', { class: 'row spread' });
  const now = h('div');
  const past = h('figure');
  let tick = async () => {};
  const doing = acts(id, caller, can('maintenance'), () => tick());
  let faultControl = null;
  show(place, h('p', {}, h('a', { href: '#/fleet' }, `← ${w('back')}`)), head, doing.element, now,
    h('h2', {}, w('latencyOver')), past);
  tick = every(1000, async () => {
    const device = await caller.get(path);
    if (!alive()) return;
    rates.take([device], performance.now());
    const values = rates.get(id);
    doing.fit(device.state);
    show(head, h('h1', {}, device.id, ' ', badge(device.state)), sparkline(values, w('lineRate', id, (values.at(-1) ?? 0).toFixed(1)), { width: 240, height: 36 }));
    if (!faultControl && can('maintenance') && device.token?.manufacturer === 'hsm-sim') faultControl = faults(id, caller, () => tick());
    show(now,
      h('div', { class: 'columns' },
        h('section', {}, h('h2', {}, w('state')), facts([
          [w('group', ''), device.group], [w('load'), `${device.load} (${w('queued')} ${device.queued})`],
          [w('lanes'), `${device.lanes} / ${device.configured.lanes}`], [w('starts'), device.worker_starts], [w('crashes'), device.crashes],
          [w('worker'), device.worker_pid || w('none')], [w('lastError'), device.last_error ?? w('none')],
          [w('selfTest'), device.self_test ? `${device.self_test.passed ? w('passed') : w('notPassed')}, ${moment(new Date(device.self_test.at * 1000).toISOString())}` : w('never')],
        ])),
        h('section', {}, h('h2', {}, w('module')), facts([
          [w('manufacturer'), device.token?.manufacturer], [w('model'), device.token?.model], [w('serial'), device.token?.serial ?? device.configured.serial],
          [w('firmware'), device.token?.firmware], [w('module'), device.configured.module],
        ]), h('h3', {}, w('keys')), h('ul', { class: 'tags' }, device.keys.map((key) =>
          h('li', { class: `tag ${key.state === 'held' ? 'good' : 'bad'}` }, key.id, key.state === 'held' ? '' : `: ${key.state}`))))),
      h('h2', {}, w('latency')),
      h('table', {}, h('thead', {}, h('tr', {}, [w('time'), w('count'), w('p50'), w('p90'), w('p99'), w('max'), w('errors')].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, ['minute', 'hour', 'day'].map((name) => {
          const { count, p50_us, p90_us, p99_us, max_us } = device.latency[name];
          return h('tr', {}, h('th', { scope: 'row' }, w(name)), h('td', {}, count), [p50_us, p90_us, p99_us, max_us].map((us) => h('td', {}, count ? duration(us) : '—')),
            h('td', {}, device.errors[name].map((error) => `${error.code} × ${error.count}`).join(', ') || '—'));
        }))),
      h('h2', {}, w('changes')),
      h('ol', { class: 'changes' }, device.states.changes.slice(-8).reverse().map((change) =>
        h('li', {}, badge(change.from), ' → ', badge(change.to), ' ', h('span', { class: 'dim' }, w('ago', span(change.seconds_ago)))))),
      faultControl && [h('h2', {}, w('fault')), faultControl, device.fault && h('pre', {}, device.fault)]);
  });
  every(60000, async () => {
    const { items } = await caller.get(`${path}/history?step=900`);
    if (!alive()) return;
    const to = Date.now();
    const spans = items.filter((item) => item.signed > 0);
    show(past, spans.length
      ? latencyMap(spans, { from: to - 86400000, to, label: w('latencyLabel'), clock }) : h('p', { class: 'dim' }, w('noHistory')),
    h('figcaption', { class: 'legend' }, ['p50', 'p90', 'p99', 'max'].map((kind) => h('span', { class: kind }, w(kind)))));
  });
}
