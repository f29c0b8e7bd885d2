// A clip of a dataset as a card: waveform with the span of every word, what convert replaced, what is wrong; filters and orders.

import { FONT, GUTTER, SMALL, card, drawSeconds, drawWave, label, line, openView } from './clip_cards.js';
import { element } from './element.js';

export const WAVE = { top: 6, height: 50 }, WORDS = { top: 60, height: 24 }, WRITTEN = { top: 88, height: 20 };
const MUTE = { words: 6 };
const LEVELS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const SHOWN_FINDINGS = 4;

let kindTitles = {}, KINDS = [], GRAVE = new Set();

/** Say which kinds of problem there are, the gravest first: kind -> title, and those that are grave. */
export function setKinds(kinds, grave) {
  kindTitles = kinds;
  KINDS = Object.keys(kinds);
  GRAVE = new Set(grave);
}

const gravity = clip => clip.problems.length ? Math.min(...clip.problems.map(([kind]) => KINDS.indexOf(kind))) : KINDS.length;
const has = kind => clip => clip.problems.some(problem => problem[0] === kind);
const pace = clip => clip.words.length > 1 ? clip.words.length / Math.max(clip.words.at(-1)[2] - clip.words[0][1], 0.1) : 0;
const sureness = clip => clip.unsure ? clip.unsure[1] : 2;
const faulty = clip => clip.problems.length > 0;

/** Name -> whether it keeps a clip. */
export const filters = () => ({
  'All': () => true,
  'With problems': faulty,
  'No problems': clip => !faulty(clip),
  ...Object.fromEntries(KINDS.map(kind => [kindTitles[kind], has(kind)])),
});
/** Name -> how many clips such a filter keeps, of `all` clips: `faulty` of them have problems, and `kinds` has those by kind. */
export const totalsOf = ({ all, faulty, kinds }) => ({
  'All': all,
  'With problems': faulty,
  'No problems': all - faulty,
  ...Object.fromEntries(KINDS.map(kind => [kindTitles[kind], kinds[kind] ?? 0])),
});
export const ORDERS = {
  'Gravest first': (one, other) => gravity(one) - gravity(other) || other.problems.length - one.problems.length || sureness(one) - sureness(other),
  'Least sure first': (one, other) => sureness(one) - sureness(other),
  'Fastest speech first': (one, other) => pace(other) - pace(one),
  'Longest first': (one, other) => other.duration - one.duration,
  'Shortest first': (one, other) => one.duration - other.duration,
  'By name': (one, other) => one.clip.localeCompare(other.clip, 'en', { numeric: true }),
};

// ---- cards

const inNumber = (clip, index) => clip.numbers.some(([first, behind]) => index >= first && index < behind);

function saidText(clip) {
  if (!clip.words.length) return [clip.script ? `script: ${clip.script}` : 'no words'];
  const parts = [];
  clip.words.forEach(([text], index) => {
    const marked = inNumber(clip, index);
    if (parts.length && parts.at(-1).marked === marked) parts.at(-1).words.push(text);
    else parts.push({ marked, words: [text] });
  });
  return parts.flatMap(({ marked, words }) => [marked ? element('mark', {}, words.join(' ')) : words.join(' '), ' ']);
}

function findings(clip) {
  if (!faulty(clip)) return element('p', { class: 'findings none' }, 'No problems');
  const rows = clip.problems.slice(0, SHOWN_FINDINGS).map(([kind, message]) =>
    element('li', GRAVE.has(kind) ? { class: 'grave' } : {}, element('b', {}, kindTitles[kind]), element('span', {}, message)));
  const more = clip.problems.length - SHOWN_FINDINGS;
  if (more > 0) rows.push(element('li', { class: 'more' }, `and ${more} more`));
  return element('ul', { class: 'findings', 'aria-label': 'Problems' }, ...rows);
}

/** Make a card; `options` are those of `card`. */
export function datasetCard(clip, index, options) {
  const said = element('div', { class: 'said' }, ...wording(clip));
  const made = card(clip, index, { said, aside: findings(clip), description: describe(clip), draw: drawClip, ...options });
  made.said = said;
  fit(made);
  return made;
}

/** Show a card's clip anew, which has changed. */
export function renew(made) {
  const { clip } = made;
  made.said.replaceChildren(...wording(clip));
  made.querySelector('.findings').replaceWith(findings(clip));
  made.canvas.setAttribute('aria-label', describe(clip));
  fit(made);
}

function wording(clip) {
  const facts = [clip.clip, clip.split, clip.speaker, clip.kind, `${clip.duration.toFixed(1)} s`];
  if (clip.unsure) facts.push(`least sure of “${clip.unsure[0]}” (${clip.unsure[1].toFixed(2)})`);
  return [element('p', { class: 'text' }, ...saidText(clip)), element('p', { class: 'meta' }, facts.filter(Boolean).join(' · '))];
}

