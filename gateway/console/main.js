// The frame of the pages: who is shown what, what is looked at again and again, and when somebody is signed out.

import { accountPage, duePage } from './account.js';
import { approvalsPage } from './approvals.js';
import { appsPage } from './apps.js';
import { auditPage } from './audit.js';
import { devicePage } from './device.js';
import { door } from './door.js';
import { fault, tell } from './dialogs.js';
import { h, show } from './dom.js';
import { fleetPage } from './fleet.js';
import { inspectionsPage } from './inspections.js';
import { licensesPage } from './licenses.js';
import * as sessions from './sessions.js';
import { languageTag, switchLanguage, w } from './words.js';

const app = document.getElementById('app');

/** Pages in the order of the navigation, with the scopes of which one opens each. */
const PAGES = [
  { at: 'fleet', scopes: ['devices'], draw: fleetPage },
  { at: 'approvals', scopes: ['approvals'], draw: approvalsPage },
  { at: 'apps', scopes: ['apps'], draw: appsPage },
  { at: 'audit', scopes: ['audit'], draw: auditPage },
  { at: 'inspections', scopes: ['maintenance', 'audit'], draw: inspectionsPage },
  { at: 'licenses', scopes: ['licenses'], draw: licensesPage },
  { at: 'me', scopes: null, draw: accountPage },
];

/** Ends what the page before had going on. */
let leave = () => {};

const permitted = (session) => PAGES.filter((page) => page.scopes === null || page.scopes.some((scope) => session.scopes.includes(scope)));

/** Goes to the door, or to the pages of somebody else who is signed in. */
function lost(session, news) {
  sessions.drop(session);
  start(news);
}

/**
 * Does `work` now and then every `milliseconds`, while the page is seen, until `left` says that it is not shown any more.
 * Returns what does it at once.
 */
function poller(session, left, trouble) {
  return (milliseconds, work) => {
    let timer;
    let running = false;
    const round = async () => {
      clearTimeout(timer);
      if (left.aborted || running) return;
      running = true;
      let wait = milliseconds;
      try {
        if (!document.hidden) { await work(); if (!left.aborted) trouble(false); }
      } catch (refusal) {
        if (left.aborted) return;
        trouble(true, refusal);
        wait = Math.max(milliseconds, 2000);
      } finally { running = false; }
      if (!left.aborted) timer = setTimeout(round, wait);
    };
    left.addEventListener('abort', () => clearTimeout(timer));
    document.addEventListener('visibilitychange', () => { if (!document.hidden) round(); }, { signal: left });
    round();
    return round;
  };
}

async function signOut(session) {
  try { await sessions.caller(session).post('/v1/sign-out'); } catch { /* it ends by itself, and is forgotten here */ }
  sessions.drop(session);
}

async function signOutAll() {
  await Promise.all(sessions.all().map(signOut));
  // Over plain HTTP browsers do not heed the answer below.
  sessions.forgetAll();
  // The answer tells the browser to forget whatever it kept.
  location.replace('signed-out');
}

function header(session) {
  const others = sessions.all().filter((other) => other.name !== session.name);
  const go = (name) => () => { remember(session); sessions.select(name); start(''); };
  return h('header', {},
    h('a', { class: 'skip', href: '#content', onclick: (event) => { event.preventDefault(); document.getElementById('content').focus(); } }, w('skip')),
    h('span', { class: 'brand' }, w('title')),
    h('nav', { 'aria-label': w('main') }, h('ul', {}, permitted(session).map((page) => h('li', {}, h('a', { href: `#/${page.at}`, id: `to-${page.at}` }, w(page.at)))))),
    h('details', { class: 'menu' }, h('summary', {}, session.displayName),
      h('ul', {},
        others.map((other) => h('li', {}, h('button', { type: 'button', onclick: go(other.name) }, w('switchTo', other.displayName, other.name)))),
        h('li', {}, h('button', { type: 'button', onclick: go(null) }, w('another'))),
        h('li', {}, h('button', { type: 'button', onclick: () => { switchLanguage(); start(''); } }, w('language'))),
        h('li', {}, h('button', { type: 'button', onclick: async () => { await signOut(session); start(''); } }, w('signOut'))),
        h('li', {}, h('button', { type: 'button', onclick: signOutAll }, w('signOutAll'))))));
}

