// What every page of clips shares: a time axis, a list of cards drawn when they come into view, one player for all of them, keys, dark and light.

import { element } from './element.js';

export const GUTTER = 74, RIGHT = 12;
export const FONT = '12px Inter, system-ui, "Segoe UI", Roboto, sans-serif', SMALL = '11px Inter, system-ui, "Segoe UI", Roboto, sans-serif';
const PLAY = '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2.5 0.8v12.4L13 7z"/></svg>';
const PAUSED = '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2 1h3.6v12H2zM8.4 1H12v12H8.4z"/></svg>';
const COLOURS = ['panel', 'line', 'ink', 'dim', 'theirs', 'ours', 'number', 'alarm', 'warn', 'wave'];
const CARDS_AT_ONCE = 60;

export const embedded = id => document.getElementById(id)?.textContent ?? '';

// ---- drawing

export const timeToX = (clip, width, time) => GUTTER + (width - GUTTER - RIGHT) * time / clip.viewEnd;
export const xToTime = (clip, width, x) => Math.min(Math.max((x - GUTTER) / (width - GUTTER - RIGHT), 0), 1) * clip.viewEnd;

function palette() {
  // A canvas does not understand light-dark(): let the browser work each colour out on an element first.
  const probe = document.body.appendChild(document.createElement('i'));
  const read = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const colours = Object.fromEntries(COLOURS.map(name => [name, read(name)]));
  probe.remove();
  return colours;
}
export let colours = palette();

export function openView(canvas, clip, height) {
  const width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  return { pen, clip, width, colours, x: time => timeToX(clip, width, time) };
}

export function line(pen, fromX, fromY, toX, toY) {
  pen.beginPath();
  pen.moveTo(fromX, fromY);
  pen.lineTo(toX, toY);
  pen.stroke();
}

export function label({ pen }, text, y, colour, weight = '') {
  pen.font = `${weight} ${SMALL}`.trim();
  pen.fillStyle = colour;
  pen.textAlign = 'right';
  pen.textBaseline = 'middle';
  pen.fillText(text, GUTTER - 10, y);
  pen.textAlign = 'left';
}

export function drawWave(view, { top, height }) {
  const { pen, clip, colours, width } = view, middle = top + height / 2;
  label(view, 'sound', middle, colours.dim);
  pen.fillStyle = colours.wave;
  const step = 3, perSecond = clip.peaks.length / clip.duration;
  for (let left = GUTTER; left < width - RIGHT; left += step) {
    const from = Math.floor(xToTime(clip, width, left) * perSecond);
    const to = Math.max(Math.ceil(xToTime(clip, width, left + step) * perSecond), from + 1);
    const half = Math.max(Math.max(0, ...clip.peaks.slice(from, to)) / 100 * height / 2, 0.6);
    pen.beginPath();
    pen.roundRect(left, middle - half, step - 1.2, 2 * half, 0.9);
    pen.fill();
  }
}

export function drawSeconds({ pen, clip, colours, x }, y) {
  pen.font = SMALL;
  pen.fillStyle = colours.dim;
  pen.textBaseline = 'alphabetic';
  const step = clip.viewEnd > 60 ? 10 : clip.viewEnd > 20 ? 5 : 1;
  for (let second = 0; second <= clip.viewEnd; second += step) {
    pen.textAlign = second ? 'center' : 'left';
    pen.fillText(second ? String(second) : '0 s', x(second), y);
  }
  pen.textAlign = 'left';
}

// ---- cards

/**
 * Make the card of a clip. `draw(card)` draws it when it is in view; `sound(card)` returns the address of its sound, or a promise of it, and
 * null where it has none; `press(card, time, event)` may take a press on the time line for itself by returning true.
 */
