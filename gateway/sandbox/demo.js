// An integrating system: begins a session at its own server, shows the QR code, follows the session and shows its result.

import { Caller } from '../console/api.js';
import { h, show } from '../console/dom.js';
import { languageTag, moment, switchLanguage, w, why } from './words.js';

const app = document.getElementById('app');
const api = new Caller();
const WAYS = ['login', 'authorise', 'stamp'];
const TTLS = [[30, 'seconds', 30], [120, 'minutes', 2], [300, 'minutes', 5]];
const ENDED = ['rejected', 'expired', 'replaced', 'cancelled', 'consumed'];

let stream = null;
let clock;
let ttl = 120;
/** Where the browser keeps the stamped document that is shown. */
let shownDocument = null;
/** Draws what is shown now anew. */
let again = () => {};

/** The session that this tab has begun. */
const kept = () => JSON.parse(sessionStorage.getItem('demo.session') ?? 'null');

function leave() {
  stream?.close();
  stream = null;
  clearInterval(clock);
}

function frame(redraw, ...children) {
  again = redraw;
  document.documentElement.lang = languageTag();
  document.title = w('demoTitle');
  show(app,
    h('header', {}, h('span', { class: 'brand' }, w('demoTitle')), h('span', { class: 'tag' }, w('sandbox')), h('span', { class: 'gap' }),
      h('button', { type: 'button', class: 'link', onclick: () => { switchLanguage(); again(); } }, w('language'))),
    h('main', { id: 'content', tabindex: -1 }, children));
}

function forgetDocument() {
  if (shownDocument) URL.revokeObjectURL(shownDocument);
  shownDocument = null;
}

function home(trouble) {
  leave();
  forgetDocument();
  sessionStorage.removeItem('demo.session');
  const choice = h('select', { id: 'ttl', onchange: () => { ttl = Number(choice.value); } },
    TTLS.map(([value, word, number]) => h('option', { value }, w(word, number))));
  choice.value = ttl;
  frame(() => home(trouble), h('p', { class: 'dim' }, w('demoLead')), h('p', { class: 'bad', role: 'alert' }, trouble && why(trouble)),
    h('ul', { class: 'cards' }, WAYS.map((what) => h('li', { class: 'card way' }, h('h2', {}, w(`what_${what}`)), h('p', { class: 'dim' }, w(`hint_${what}`)),
      what === 'stamp' && h('p', {}, h('a', { href: 'annual-report.pdf', target: '_blank', rel: 'noopener' }, w('document'))),
      h('button', { type: 'button', class: 'primary', id: `begin-${what}`, onclick: (event) => begin(what, event.currentTarget) }, w(`what_${what}`))))),
    h('div', { class: 'stack' }, h('label', { for: 'ttl' }, w('ttl')), choice));
}

async function begin(what, button) {
  button.disabled = true;
  try {
    const begun = await api.post('/sandbox/demo/sessions', { what, ttl });
    const session = { what, session: begun.session, ticket: begun.ticket, qr: begun.qr_text, svg: begun.qr_svg, expires: begun.expires_at };
    sessionStorage.setItem('demo.session', JSON.stringify(session));
    watch(session);
  } catch (refusal) { home(refusal); }
}

const path = (session, rest) => `/sandbox/demo/sessions/${encodeURIComponent(session.session)}/${rest}`;

/** Shows the code and what becomes of it. */
function watch(session, state = 'created') {
  leave();
  const line = h('p', { class: 'state-line', role: 'status' });
  const left = h('p', { class: 'dim small' });
  const lost = h('p', { class: 'bad', role: 'alert' });
  const phone = `phone?${new URLSearchParams({ qr: session.qr })}`;
  const restart = h('button', { type: 'button', onclick: () => home() }, w('another'));
  const code = h('img', { class: 'qr', alt: w('scanThis'), src: `data:image/svg+xml;base64,${session.svg}` });
  const draw = () => {
    show(line, w(`state_${state}`));
    line.className = `state-line ${state}`;
    code.classList.toggle('used', state !== 'created');
  };
  const ended = () => ENDED.includes(state);
  frame(() => watch(session, state),
    h('section', { class: 'panel showing' }, h('h1', {}, w(`what_${session.what}`)), code, line, left, lost,
      !ended() && h('p', {}, w('noPhone'), ' ', h('a', { href: phone, target: '_blank', rel: 'noopener', id: 'phone' }, w('openPhone'))),
      h('details', {}, h('summary', {}, w('payload')), h('pre', { id: 'payload' }, session.qr)), restart));
  draw();
  const tick = () => {
    const seconds = Math.max(0, Math.ceil((new Date(session.expires) - Date.now()) / 1000));
    show(left, ['created', 'scanned'].includes(state) && w('left', seconds));
  };
  tick();
  clock = setInterval(tick, 1000);
  stream = new EventSource(path(session, `events?${new URLSearchParams({ ticket: session.ticket })}`));
  stream.onopen = () => show(lost);
  stream.onerror = () => {
    if (ended()) return;
    show(lost, w(stream?.readyState === EventSource.CLOSED ? 'closed' : 'lost'));
  };
  stream.addEventListener('state', (event) => {
    ({ state } = JSON.parse(event.data));
    draw();
    tick();
    if (ended()) { stream.close(); document.getElementById('phone')?.parentElement.remove(); }
    if (state === 'confirmed') fetchResult(session);
  });
}