/** A part of the place as it was before it was made a part of it; what is none stands for itself. */
function plain(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

/** Where somebody was, for when that account is shown again. */
function remember(session) { sessions.update(session, { place: location.hash }); }

/** Signs somebody out who does nothing: what the pages ask for by themselves keeps the session alive. */
function watchIdle(session, left) {
  let used = Date.now();
  let warning = null;
  const count = h('p', { role: 'alert' });
  for (const kind of ['pointerdown', 'keydown', 'wheel', 'touchstart']) {
    addEventListener(kind, () => { used = Date.now(); }, { passive: true, signal: left });
  }
  const timer = setInterval(async () => {
    const rest = Math.ceil(session.idleS - (Date.now() - used) / 1000);
    if (rest <= 0) {
      clearInterval(timer);
      await signOut(session);
      start(w('idleEnded'));
    } else if (rest <= Math.min(60, session.idleS / 2)) {
      show(count, w('idleText', rest));
      if (!warning) {
        warning = h('dialog', { 'aria-label': w('idleSoon'), onclose: () => { warning.remove(); warning = null; used = Date.now(); } },
          h('h2', {}, w('idleSoon')), count, h('button', { type: 'button', class: 'primary', onclick: () => warning.close() }, w('stay')));
        document.body.append(warning);
        warning.showModal();
      }
    }
  }, 1000);
  left.addEventListener('abort', () => clearInterval(timer));
}

function draw(session, content, trouble) {
  leave();
  const shown = new AbortController();
  leave = () => shown.abort();
  const context = {
    caller: sessions.caller(session, () => { if (!shown.signal.aborted) lost(session, w('ended')); }), session, alive: () => !shown.signal.aborted, can: (scope) => session.scopes.includes(scope),
    every: poller(session, shown.signal, trouble), reload: () => renew(session),
  };
  const pages = permitted(session);
  const [, name, detail] = location.hash.split('/');
  const page = pages.find((one) => one.at === name);
  for (const one of pages) {
    const link = document.getElementById(`to-${one.at}`);
    if (one.at === name || (one.at === 'fleet' && name === 'devices')) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (session.due) duePage(content, context, () => renew(session));
  else if (name === 'devices' && detail && session.scopes.includes('devices')) devicePage(content, context, plain(detail));
  else if (page) page.draw(content, context, detail && plain(detail));
  else location.replace(`#/${pages[0].at}`);
}

/** Reads anew what may be done in this session. */
async function renew(session) {
  try {
    const own = await sessions.caller(session).get('/v1/account');
    sessions.update(session, { scopes: own.scopes, roles: own.roles, due: own.due, password: own.password, displayName: own.display_name });
    start('');
  } catch (refusal) {
    if (refusal.status === 401) lost(session, w('ended'));
    else tell(fault(refusal), 'bad');
  }
}

/** Ends what goes with the frame of somebody's pages. */
let stop = () => {};

/** Shows the pages of whoever is signed in, or the door. */
function start(news) {
  leave();
  stop();
  document.documentElement.lang = languageTag();
  document.title = w('title');
  for (const dialog of document.querySelectorAll('dialog')) dialog.remove();
  const session = sessions.current();
  if (!session) {
    door(app, news, (entered) => { location.hash = entered.place ?? ''; start(''); }, switchLanguage);
    return;
  }
  const content = h('main', { id: 'content', tabindex: -1 });
  const line = h('p', { class: 'trouble', role: 'alert' });
  let troubled = false;
  const trouble = (now, refusal) => {
    if (now) show(line, refusal.status === 0 ? w('unreachable') : `${refusal.message} (${refusal.code})`);
    else if (troubled) show(line);
    troubled = now;
  };
  show(app, header(session), line, content, h('div', { id: 'news', role: 'status' }));
  const framed = new AbortController();
  stop = () => framed.abort();
  const moved = () => draw(session, content, trouble);
  addEventListener('hashchange', moved, { signal: framed.signal });
  watchIdle(session, framed.signal);
  if (session.place && location.hash !== session.place) {
    location.hash = session.place;
    sessions.update(session, { place: null });
  }
  moved();
}

start('');
