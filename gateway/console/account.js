// The own account: sessions, password, second factor.

import { fault, tell } from './dialogs.js';
import { h, show } from './dom.js';
import * as sessions from './sessions.js';
import { moment, w } from './words.js';

/** A form that does one thing, and says what is wrong beside it. */
function once(fields, button, work) {
  const wrong = h('p', { class: 'bad', role: 'alert' });
  const send = h('button', { type: 'submit', class: 'primary' }, button);
  return h('form', { class: 'stack', onsubmit: async (event) => {
    event.preventDefault();
    send.disabled = true;
    show(wrong);
    try { await work(); } catch (refusal) { show(wrong, refusal.code === undefined ? refusal.message : fault(refusal)); } finally { send.disabled = false; }
  } }, fields, wrong, send);
}

const field = (id, label, type, autocomplete) => {
  const input = h('input', { id, type, autocomplete, required: true, maxlength: 1024 });
  return { input, element: h('div', {}, h('label', { for: id }, label), input) };
};

function passwordForm(caller, changed) {
  const present = field('present', w('oldPassword'), 'password', 'current-password');
  const fresh = field('fresh', w('newPassword'), 'password', 'new-password');
  const repeated = field('repeated', w('repeat'), 'password', 'new-password');
  return once([present.element, fresh.element, repeated.element], w('changePassword'), async () => {
    if (fresh.input.value !== repeated.input.value) throw new Error(w('differ'));
    await caller.post('/v1/account/password', { present: present.input.value, new: fresh.input.value });
    for (const { input } of [present, fresh, repeated]) input.value = '';
    tell(w('changed'));
    await changed();
  });
}

function factorForm(caller, session, changed) {
  const place = h('div');
  const begin = h('button', { type: 'button', class: 'primary', onclick: async () => {
    try {
      const { secret } = await caller.post('/v1/account/second-factor', {});
      const code = field('factor-code', w('confirmCode'), 'text', 'one-time-code');
      show(place, h('p', {}, w('enrolText')), h('p', {}, w('secret'), ' ', h('code', { class: 'long' }, secret)),
        once([code.element], w('confirm'), async () => {
          const answer = await caller.post('/v1/account/second-factor:confirm', { code: code.input.value.trim() });
          sessions.update(session, { token: answer.token, expiresAt: answer.expires_at, due: answer.due });
          show(place, h('p', {}, w('recoveryShown')), h('ul', { class: 'tags' }, answer.recovery_codes.map((one) => h('li', {}, h('code', {}, one)))),
            h('button', { type: 'button', class: 'primary', onclick: changed }, w('next')));
        }));
      code.input.focus();
    } catch (refusal) { tell(fault(refusal), 'bad'); }
  } }, w('enrol'));
  show(place, begin);
  return place;
}

/** What has to be done before anything else; `changed()` when it is. */
export function duePage(place, { caller, session }, changed) {
  const factor = session.due === 'second_factor';
  show(place, h('h1', {}, factor ? w('enrol') : w('changePassword')), h('p', { role: 'alert' }, w(factor ? 'dueFactor' : 'duePassword')),
    factor ? factorForm(caller, session, changed) : passwordForm(caller, changed));
}

/** The page. */
export function accountPage(place, { caller, session, alive, reload }) {
  const list = h('div', {}, w('loading'));
  const read = async () => {
    const { items } = await caller.get('/v1/account/sessions');
    if (!alive()) return;
    show(list, h('table', {}, h('thead', {}, h('tr', {}, [w('address'), w('began'), w('used'), w('expires'), ''].map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, items.map((item) => h('tr', {}, h('th', { scope: 'row' }, item.label), h('td', {}, moment(item.created_at)), h('td', {}, moment(item.used_at)),
        h('td', {}, moment(item.expires_at)), h('td', {}, item.current ? h('span', { class: 'tag good' }, w('thisOne'))
          : h('button', { type: 'button', onclick: async () => {
            try { await caller.act(`/v1/account/sessions/${encodeURIComponent(item.id)}/end`); } catch (refusal) { tell(fault(refusal), 'bad'); }
            read();
          } }, w('end'))))))),
    items.length > 1 && h('button', { type: 'button', onclick: async () => {
      try { await caller.act('/v1/account/sessions:end-others'); } catch (refusal) { tell(fault(refusal), 'bad'); }
      read();
    } }, w('endOthers')));
  };
  show(place, h('h1', {}, w('me')),
    h('dl', { class: 'facts' }, [[w('account'), session.name], [w('name'), session.displayName], [w('roles'), session.roles.map((role) => w(`role_${role}`)).join('、')]]
      .map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    session.password && h('p', { class: session.password.remind ? 'bad' : 'dim' }, w('passwordLeft', session.password.days_left)),
    h('h2', {}, w('sessions')), list, h('h2', {}, w('changePassword')), passwordForm(caller, reload));
  read().catch((refusal) => { if (alive()) show(list, h('p', { class: 'bad' }, fault(refusal))); });
}
