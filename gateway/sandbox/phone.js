// A phone with the test enterprises' licenses on it. It asks the gateway by the same calls as a real one; what a real phone
// signs inside, the sandbox signs for this one.

import { Caller } from '../console/api.js';
import { h, show } from '../console/dom.js';
import { day, languageTag, switchLanguage, w, why } from './words.js';

const app = document.getElementById('app');
const api = new Caller();
/** What the agent of an authorisation may act for, from now: 30 days. */
const TERM = 30 * 24 * 3600 * 1000;

/** The version of the consent that this phone knows. */
const CONSENT = 2;
/** What stands before the digest in what is signed of it: the attributes of a SignedData of GB/T 35275. */
const ATTRIBUTES = '314c301906092a864886f70d010903310c060a2a811ccf550601040201302f06092a864886f70d01090431220420';

let licenses = [];
let license = null;
/** Draws what is shown now anew. */
let again = () => {};
let clock;

const fresh = () => btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));
const second = (time) => `${new Date(time).toISOString().slice(0, 19)}Z`;

/** The secret that this phone has for a code: a page that is loaded again is the same phone. */
function secretFor(qr) {
  const kept = JSON.parse(sessionStorage.getItem('phone.scanned') ?? '{}');
  if (kept.qr !== qr) {
    Object.assign(kept, { qr, secret: fresh() });
    sessionStorage.setItem('phone.scanned', JSON.stringify(kept));
  }
  return kept.secret;
}

function frame(redraw, ...children) {
  clearInterval(clock);
  again = redraw;
  document.documentElement.lang = languageTag();
  document.title = w('phoneTitle');
  show(app, h('div', { class: 'handset' },
    h('header', {}, h('span', { class: 'brand' }, w('phoneTitle')), h('span', { class: 'tag' }, w('sandbox')),
      h('button', { type: 'button', class: 'link', onclick: () => { switchLanguage(); again(); } }, w('language'))),
    h('main', { id: 'content', tabindex: -1 }, children)));
  scrollTo(0, 0);
}

function card() {
  const isGood = license.kind === 'good';
  return h('article', { class: isGood ? 'license' : 'license spoilt' },
    h('p', { class: 'license-kind' }, w('myLicense'), h('span', { class: isGood ? 'tag good' : 'tag bad' }, w(`kind_${license.kind}`))),
    h('h2', {}, license.name ?? license.uscc), h('p', { class: 'code' }, license.uscc),
    h('p', { class: 'small' }, `${w('holder')} ${license.legal_representative ?? w('none')} · ${w('until')} ${day(license.not_after)}`));
}

/** The license that is used, and the others. */
function wallet(changed) {
  const place = h('div', {}, card());
  const choice = h('select', { id: 'license', onchange: () => {
    license = licenses.find((one) => one.id === choice.value);
    show(place, card());
    changed();
  } }, licenses.map((one) => h('option', { value: one.id }, `${one.name ?? one.uscc}（${w(`kind_${one.kind}`)}）`)));
  choice.value = license.id;
  return [place, h('label', { for: 'license' }, w('change')), choice];
}

function home(trouble) {
  const text = h('textarea', { id: 'qr', rows: 4, required: true, spellcheck: 'false', autocomplete: 'off', placeholder: '{"expires":…,"qrid":"…"}' });
  frame(() => home(trouble), h('p', { class: 'dim' }, w('phoneLead')),
    h('form', { class: 'panel', onsubmit: (event) => { event.preventDefault(); scan(text.value.trim()); } },
      h('h1', {}, w('scan')), h('label', { for: 'qr' }, w('scanHint')), text, h('p', { class: 'bad', role: 'alert' }, trouble && why(trouble)),
      h('button', { type: 'submit', class: 'primary wide' }, w('recognise'))),
    wallet(() => {}));
}

function end(good, title, hint) {
  frame(() => end(good, title, hint), h('section', { class: 'panel ending', role: 'status' },
    h('p', { class: good ? 'mark good' : 'mark bad', 'aria-hidden': 'true' }, good ? '✓' : '✕'), h('h1', {}, w(title)),
    h('p', { class: 'dim' }, hint instanceof Error ? why(hint) : w(hint)),
    h('button', { type: 'button', class: 'wide', onclick: () => { history.replaceState(null, '', location.pathname); home(); } }, w('home'))));
}

async function scan(qr) {
  try {
    const secret = secretFor(qr);
    const asked = await api.post('/v1/phone/sessions:scan', { qr, phone: secret });
    const amiss = unfit(asked);
    if (asked.state === 'confirmed') end(true, 'confirmed', 'confirmedHint');
    else if (amiss) end(false, 'over', amiss);
    else request(asked, secret);
  } catch (refusal) {
    if (refusal.status === 410 || refusal.status === 409) end(false, 'over', refusal);
    else home(refusal);
  }
}

/** Why this phone signs nothing of what is asked: nobody can read `to_sign`, so it must be what the digest that is shown makes it. */
function unfit(asked) {
  if (asked.consent_version !== CONSENT) return 'consentVersion';
  const octets = Array.from(atob(asked.to_sign ?? ''), (letter) => letter.charCodeAt(0).toString(16).padStart(2, '0')).join('');
  return octets === (asked.digest ? ATTRIBUTES + asked.digest : '') ? null : 'digestDiffers';
}

