// What is asked before something is done, and what is told after.

import { h, show } from './dom.js';
import { w } from './words.js';

/** A line of news at the foot of the page, read out by screen readers. */
export function tell(text, kind = 'good') {
  const news = document.getElementById('news');
  if (!news) return;
  const line = h('p', { class: kind }, text);
  show(news, line);
  setTimeout(() => line.remove(), 12000);
}

/** What went wrong, in words. */
export function fault(refusal) {
  const details = (refusal.errors ?? []).map((error) => error.detail).join('; ');
  const text = details || refusal.message;
  return `${w('failed', text)} (${refusal.code}${refusal.requestId ? `, ${w('request', refusal.requestId)}` : ''})`;
}

/**
 * Asks for a reason and does something with it. The dialog stays while it is being done, so that nobody does it twice,
 * and shows why if it cannot be done.
 */
export function askReason(title, text, act, { danger = false } = {}) {
  const opener = document.activeElement;
  const reason = h('textarea', { id: 'reason', rows: 3, maxlength: 500, required: true });
  const wrong = h('p', { class: 'bad', role: 'alert' });
  const confirm = h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, w('confirm'));
  const cancel = h('button', { type: 'button', onclick: () => dialog.close() }, w('cancel'));
  const form = h('form', { onsubmit: async (event) => {
    event.preventDefault();
    const why = reason.value.trim();
    if (!why) { show(wrong, w('reasonNeeded')); reason.focus(); return; }
    confirm.disabled = cancel.disabled = true;
    try {
      const answer = await act(why);
      dialog.close();
      if (answer?.approval) tell(w('asked', answer.approval));
      else tell(w('done', answer?.audit_index ?? '—'));
    } catch (refusal) {
      show(wrong, fault(refusal));
      confirm.disabled = cancel.disabled = false;
    }
  } },
  h('h2', { id: 'dialog-title' }, title), text && h('p', {}, text),
  h('label', { for: 'reason' }, w('reason')), reason, wrong, h('div', { class: 'row end' }, cancel, confirm));
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => { dialog.remove(); opener?.focus?.(); },
    oncancel: (event) => { if (confirm.disabled) event.preventDefault(); } }, form);
  document.body.append(dialog);
  dialog.showModal();
  reason.focus();
}

/** Shows something until it is closed. */
export function showDialog(title, ...content) {
  const opener = document.activeElement;
  const dialog = h('dialog', { class: 'wide', 'aria-labelledby': 'dialog-title', onclose: () => { dialog.remove(); opener?.focus?.(); } },
    h('h2', { id: 'dialog-title' }, title), ...content,
    h('div', { class: 'row end' }, h('button', { type: 'button', autofocus: true, onclick: () => dialog.close() }, w('close'))));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