export function card(clip, index, { said, aside, description, draw, sound, press = () => false }) {
  const play = element('button', { class: 'play', type: 'button', 'aria-label': 'Play' });
  play.innerHTML = PLAY;
  const canvas = element('canvas', { role: 'img', 'aria-label': description });
  const playhead = element('div', { class: 'playhead' });
  const timeline = element('div', {
    class: 'timeline', role: 'slider', tabindex: '0', 'aria-label': `Time in ${clip.clip}`,
    'aria-valuemin': '0', 'aria-valuemax': clip.duration.toFixed(2), 'aria-valuenow': '0', 'aria-valuetext': '0 seconds',
  }, canvas, playhead);
  const made = element('article', { class: 'clip', 'data-clip': clip.clip }, element('div', { class: 'clip-head' }, play, said, aside), timeline);
  Object.assign(made, { clip, index, canvas, playhead, timeline, play, draw, sound });
  play.addEventListener('click', () => toggle(made));
  timeline.addEventListener('pointerdown', event => {
    const box = timeline.getBoundingClientRect(), time = xToTime(clip, box.width, event.clientX - box.left);
    if (!press(made, time, event)) seek(made, time);
  });
  timeline.addEventListener('keydown', event => onTimelineKey(event, made));
  inView.observe(made);
  return made;
}

/** Draw a card, where it is in view: its clip has changed. */
export function redraw(card) {
  if (card.visible) card.draw(card), placePlayhead(card);
}

const inView = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    target.visible = isIntersecting;
    if (isIntersecting) redraw(target);
    else target.canvas.width = target.canvas.height = 0; // gives the pixels back: five hundred canvases are gigabytes
  }
}, { rootMargin: '300px' });

function redrawAll() {
  colours = palette();
  document.querySelectorAll('.clip').forEach(redraw);
}

// ---- the list: some cards at first, more when its end comes near

export class CardList {
  #waiting = [];
  #atEnd = new IntersectionObserver(entries => { if (entries.some(entry => entry.isIntersecting)) this.#showMore(); }, { rootMargin: '1200px' });

  /** A list in the element `list` whose cards `make(clip, index)` makes; the element `count` says how many there are. */
  constructor(list, count, make) { Object.assign(this, { list, count, make }); }

  /** Show [clip, index] pairs, and say of how many clips they are (`told`). */
  show(shown, told) {
    this.list.querySelectorAll('.clip').forEach(card => inView.unobserve(card));
    this.list.replaceChildren();
    this.#waiting = shown;
    this.count.textContent = told;
    this.#showMore();
  }

