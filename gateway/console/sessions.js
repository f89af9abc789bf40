// Who is signed in, in this tab. Tokens are in the tab's session storage only, one for each account: another tab, and
// another account, has none of them. Only names of accounts are remembered on the computer.

import { Caller } from './api.js';

const TAB = 'console.sessions';
const REMEMBERED = 'console.accounts';

function read(storage, key) {
  try { return JSON.parse(storage.getItem(key)) ?? null; } catch { return null; }
}

let held = read(sessionStorage, TAB) ?? { current: null, sessions: [] };
const keep = () => sessionStorage.setItem(TAB, JSON.stringify(held));

const live = (session) => Date.parse(session.expiresAt) > Date.now();

/** Those who are signed in. */
export const all = () => held.sessions.filter(live);

/** The one whose pages are shown. */
export const current = () => all().find((session) => session.name === held.current) ?? null;

/** Calls for this session; `ended` is told when the gateway does not know it any more. */
export const caller = (session, ended) => new Caller(session.token, ended);

/** Takes in the answer to a sign-in and shows its pages. */
export function add(answer, account) {
  const session = {
    name: account.name, displayName: account.display_name, roles: account.roles, scopes: account.scopes ?? [],
    token: answer.token, expiresAt: answer.expires_at, idleS: answer.idle_s, due: answer.due,
    password: answer.password, place: null,
  };
  held.sessions = [...held.sessions.filter((other) => other.name !== session.name && live(other)), session];
  held.current = session.name;
  keep();
  return session;
}

/** Changes what is known of a session. */
export function update(session, changes) {
  Object.assign(session, changes);
  held.sessions = held.sessions.map((other) => (other.name === session.name ? session : other));
  keep();
}

/** Shows the pages of another account; `null` shows the door. */
export function select(name) {
  held.current = name;
  keep();
}

/** Forgets a session of this tab. */
export function drop(session) {
  held.sessions = held.sessions.filter((other) => other.token !== session.token);
  if (held.current === session.name) held.current = null;
  keep();
}

/** Names that this computer remembers, newest first. */
export const remembered = () => (read(localStorage, REMEMBERED) ?? []).filter((entry) => typeof entry?.name === 'string');

/** Remembers a name, or forgets it. */
export function remember(name, displayName, wanted) {
  const others = remembered().filter((entry) => entry.name !== name);
  const entries = wanted ? [{ name, displayName }, ...others].slice(0, 8) : others;
  localStorage.setItem(REMEMBERED, JSON.stringify(entries));
}

/** Forgets everything, here and on the computer. */
export function forgetAll() {
  sessionStorage.clear();
  localStorage.clear();
}
