// Apps: who may call, and what ends that.

import { askReason } from './dialogs.js';
import { h, show } from './dom.js';
import { moment, w } from './words.js';

function app(entry, caller, again) {
  const path = `/v1/admin/apps/${encodeURIComponent(entry.id)}`;
  const act = (name, { danger = false, text = null, at = `${path}/${name}` } = {}) => h('button', { type: 'button', class: danger ? 'danger' : '', onclick: () =>
    askReason(`${w(name)}: ${entry.id}`, text, async (reason) => { const answer = await caller.act(at, { reason }); again(); return answer; }, { danger }) }, w(name));
  return h('details', { class: 'panel' },
    h('summary', {}, h('strong', {}, entry.name), ' ', h('code', {}, entry.id), ' ',
      h('span', { class: `tag ${entry.state === 'enabled' ? 'good' : 'bad'}` }, w(`appState_${entry.state}`))),
    entry.state_reason && h('p', { class: 'dim' }, entry.state_reason),
    h('h3', {}, w('scopes')), h('ul', { class: 'tags' }, entry.scopes.map((scope) => h('li', { class: 'tag' }, scope))),
    entry.keys.length > 0 && [h('h3', {}, w('keys')), h('ul', { class: 'tags' }, entry.keys.map((key) => h('li', { class: 'tag' }, key)))],
    h('h3', {}, w('credentials')),
    h('table', {}, h('thead', {}, h('tr', {}, [w('name'), w('kind'), w('until'), w('state'), ''].map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, entry.credentials.map((credential) => h('tr', {}, h('th', { scope: 'row' }, credential.label || credential.id), h('td', {}, credential.kind),
        h('td', {}, moment(credential.not_after)), h('td', {}, credential.in_force ? h('span', { class: 'tag good' }, w('inForce')) : credential.revoked_reason ?? w('no')),
        h('td', {}, credential.in_force && act('revoke', { danger: true, at: `${path}/credentials/${encodeURIComponent(credential.id)}/revoke` })))))),
    h('div', { class: 'row wrap' }, entry.state === 'enabled' ? act('disable', { danger: true }) : act('enable'),
      entry.state !== 'locked' && act('lock', { danger: true }), act('freeze', { danger: true, text: w('freezeText') })));
}

/** The page. */
export function appsPage(place, { caller, every, alive }) {
  const list = h('div', {}, w('loading'));
  show(place, h('h1', {}, w('apps')), list);
  let before = null;
  const again = every(5000, async () => {
    const { items } = await caller.get('/v1/admin/apps');
    if (!alive()) return;
    const now = JSON.stringify(items);
    if (now === before) return;
    before = now;
    const open = new Set([...list.querySelectorAll('details[open] code')].map((code) => code.textContent));
    show(list, items.map((entry) => app(entry, caller, () => again())));
    for (const details of list.querySelectorAll('details')) details.open = open.has(details.querySelector('code').textContent);
  });
}
