// Test enterprises: whoever integrates makes as many as are wanted, in the standing that is to be tried.

import { Caller } from '../console/api.js';
import { h, show } from '../console/dom.js';
import { day, languageTag, switchLanguage, w, why } from './words.js';

const app = document.getElementById('app');
const api = new Caller();
const PATH = '/sandbox/enterprises';
const TEMPLATES = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I'];
const STATUSES = [1, 2, 3, 4, 5, 6, 9];
const LICENSES = ['good', 'expired', 'revoked'];
const FLAGS = ['经营异常名录', '严重违法失信', '年报未报', '歇业', '跨省迁移中', '另册管理'];

/** What the form says; it stays while others are made. */
const order = { template: 'A', code_kind: 'test', name: '', status: 1, license: 'good', flags: [] };
let enterprises = [];

function choice(id, values, chosen, word, changed) {
  const select = h('select', { id, onchange: () => changed(select.value) }, values.map((value) => h('option', { value }, word(value))));
  select.value = chosen;
  return select;
}

const field = (id, label, input) => h('div', {}, h('label', { for: id }, label), input);

function form(trouble) {
  const name = h('input', { id: 'name', autocomplete: 'off', maxlength: 60, placeholder: w('nameHint'), value: order.name, oninput: () => { order.name = name.value; } });
  const flags = FLAGS.map((flag) => {
    const box = h('input', {
      type: 'checkbox', checked: order.flags.includes(flag),
      onchange: () => { order.flags = FLAGS.filter((one) => (one === flag ? box.checked : order.flags.includes(one))); },
    });
    return h('label', { class: 'check' }, box, flag);
  });
  const make = h('button', { type: 'submit', class: 'primary', id: 'make' }, w('make'));
  return h('form', {
    class: 'panel', onsubmit: (event) => {
      event.preventDefault();
      make.disabled = true;
      const { name: named, ...rest } = order;
      attempt(() => api.post(PATH, named.trim() ? { ...rest, name: named.trim() } : rest));
    },
  }, h('h2', {}, w('makeTitle')),
  h('div', { class: 'fields' },
    field('template', w('template'), choice('template', TEMPLATES, order.template, (letter) => w(`template_${letter}`), (value) => { order.template = value; })),
    field('code-kind', w('uscc'), choice('code-kind', ['test', 'uscc'], order.code_kind, (kind) => w(`code_${kind}`), (value) => { order.code_kind = value; })),
    field('name', w('enterpriseName'), name),
    field('status', w('status'), choice('status', STATUSES, order.status, (status) => w(`status_${status}`), (value) => { order.status = Number(value); })),
    field('license', w('licenseState'), choice('license', LICENSES, order.license, (state) => w(`kind_${state}`), (value) => { order.license = value; }))),
  h('fieldset', { class: 'roles' }, h('legend', {}, w('flags')), flags),
  h('p', { class: 'bad', role: 'alert' }, trouble && why(trouble)), make);
}

function card(one) {
  const path = `${PATH}/${encodeURIComponent(one.uscc)}`;
  const change = (body) => attempt(() => api.post(`${path}/status`, body));
  const isGood = one.license.state === 'good' && one.status === 1;
  const said = [[w('uscc'), one.uscc], [w('template'), w(`template_${one.template}`)], [w('license'), one.license.serial], [w('until'), day(one.license.not_after)],
    [w('people'), one.people.map((person) => w('named', person.name, w(`role_${person.role}`))).join(w('comma'))],
    [w('flags'), one.flags.join(w('comma')) || w('none')],
    [w('files'), one.files.map((file) => file.path).join(w('comma')) || w('none')]];
  return h('li', { class: 'card', 'data-uscc': one.uscc },
    h('h2', {}, one.name), h('p', {}, h('span', { class: isGood ? 'tag good' : 'tag bad' }, `${w(`status_${one.status}`)} · ${w(`kind_${one.license.state}`)}`)),
    h('dl', { class: 'asked' }, said.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    h('div', { class: 'fields' },
      field(`status-${one.uscc}`, w('status'), choice(`status-${one.uscc}`, STATUSES, one.status, (status) => w(`status_${status}`), (value) => change({ status: Number(value) }))),
      field(`license-${one.uscc}`, w('licenseState'), choice(`license-${one.uscc}`, LICENSES, one.license.state, (state) => w(`kind_${state}`), (value) => change({ license: value })))),
    h('p', { class: 'row spread' }, h('a', { href: one.phone, target: '_blank', rel: 'noopener' }, w('usePhone')),
      h('button', { type: 'button', onclick: () => attempt(() => api.ask('DELETE', path)) }, w('takeAway'))));
}

function draw(trouble) {
  document.documentElement.lang = languageTag();
  document.title = w('enterprisesTitle');
  show(app,
    h('header', {}, h('span', { class: 'brand' }, w('enterprisesTitle')), h('span', { class: 'tag' }, w('sandbox')), h('span', { class: 'gap' }),
      h('a', { href: 'demo' }, w('toDemo')),
      h('button', { type: 'button', class: 'link', onclick: () => { switchLanguage(); draw(trouble); } }, w('language'))),
    h('main', { id: 'content', tabindex: -1 }, h('p', { class: 'dim' }, w('enterprisesLead')), form(trouble),
      enterprises.length === 0 && h('p', { class: 'dim' }, w('noEnterprises')),
      h('ul', { class: 'cards enterprises' }, enterprises.toReversed().map(card))));
}

/** Does something, and shows what there is then. */
async function attempt(work) {
  let trouble = null;
  try { await work(); } catch (refusal) { trouble = refusal; }
  try { enterprises = (await api.get(PATH)).items; } catch (refusal) { trouble ??= refusal; }
  draw(trouble);
}

attempt(async () => {});