function fit(made) {
  made.classList.toggle('short', !replacedWords(made.clip).length);
  made.classList.toggle('mute', made.clip.mute);
  made.play.disabled = made.clip.mute;
  if (made.clip.mute) made.play.setAttribute('aria-label', 'No sound');
}

function describe(clip) {
  const words = clip.words.map(([text, start]) => `${text} at ${start.toFixed(2)}`).join(', ') || 'no words';
  return `${words}. ${clip.problems.map(([, message]) => message).join('. ') || 'No problems'}.`;
}

// ---- drawing

/** Draw a card; `clip.outline` has the levels of its sound, one sign a point, and `clip.mute` is true where it has none. Returns the view. */
export function drawClip(card) {
  const { clip, canvas } = card, { mute } = clip;
  clip.peaks ??= [...clip.outline].map(sign => LEVELS.indexOf(sign) * 100 / 63);
  const view = { ...openView(canvas, clip, canvas.clientHeight), axis: canvas.clientHeight - 7 };
  if (!mute) drawWave(view, WAVE);
  drawSoundEnd(view);
  drawWords(view, mute ? MUTE.words : WORDS.top, mute);
  if (!mute) drawWritten(view);
  drawSeconds(view, view.axis);
  return view;
}

function drawSoundEnd({ pen, clip, colours, x, axis }) {
  if (clip.viewEnd <= clip.duration + 0.08) return;
  pen.strokeStyle = colours.alarm;
  pen.setLineDash([2, 3]);
  line(pen, x(clip.duration), 2, x(clip.duration), axis - 14);
  pen.setLineDash([]);
  pen.font = SMALL;
  pen.fillStyle = colours.alarm;
  pen.textBaseline = 'middle';
  pen.fillText('the sound ends', x(clip.duration) + 5, 10);
}

function drawWords(view, top, mute) {
  const { pen, clip, colours } = view, bad = new Set(clip.problems.flatMap(([, , words]) => words));
  label(view, 'words', top + WORDS.height / 2, colours.dim);
  clip.words.forEach(([text, start, end], index) => {
    const tone = bad.has(index) ? colours.alarm : inNumber(clip, index) ? colours.number : colours.ours;
    const style = { top, height: WORDS.height, tone, ink: bad.has(index) ? colours.alarm : colours.ink, fonts: [FONT, SMALL] };
    drawSpan(view, text, start, end, clip.words[index + 1]?.[1], style);
    if (mute) return;
    pen.strokeStyle = tone;
    pen.globalAlpha = 0.35;
    line(pen, within(view, start), WAVE.top, within(view, start), top);
    pen.globalAlpha = 1;
  });
}

function replacedWords(clip) {
  const kept = new Set(clip.words.map(String));
  return (clip.written ?? []).filter(word => !kept.has(String(word)));
}

function drawWritten(view) {
  const { clip, colours } = view, replaced = replacedWords(clip);
  if (!replaced.length) return;
  label(view, 'written', WRITTEN.top + WRITTEN.height / 2 - 2, colours.dim);
  const style = { top: WRITTEN.top, height: WRITTEN.height - 4, tone: colours.wave, ink: colours.dim, fonts: [SMALL] };
  replaced.forEach(([text, start, end], index) => drawSpan(view, text, start, end, replaced[index + 1]?.[1], style));
}

export const within = ({ clip, x }, time) => x(Math.min(Math.max(time, 0), clip.viewEnd));

function drawSpan(view, text, start, end, nextStart, { top, height, tone, ink, fonts }) {
  const { pen, clip } = view, left = within(view, start), wide = Math.max(within(view, end) - left - 1.5, 2);
  pen.globalAlpha = 0.2;
  pen.fillStyle = tone;
  pen.beginPath();
  pen.roundRect(left, top, wide, height, 4);
  pen.fill();
  pen.globalAlpha = 1;
  pen.fillRect(left, top, 1.5, height);
  pen.fillStyle = ink;
  pen.textBaseline = 'middle';
  const room = Math.max(within(view, nextStart ?? clip.viewEnd) - left, wide) - 6; // a short word's text may run into the pause behind it
  const drawn = fitted(pen, text, room, fonts);
  pen.fillText(drawn, left + 1.5 + Math.max((wide - 1.5 - pen.measureText(drawn).width) / 2, 2.5), top + height / 2 + 0.5);
}

function fitted(pen, text, room, fonts) {
  // In the largest font that fits; else cut with an ellipsis, or left out: the card's head has the words.
  for (const font of fonts) {
    pen.font = font;
    if (pen.measureText(text).width <= room) return text;
  }
  for (let length = text.length - 1; length > 0; length--)
    if (pen.measureText(text.slice(0, length) + '…').width <= room) return text.slice(0, length) + '…';
  return '';
}

/** What a search looks through. */
export const searchedText = clip => [clip.clip, clip.split, clip.speaker, clip.kind, clip.script, ...clip.words.map(word => word[0]),
  ...(clip.written ?? []).map(word => word[0]), ...clip.problems.flatMap(([kind, message]) => [kindTitles[kind], message])].join(' ').toLowerCase();
