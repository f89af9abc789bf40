// The audit log: searched, and each entry with its proof.

import { showDialog, fault, tell } from './dialogs.js';
import { h, show } from './dom.js';
import { moment, w } from './words.js';

const FIELDS = ['actor', 'action', 'key', 'outcome', 'subject', 'request_id'];

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function proof(index, caller) {
  try {
    const answer = await caller.get(`/v1/audit/proofs/${index}`);
    showDialog(w('proofOf', index),
      h('p', {}, w('proofText', answer.checkpoint.size, answer.checkpoint.signer.name, moment(answer.checkpoint.at))),
      h('h3', {}, w('entry')), h('pre', {}, JSON.stringify(JSON.parse(answer.entry), null, 1)),
      h('h3', {}, w('root')), h('code', { class: 'long' }, answer.checkpoint.root),
      h('h3', {}, w('path')), h('ol', { class: 'small' }, answer.path.map((hash) => h('li', {}, h('code', { class: 'long' }, hash)))),
      h('button', { type: 'button', class: 'primary', onclick: () => download(`audit-${index}.json`, JSON.stringify(answer, null, 1)) }, w('download')));
  } catch (refusal) {
    tell(refusal.status === 404 || refusal.status === 409 ? w('notYet') : fault(refusal), 'bad');
  }
}

/** The page. */
export function auditPage(place, { caller, alive }) {
  const inputs = new Map(FIELDS.map((name) => [name, h('input', { id: `audit-${name}`, name, autocomplete: 'off' })]));
  const list = h('div', {}, w('loading'));
  const labels = { actor: w('actor'), action: w('action'), key: w('keys'), outcome: w('outcome'), subject: w('subject'), request_id: w('request', '') };
  let pages = [null];

  const read = async () => {
    const query = new URLSearchParams({ limit: '50' });
    for (const [name, input] of inputs) if (input.value.trim()) query.set(name, input.value.trim());
    const cursor = pages.at(-1);
    if (cursor !== null) query.set('cursor', cursor);
    try {
      const { items, next } = await caller.get(`/v1/audit/entries?${query}`);
      if (!alive()) return;
      show(list, items.length === 0 ? h('p', { class: 'dim' }, w('noEntries')) : h('div', { class: 'scroll', tabindex: 0 }, h('table', {},
        h('thead', {}, h('tr', {}, [w('index'), w('time'), w('actor'), w('action'), w('subject'), w('outcome'), w('proof')].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, items.map((entry) => h('tr', {}, h('th', { scope: 'row' }, entry.index), h('td', {}, moment(entry.at)), h('td', {}, entry.actor),
          h('td', {}, entry.action), h('td', {}, [entry.device, entry.key, entry.subject].filter(Boolean).join(' · ')),
          h('td', {}, h('span', { class: `tag ${entry.outcome === 'ok' ? 'good' : ''}` }, entry.outcome)),
          h('td', {}, h('button', { type: 'button', class: 'link', 'aria-label': w('proofOf', entry.index), onclick: () => proof(entry.index, caller) }, w('proof')))))))),
      h('div', { class: 'row' },
        h('button', { type: 'button', disabled: pages.length === 1, onclick: () => { pages.pop(); read(); } }, w('newer')),
        h('button', { type: 'button', disabled: next === null, onclick: () => { pages.push(next); read(); } }, w('older'))));
    } catch (refusal) {
      if (alive()) show(list, h('p', { class: 'bad', role: 'alert' }, fault(refusal)));
    }
  };
  show(place, h('h1', {}, w('audit')),
    h('form', { class: 'filter', onsubmit: (event) => { event.preventDefault(); pages = [null]; read(); } },
      FIELDS.map((name) => h('div', {}, h('label', { for: `audit-${name}` }, labels[name]), inputs.get(name))),
      h('button', { type: 'submit', class: 'primary' }, w('filter'))), list);
  read();
}
