// Inspections: which were made, what each found, and having one made.

import { askReason, fault, tell } from './dialogs.js';
import { h, show } from './dom.js';
import { languageTag, moment, w } from './words.js';

/** How something came out, by colour, mark and word. */
const graded = (grade) => h('span', { class: `grade ${grade}` }, w(`grade_${grade}`));

const said = (words) => (languageTag() === 'en' ? words.en : words.zh);
const limit = ([zh, en]) => (languageTag() === 'en' ? en : zh);

const columns = (names) => h('thead', {}, h('tr', {}, names.map((name) => h('th', { scope: 'col' }, w(name)))));

function row(inspection) {
  const counts = inspection.counts;
  return h('tr', {},
    h('th', { scope: 'row' }, h('a', { href: `#/inspections/${encodeURIComponent(inspection.id)}` }, inspection.id)),
    h('td', {}, w(`occasion_${inspection.occasion}`), inspection.slot && h('div', { class: 'dim small' }, inspection.slot)),
    h('td', {}, moment(inspection.began_at)),
    h('td', {}, inspection.grade ? graded(inspection.grade) : h('span', { class: 'tag' }, w(`inspection_${inspection.state}`))),
    h('td', {}, counts ? `${counts.abnormal} / ${counts.attention} / ${counts.unmeasured} / ${counts.ok}` : '—'),
    h('td', {}, inspection.actor, h('div', { class: 'dim small' }, inspection.reason)));
}

/** The list, and having one made. */
function listPage(place, { caller, can, every, alive }) {
  const list = h('div', {}, w('loading'));
  let before = null;
  let again = () => {};
  // While one runs somebody waits for it; else there is seldom anything new.
  let running = true;
  let round = 0;
  const begin = () => askReason(w('inspectNow'), w('inspectText'), async (reason) => {
    const answer = await caller.act('/v1/admin/inspections', { reason });
    running = true;
    again();
    return answer;
  });
  show(place, h('div', { class: 'row spread wrap' }, h('h1', {}, w('inspections')),
    can('maintenance') && h('button', { type: 'button', class: 'primary', onclick: begin }, w('inspectNow'))), list);
  again = every(2000, async () => {
    round += 1;
    if (!running && round % 5 !== 0) return;
    const { items } = await caller.get('/v1/admin/inspections?limit=50');
    if (!alive()) return;
    running = items.some((one) => one.state === 'running');
    // Drawn anew only when something changed, so that nobody loses the place while reading.
    const now = JSON.stringify(items);
    if (now === before) return;
    before = now;
    show(list, items.length === 0 ? h('p', { class: 'dim' }, w('noInspections')) : h('div', { class: 'scroll', tabindex: 0 }, h('table', {},
      columns(['index', 'occasion', 'began', 'grade', 'gradeCounts', 'askedBy']), h('tbody', {}, items.map(row)))));
  });
}

function check(item) {
  return h('tr', {}, h('td', {}, graded(item.grade)),
    h('th', { scope: 'row' }, said(item.what), item.subject && ` [${item.subject}]`, h('div', { class: 'dim small' }, item.code)),
    h('td', {}, item.measured, item.evidence && h('div', { class: 'dim small' }, item.evidence)),
    h('td', {}, limit(item.threshold)), h('td', {}, item.advice ? said(item.advice) : ''));
}

async function save(caller, inspection, form) {
  const query = form === 'pdf' ? 'form=pdf' : `form=html&lang=${languageTag() === 'en' ? 'en' : 'zh'}`;
  try {
    const octets = await caller.file(`/v1/admin/inspections/${encodeURIComponent(inspection.id)}/report?${query}`);
    const url = URL.createObjectURL(octets);
    h('a', { href: url, download: `inspection-${inspection.id}.${form}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    tell(w('saved_report', `inspection-${inspection.id}.${form}`));
  } catch (refusal) {
    tell(fault(refusal), 'bad');
  }
}

/** One inspection. */
function onePage(place, { caller, every, alive }, id) {
  const body = h('div', {}, w('loading'));
  show(place, h('p', {}, h('a', { href: '#/inspections' }, w('allInspections'))), h('h1', {}, id), body);
  let shown = false;
  every(1000, async () => {
    if (shown) return;
    const one = await caller.get(`/v1/admin/inspections/${encodeURIComponent(id)}`);
    if (!alive()) return;
    if (one.state === 'running') { show(body, h('p', { role: 'status' }, w('inspection_running'))); return; }
    shown = true;
    const groups = [...new Set(one.checks.map((item) => item.group))];
    const facts = [['occasion', w(`occasion_${one.occasion}`)], ['began', moment(one.began_at)], ['end', moment(one.ended_at)],
      ['askedBy', one.actor], ['reasonOf', one.reason], ['index', one.audit_index ?? '—'],
      ['signature', one.report_stamp ?? w('unsigned', one.report_unsigned ?? '')]];
    show(body,
      h('p', { class: `summary ${one.grade === 'ok' ? 'good' : one.grade === 'abnormal' ? 'bad' : ''}`, role: 'status' },
        one.grade ? graded(one.grade) : w(`inspection_${one.state}`), ' ',
        one.counts && w('gradeLine', one.counts.abnormal, one.counts.attention, one.counts.unmeasured, one.counts.ok)),
      h('dl', { class: 'facts' }, facts.map(([name, value]) => h('div', {}, h('dt', {}, w(name)), h('dd', {}, value)))),
      one.state === 'done' && h('div', { class: 'row wrap end' },
        h('button', { type: 'button', class: 'primary', onclick: () => save(caller, one, 'pdf') }, w('savePdf')),
        h('button', { type: 'button', onclick: () => save(caller, one, 'html') }, w('saveHtml'))),
      groups.map((group) => {
        const items = one.checks.filter((item) => item.group === group);
        // The worst first: that is what somebody looks for.
        const rank = { abnormal: 0, attention: 1, unmeasured: 2, ok: 3 };
        items.sort((a, b) => rank[a.grade] - rank[b.grade]);
        return h('section', { 'aria-label': w(`group_${group}`) }, h('h2', {}, w(`group_${group}`)),
          h('div', { class: 'scroll', tabindex: 0 }, h('table', {}, columns(['grade', 'check', 'measured', 'threshold', 'advice']), h('tbody', {}, items.map(check)))));
      }));
  });
}

/** The page. */
export function inspectionsPage(place, context, id) {
  if (id) onePage(place, context, id);
  else listPage(place, context);
}