/** What is asked, as it is shown and signed. */
function rows(asked) {
  return [[w('app'), w('named', asked.app_name, asked.app)], [w('item'), w('named', asked.item_name, asked.item)], [w('bizNo'), asked.biz_no], [w('text'), asked.text],
    [w('fields'), (asked.fields ?? []).map((field) => w(`field_${field}`)).join(w('comma'))], [w('willStamp'), asked.stamp_id],
    [w('digest'), asked.digest]].filter(([, value]) => value);
}

function consentTo(asked, role, operator) {
  const { app: to, app_name, biz_no, digest, fields, flow, item, item_name, nonce, qrid, stamp_id, text } = asked;
  const consent = {
    app: to, app_name, at: second(Date.now()), biz_no, digest, fields: fields?.length ? fields : undefined, flow, item, item_name, nonce, qrid, role, stamp_id, text,
    uscc: license.uscc, v: CONSENT,
  };
  if (operator) consent.operator = operator;
  if (role === 'agent') consent.authorisation = { items: [asked.item], until: second(Date.now() + TERM) };
  return JSON.stringify(consent);
}

function request(asked, secret, role = asked.roles[0]) {
  /** What is sent, once it was signed: an answer that is lost is asked for again with the same octets. */
  let brought = null;
  const left = h('span', { class: 'tag' });
  const trouble = h('p', { class: 'bad', role: 'alert' });
  const operator = h('input', { id: 'operator', autocomplete: 'off', maxlength: 60 });
  const term = h('p', { class: 'dim small' });
  const yes = h('button', { type: 'button', class: 'primary' }, w('confirm'));
  const no = h('button', { type: 'button' }, w('deny'));
  const changed = () => {
    brought = null;
    show(yes, w('confirm'));
    show(trouble);
    show(term, role === 'agent' && w('agentTerm'));
    operator.value = license.people?.find((one) => one.role === role)?.name ?? (role === 'legal_representative' ? license.legal_representative ?? '' : '');
  };
  const attempt = async (work) => {
    yes.disabled = no.disabled = true;
    show(trouble);
    try { await work(); } catch (refusal) {
      if (refusal.status === 410 || refusal.status === 409) end(false, 'over', refusal);
      else {
        show(trouble, why(refusal));
        if (refusal.status === 0) show(yes, w('retry')); else brought = null;
      }
    } finally { yes.disabled = no.disabled = false; }
  };
  yes.onclick = () => attempt(async () => {
    if (!brought) {
      const consent = consentTo(asked, role, operator.value.trim());
      const signed = await api.post(`/sandbox/phone/licenses/${encodeURIComponent(license.id)}/sign`, asked.to_sign ? { consent, to_sign: asked.to_sign } : { consent });
      brought = { phone: secret, consent, ...signed };
    }
    await api.post(`/v1/phone/sessions/${encodeURIComponent(asked.qrid)}/confirm`, brought);
    end(true, 'confirmed', 'confirmedHint');
  });
  no.onclick = () => attempt(async () => {
    await api.post(`/v1/phone/sessions/${encodeURIComponent(asked.qrid)}/deny`, { phone: secret });
    end(false, 'denied', 'deniedHint');
  });
  const roles = asked.roles.map((one) => h('label', { class: 'check' },
    h('input', { type: 'radio', name: 'role', id: `role-${one}`, value: one, checked: one === role, onchange: () => { role = one; changed(); } }), w(`role_${one}`)));
  frame(() => request(asked, secret, role),
    h('section', { class: 'panel' },
      h('p', { class: 'row spread' }, h('strong', {}, asked.app_name), left), h('h1', {}, w(`asks_${asked.flow}`)),
      h('dl', { class: 'asked' }, rows(asked).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))))),
    wallet(changed),
    h('fieldset', { class: 'roles' }, h('legend', {}, w('actAs')), roles),
    h('label', { for: 'operator' }, w('name')), operator, term, trouble,
    h('p', { class: 'dim small' }, w('beware')), h('div', { class: 'answers' }, no, yes));
  changed();
  const tick = () => {
    const seconds = Math.max(0, Math.ceil((new Date(asked.expires_at) - Date.now()) / 1000));
    show(left, w('left', seconds));
  };
  tick();
  clock = setInterval(tick, 1000);
}

frame(() => {}, h('p', { class: 'dim' }, w('loading')));
try {
  licenses = await api.get('/sandbox/phone/licenses');
  const asked = new URLSearchParams(location.search);
  // Who came from a test enterprise goes on with it, whichever code is scanned.
  if (asked.get('license')) localStorage.setItem('phone.license', asked.get('license'));
  const chosen = localStorage.getItem('phone.license');
  license = licenses.find((one) => one.id === chosen) ?? licenses[0];
  const shown = asked.get('qr');
  if (shown) await scan(shown);
  else home();
} catch (refusal) {
  frame(() => {}, h('p', { class: 'bad', role: 'alert' }, why(refusal)));
}