/** Fetches the result. `once` is the same each time that this page asks for it: what is lost on the way is had again. */
async function fetchResult(session, once = crypto.randomUUID()) {
  leave();
  try {
    const answer = await api.post(path(session, 'result'), { ticket: session.ticket, once });
    result(session, answer, null);
  } catch (refusal) {
    // Somebody fetched it first, or it came too late: the session itself says which.
    if (refusal.status === 409 || refusal.status === 410) watch(session, refusal.code.replace('session_', ''));
    else if (refusal.status === 0 || refusal.status >= 500) unfetched(session, refusal, once);
    else home(refusal);
  }
}

/** There is a result, and it could not be fetched for now. */
function unfetched(session, refusal, once) {
  frame(() => unfetched(session, refusal, once), h('section', { class: 'panel showing' }, h('h1', {}, w(`what_${session.what}`)),
    h('p', { class: 'bad', role: 'alert' }, why(refusal)),
    h('button', { type: 'button', class: 'primary', onclick: () => fetchResult(session, once) }, w('retry')),
    h('button', { type: 'button', onclick: () => home() }, w('another'))));
}

const check = (good, text) => h('li', { class: good ? 'good' : 'bad' }, `${good ? '✓' : '✕'} ${text}：${w(good ? 'passed' : 'failed')}`);

const facts = (list) => h('dl', { class: 'asked' }, list.filter(([, value]) => value !== undefined && value !== null && value !== '')
  .map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));

/** A date of a face, or what else it says. */
const plain = (value) => (value && typeof value === 'object' ? value.text ?? JSON.stringify(value) : value);

/** The result, and what this system found of it. `stamped` is what came of the document, once something did. */
function result(session, answer, stamped) {
  const { result: said, checks } = answer;
  const good = Object.values(checks).every(Boolean);
  const title = !good ? w('notVerified') : w({ login: 'welcome', authorise: 'authorised', stamp: 'welcome' }[session.what], said.name ?? said.uscc);
  const document_ = h('div', {});
  frame(() => result(session, answer, stamped),
    h('section', { class: 'panel outcome' },
      h('p', { class: good ? 'summary good' : 'summary bad', role: 'status' }, good ? w('verified') : w('notVerified')), h('h1', {}, title),
      facts([[w('enterprise'), said.name], [w('uscc'), said.uscc], [w('status'), said.status?.text], [w('role'), w(`role_${said.role?.name}`)],
        [w('operator'), said.operator], [w('license'), said.license?.serial], [w('confirmedAt'), moment(said.confirmed_at)],
        [w('assurance'), said.assurance], [w('audit'), answer.audit_index]]),
      said.face && [h('h2', {}, w('face')), facts(Object.entries(said.face).map(([name, value]) => [w(`field_${name}`), plain(value)]))],
      h('ul', { class: 'checks' }, Object.entries(checks).map(([name, passed]) => check(passed, w(`check_${name}`)))),
      document_,
      h('details', {}, h('summary', {}, w('consent')), h('pre', { id: 'consent' }, answer.consent)),
      h('details', {}, h('summary', {}, w('resultJson')), h('pre', {}, JSON.stringify(said, null, 2))),
      h('button', { type: 'button', onclick: () => home() }, w('signOut'))));
  if (session.what !== 'stamp' || !good) return;
  const drawStamped = (made) => {
    const octets = Uint8Array.from(atob(made.document), (letter) => letter.charCodeAt(0));
    forgetDocument();
    const address = shownDocument = URL.createObjectURL(new Blob([octets], { type: 'application/pdf' }));
    show(document_, h('h2', {}, w('stamped')), facts([[w('stampId'), made.stamp_id], [w('checkCode'), made.check_code]]),
      h('ul', { class: 'checks' }, check(made.verdict === 'valid', w('check_document', w(`verdict_${made.verdict}`)))),
      h('p', { class: 'row wrap' }, h('a', { class: 'button', href: address, download: `${made.stamp_id}.pdf` }, w('download')),
        h('a', { class: 'button', href: `/verify/${encodeURIComponent(made.check_code)}`, target: '_blank', rel: 'noopener' }, w('checkPage'))));
  };
  const make = async () => {
    show(document_, h('p', { class: 'dim', role: 'status' }, w('stamping')));
    try {
      stamped = await api.post(path(session, 'stamp'), { ticket: session.ticket });
      drawStamped(stamped);
    } catch (refusal) {
      show(document_, h('p', { class: 'bad', role: 'alert' }, why(refusal)), h('button', { type: 'button', onclick: make }, w('retry')));
    }
  };
  if (stamped) drawStamped(stamped);
  else make();
}

const begun = kept();
if (begun) watch(begun);
else home();
