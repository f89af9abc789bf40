// A license looked up by its code or by its name.

import { fault } from './dialogs.js';
import { h, show } from './dom.js';
import { moment, w } from './words.js';

const plain = (value) => (value && typeof value === 'object' ? value.text ?? JSON.stringify(value) : value);

function license(item) {
  const face = item.face ?? {};
  const rows = [[w('uscc'), item.uscc], [w('representative'), face.legal_representative], [w('authority'), face.registration_authority],
    [w('established'), plain(face.established)], [w('status'), item.status?.text], [w('flags'), (item.status?.flags ?? []).map(plain).join(', ')],
    [w('asOf'), item.status ? moment(item.status.as_of) : null]];
  return h('article', { class: 'panel' }, h('h2', {}, face.name ?? item.uscc),
    h('dl', { class: 'facts' }, rows.filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))));
}

/** The page. */
export function licensesPage(place, { caller, alive }) {
  const text = h('input', { id: 'find', required: true, minlength: 2, autocomplete: 'off' });
  const list = h('div', { 'aria-live': 'polite' });
  const find = async (event) => {
    event.preventDefault();
    const wanted = text.value.trim();
    try {
      let items;
      if (/^[0-9A-HJ-NP-RTUWXY]{18}$/.test(wanted.toUpperCase())) {
        const path = `/v1/licenses/${encodeURIComponent(wanted.toUpperCase())}`;
        const [face, status] = [await caller.get(`${path}/face`), await caller.get(`${path}/status`)];
        items = [{ uscc: status.uscc, face: face.face ?? face, status }];
      } else {
        ({ items } = await caller.get(`/v1/licenses?${new URLSearchParams({ name: wanted })}`));
      }
      if (alive()) show(list, items.length ? items.map(license) : h('p', { class: 'dim' }, w('noLicenses')));
    } catch (refusal) {
      if (alive()) show(list, h('p', { class: 'bad', role: 'alert' }, refusal.status === 404 ? w('noLicenses') : fault(refusal)));
    }
  };
  show(place, h('h1', {}, w('licenses')), h('form', { class: 'filter', onsubmit: find },
    h('div', {}, h('label', { for: 'find' }, `${w('uscc')} / ${w('entity')}`), text), h('button', { type: 'submit', class: 'primary' }, w('find'))), list);
  text.focus();
}
