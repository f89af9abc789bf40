// Small charts as SVG.

import { svg } from './dom.js';

const points = (values, width, height, most) => values
  .map((value, at) => [values.length < 2 ? width : (at / (values.length - 1)) * width, height - (value / most) * height])
  .map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');

/** A line of the last values, read out as `label`. */
export function sparkline(values, label, { width = 120, height = 28 } = {}) {
  const most = Math.max(1, ...values);
  return svg('svg', { class: 'spark', viewBox: `0 -1 ${width} ${height + 2}`, role: 'img', 'aria-label': label,
    preserveAspectRatio: 'none' },
  svg('polyline', { points: values.length ? `0,${height} ${points(values, width, height, most)} ${width},${height}` : '',
    class: 'area' }),
  svg('polyline', { points: points(values, width, height, most), class: 'line' }));
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

/**
 * Time against latency, darker where more of the signatures were: each column is a span of time, its bands reach from
 * the median over the 90th and 99th percentile to the slowest. Both scales are logarithmic in time, as latencies are.
 */
export function latencyMap(spans, { from, to, label, clock }) {
  const [width, height, left, bottom] = [720, 200, 46, 20];
  const worst = Math.max(1, ...spans.map((span) => span.max_us / 1000));
  const top = STEPS.find((step) => step >= worst) ?? worst;
  const low = 0.05;
  const y = (ms) => (height - bottom) * (1 - Math.log(Math.max(ms, low) / low) / Math.log(top / low)) + 4;
  const x = (at) => left + ((at - from) / (to - from)) * (width - left);
  const chart = svg('svg', { class: 'map', viewBox: `0 0 ${width} ${height + 6}`, role: 'img', 'aria-label': label });
  for (const step of STEPS.filter((step) => step <= top && [1, 10, 100, 1000, 10000, 0.1].includes(step))) {
    chart.append(svg('line', { x1: left, x2: width, y1: y(step), y2: y(step), class: 'grid' }),
      svg('text', { x: left - 6, y: y(step) + 4, 'text-anchor': 'end' }, step >= 1000 ? `${step / 1000} s` : `${step} ms`));
  }
  for (let part = 0; part <= 4; part += 1) {
    const at = from + ((to - from) * part) / 4;
    const anchor = part === 0 ? 'start' : part === 4 ? 'end' : 'middle';
    chart.append(svg('text', { x: x(at), y: height + 2, 'text-anchor': anchor }, clock(at)));
  }
  for (const span of spans.filter((span) => span.signed > 0)) {
    const start = Date.parse(span.start);
    const wide = Math.max(1.5, x(start + span.seconds * 1000) - x(start) - 0.5);
    for (const [upper, kind] of [[span.max_us, 'max'], [span.p99_us, 'p99'], [span.p90_us, 'p90'], [span.p50_us, 'p50']]) {
      const peak = y(upper / 1000);
      chart.append(svg('rect', { x: x(start), width: wide, y: peak, height: Math.max(1, height - bottom + 4 - peak), class: kind }));
    }
  }
  return chart;
}
