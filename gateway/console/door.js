// The door: who is saved, who is signed in, password and second factor.

import { Caller, secondStep, signIn } from './api.js';
import { h, show } from './dom.js';
import * as sessions from './sessions.js';
import { w } from './words.js';

/** Why somebody was not let in. */
function why(refusal) {
  if (refusal.code === 'sign_in_refused') return w('refused');
  if (refusal.status === 429) return w('paused', w('later'));
  if (refusal.status === 0) return w('unreachable');
  return refusal.errors.map((error) => error.detail).join('; ') || refusal.message;
}

/** The sign-in page. `entered(session)` goes on with whoever is in. */
export function door(place, news, entered, switchLanguage) {
  const wrong = h('p', { class: 'bad', role: 'alert' }, news);
  const account = h('input', { id: 'account', name: 'username', autocomplete: 'username', autocapitalize: 'none',
    spellcheck: 'false', required: true });
  const password = h('input', { id: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const remember = h('input', { id: 'remember', type: 'checkbox', checked: true });
  const send = h('button', { type: 'submit', class: 'primary wide' }, w('next'));
  let pending = null;

  const enter = async (answer) => {
    const own = await new Caller(answer.token).get('/v1/account');
    sessions.remember(own.name, own.display_name, remember.checked);
    entered(sessions.add(answer, own));
  };
  const attempt = async (button, work) => {
    button.disabled = true;
    show(wrong);
    try { await work(); } catch (refusal) { show(wrong, why(refusal)); } finally { button.disabled = false; }
  };

  const second = () => {
    let byRecovery = false;
    const code = h('input', { id: 'code', inputmode: 'numeric', autocomplete: 'one-time-code', required: true, maxlength: 64 });
    const label = h('label', { for: 'code' }, w('code'));
    const go = h('button', { type: 'submit', class: 'primary wide' }, w('signIn'));
    const other = h('button', { type: 'button', class: 'link', onclick: () => {
      byRecovery = !byRecovery;
      show(label, byRecovery ? w('recoveryCode') : w('code'));
      show(other, byRecovery ? w('code') : w('recovery'));
      code.setAttribute('inputmode', byRecovery ? 'text' : 'numeric');
      code.focus();
    } }, w('recovery'));
    show(form, label, code, wrong, go, other,
      h('button', { type: 'button', class: 'link', onclick: () => door(place, '', entered, switchLanguage) }, w('cancel')));
    form.onsubmit = (event) => {
      event.preventDefault();
      const shown = code.value.replace(/\s/g, '');
      attempt(go, async () => {
        try { await enter(await secondStep(pending, byRecovery ? { recovery_code: shown } : { code: shown })); } catch (refusal) {
          code.value = '';
          code.focus();
          throw refusal;
        }
      });
    };
    code.focus();
  };

  const form = h('form', {}, h('label', { for: 'account' }, w('account')), account,
    h('label', { for: 'password' }, w('password')), password,
    h('label', { class: 'check' }, remember, w('remember')), wrong, send);
  form.onsubmit = (event) => {
    event.preventDefault();
    attempt(send, async () => {
      const answer = await signIn(account.value.trim(), password.value);
      password.value = '';
      if (answer.state === 'second_factor_awaited') {
        pending = answer.pending_token;
        second();
      } else {
        await enter(answer);
      }
    });
  };

  const inside = sessions.all();
  const saved = [...inside, ...sessions.remembered().filter((entry) => !inside.some((session) => session.name === entry.name))];
  const choices = saved.map((entry) => {
    const session = inside.find((other) => other.name === entry.name);
    return h('li', {},
      h('button', { type: 'button', class: 'choice', onclick: () => {
        if (session) { sessions.select(session.name); entered(session); return; }
        account.value = entry.name;
        password.focus();
      } }, h('strong', {}, entry.displayName ?? entry.name), h('span', { class: 'dim' }, entry.name),
      session && h('span', { class: 'tag good' }, w('signedIn'))),
      !session && h('button', { type: 'button', class: 'link', 'aria-label': `${w('forget')} ${entry.name}`, onclick: () => {
        sessions.remember(entry.name, null, false);
        door(place, '', entered, switchLanguage);
      } }, w('forget')));
  });
  show(place, h('main', { class: 'door', id: 'content' }, h('section', { class: 'panel' },
    h('h1', {}, w('title')),
    choices.length > 0 && [h('h2', {}, w('saved')), h('ul', { class: 'choices' }, choices)],
    form,
    h('button', { type: 'button', class: 'link', onclick: () => { switchLanguage(); door(place, '', entered, switchLanguage); } },
      w('language')))));
  account.focus();
}