  #showMore() {
    this.list.append(...this.#waiting.splice(0, CARDS_AT_ONCE).map(([clip, index]) => this.make(clip, index)));
    this.#atEnd.disconnect();
    if (this.#waiting.length) this.#atEnd.observe(this.list.lastElementChild);
  }
}

/** Say how many cards are shown; `totals` is filter -> clips that it keeps, more than there are cards where not every clip has one. */
export function shownOf(shown, { cards, totals, chosen, wanted }) {
  if (cards === totals.All) return `${shown.length} of ${cards}`;
  return wanted ? `${shown.length} of the ${cards} cards` : `showing ${shown.length} of ${totals[chosen]}`;
}

/** Fill `bar` with a button for each filter that keeps a clip (`totals` has how many); `onChange(name)` is called when one is pressed. */
export function makeFilters(bar, totals, onChange, chosen = Object.keys(totals)[0]) {
  const press = chosen => bar.querySelectorAll('button').forEach(one => one.setAttribute('aria-pressed', String(one.dataset.filter === chosen)));
  bar.replaceChildren();
  for (const [name, number] of Object.entries(totals)) {
    if (!number && name !== chosen) continue;
    const button = element('button', { type: 'button', 'data-filter': name }, name, element('span', { class: 'dim' }, String(number)));
    button.addEventListener('click', () => { press(name); onChange(name); });
    bar.append(button);
  }
  press(chosen);
}

// ---- sound: one player for all clips

const player = new Audio();
let playing = null, cursor = 0, until = Infinity; // `until`: where a part ends that is played alone

async function load(card) {
  if (playing === card) return;
  if (playing) playing.playhead.classList.remove('on');
  player.pause();
  playing = card;
  cursor = 0;
  card.playhead.classList.add('on');
  const source = card.sound(card);
  const address = source instanceof Promise ? await source : source;
  if (playing === card) player.src = address;
}

async function toggle(card) {
  if (card.play.disabled) return;
  until = Infinity;
  await load(card);
  if (player.paused) player.play().catch(() => placePlayhead(card));
  else player.pause();
}

/** Play from `start` to `end` seconds and no further. */
export async function playPart(card, start, end) {
  if (card.play.disabled) return;
  await load(card);
  until = end;
  seek(card, start);
  player.play().catch(() => placePlayhead(card));
}

function seek(card, time) {
  if (card.play.disabled) return;
  load(card);
  cursor = Math.min(Math.max(time, 0), card.clip.duration);
  if (player.readyState) player.currentTime = cursor;
  placePlayhead(card);
}

/** What has been loaded of this card is no longer its sound, or must not go on. */
export function unload(card) {
  if (playing !== card) return;
  player.pause();
  card.playhead.classList.remove('on');
  playing = null;
}

function placePlayhead(card) {
  if (card !== playing) return;
  card.playhead.style.transform = `translateX(${timeToX(card.clip, card.timeline.clientWidth, cursor)}px)`;
  card.timeline.setAttribute('aria-valuenow', cursor.toFixed(2));
  card.timeline.setAttribute('aria-valuetext', `${cursor.toFixed(1)} seconds`);
}

function follow() {
  if (!playing || player.paused) return;
  cursor = player.currentTime;
  placePlayhead(playing);
  if (cursor >= until) { player.pause(); until = Infinity; }
  requestAnimationFrame(follow);
}

function showButton() {
  document.querySelectorAll('.clip').forEach(card => {
    const on = card === playing && !player.paused;
    card.play.innerHTML = on ? PAUSED : PLAY;
    card.play.setAttribute('aria-label', on ? 'Pause' : 'Play');
  });
}
player.addEventListener('loadedmetadata', () => { if (cursor) player.currentTime = cursor; });
player.addEventListener('play', () => { showButton(); follow(); });
player.addEventListener('pause', showButton);
player.addEventListener('ended', () => { cursor = 0; placePlayhead(playing); showButton(); });

// ---- keys

function onTimelineKey(event, card) {
  if (event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = playing === card ? cursor : 0;
  const moves = { ArrowLeft: at - 0.25, ArrowRight: at + 0.25, Home: 0, End: card.clip.duration };
  if (event.key in moves) seek(card, moves[event.key]);
  else if (event.key === ' ') toggle(card);
  else return;
  event.preventDefault();
}

function step(direction) {
  const cards = [...document.querySelectorAll('.clip')].filter(card => card.offsetParent), here = cards.findIndex(card => card.contains(document.activeElement));
  const next = cards[Math.min(Math.max(here + direction, 0), cards.length - 1)];
  if (!next) return;
  next.timeline.focus({ preventScroll: true });
  next.scrollIntoView({ block: 'nearest', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
}

/** J and K go from clip to clip, / to the field `search`. */
export function listenForKeys(search) {
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !search.offsetParent) return;
    if (event.target === search) { if (event.key === 'Escape') search.blur(); return; }
    if (event.target.closest('input, select, textarea')) return;
    if (event.key === 'j') step(1);
    else if (event.key === 'k') step(-1);
    else if (event.key === '/') { event.preventDefault(); search.focus(); }
  });
}

// ---- light and dark

/** Make a button switch between the two. */
export function switchesTheme(button) {
  button.addEventListener('click', () => {
    const root = document.documentElement, dark = getComputedStyle(root).colorScheme === 'dark' ||
      (!root.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
    root.dataset.theme = dark ? 'light' : 'dark';
    redrawAll();
  });
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawAll);
addEventListener('resize', redrawAll);
addEventListener('theme', redrawAll);
