// Changes that wait for a second person.

import { askReason } from './dialogs.js';
import { h, show } from './dom.js';
import { moment, w } from './words.js';

const said = (value) => (value === null || value === undefined ? '—' : typeof value === 'string' ? value : JSON.stringify(value));

function change(approval, own, caller, again) {
  const act = (name, danger) => h('button', { type: 'button', class: danger ? 'danger' : 'primary', onclick: () =>
    askReason(`${w(name)}: ${approval.action} ${approval.subject}`, null, async (reason) => {
      const answer = await caller.act(`/v1/admin/approvals/${encodeURIComponent(approval.id)}/${name}`, { reason });
      again();
      return { audit_index: answer?.audit_index };
    }, { danger }) }, w(name));
  const pending = approval.state === 'pending';
  return h('article', { class: 'panel' },
    h('h3', {}, approval.action, ' ', h('code', {}, approval.subject), ' ', h('span', { class: 'tag' }, approval.state)),
    h('p', {}, approval.reason),
    h('p', { class: 'dim small' }, `${w('askedBy')} ${approval.asked_by} · ${w('askedAt')} ${moment(approval.asked_at)} · ${w('expires')} ${moment(approval.expires_at)}`),
    approval.decided_by && h('p', { class: 'dim small' }, `${approval.decided_by}: ${approval.decision ?? ''} ${approval.outcome ? `(${approval.outcome})` : ''}`),
    approval.difference.length > 0 && h('table', {}, h('thead', {}, h('tr', {}, ['field', 'before', 'after'].map((name) => h('th', { scope: 'col' }, w(name))))),
      h('tbody', {}, approval.difference.map((difference) => h('tr', {}, h('th', { scope: 'row' }, difference.field),
        h('td', {}, h('del', {}, said(difference.before))), h('td', {}, h('ins', {}, said(difference.after))))))),
    Object.keys(approval.context ?? {}).length > 0 && h('pre', { class: 'small' }, JSON.stringify(approval.context, null, 1)),
    pending && h('div', { class: 'row wrap' }, own ? [h('span', { class: 'dim' }, w('own')), act('withdraw', true)] : [act('approve'), act('reject', true)]));
}

/** The page. */
export function approvalsPage(place, { caller, session, every, alive }) {
  const list = h('div', {}, w('loading'));
  show(place, h('h1', {}, w('approvals')), list);
  let before = null;
  const again = every(5000, async () => {
    const { items } = await caller.get('/v1/admin/approvals');
    if (!alive()) return;
    // Drawn anew only when something changed, so that nobody loses the place while reading.
    const now = JSON.stringify(items);
    if (now === before) return;
    before = now;
    const [pending, decided] = [items.filter((item) => item.state === 'pending'), items.filter((item) => item.state !== 'pending')];
    const drawn = (item) => change(item, item.asked_by === `person:${session.name}`, caller, () => again());
    show(list, h('h2', {}, w('pending')), pending.length ? pending.map(drawn) : h('p', { class: 'dim' }, w('noPending')),
      decided.length > 0 && [h('h2', {}, w('decided')), decided.map(drawn)]);
  });
}
