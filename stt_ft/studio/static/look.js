// The owner's tab Look through: every clip with its words and what is wrong with it. Words and edges are corrected here, clips put away; all of
// it can be undone. studio/looking.py has what the page asks.

import { CardList, colours, listenForKeys, makeFilters, playPart, redraw, unload, xToTime } from './clip_cards.js';
import { ORDERS, WAVE, WORDS, datasetCard, drawClip, filters, renew, searchedText, setKinds, within } from './dataset_cards.js';
import { element } from './element.js';
import { announce, ask, isForControl } from './studio.js';
import { WordEditor } from './word_editor.js';

const PROGRESS_MS = 1000;
const EDGE_PX = 6; // so near to an edge it is taken hold of
const AWAY = { aside: 'Set aside', bin: 'In the bin' };

let clips = [], keeps = {}, chosen = 'All', list, editor, timer = null;
const at = {}; // the elements that change

export async function open(panel) {
  at.filters = element('div', { id: 'filters', role: 'group', 'aria-label': 'Show' });
  at.order = element('select', { id: 'order', 'aria-label': 'Order', onchange: showClips }, ...Object.keys(ORDERS).map(name => element('option', { value: name }, name)));
  at.search = element('input', { id: 'search', type: 'search', placeholder: 'Search words, names, problems', autocomplete: 'off', 'aria-label': 'Search words, names and problems', oninput: showClips });
  at.count = element('p', { id: 'count', role: 'status', class: 'dim' });
  at.undo = element('button', { type: 'button', disabled: true, onclick: () => step('undo') }, 'Undo');
  at.redo = element('button', { type: 'button', disabled: true, onclick: () => step('redo') }, 'Redo');
  at.progress = element('p', { class: 'dim', role: 'status', id: 'progress' });
  at.message = element('p', { class: 'alarm', role: 'alert' });
  at.list = element('div', { id: 'list' });
  panel.replaceChildren(element('h1', { class: 'hidden' }, 'Look through'), element('div', { class: 'dataset-clips' },
    element('div', { class: 'toolbar' }, at.filters, at.order, at.search, at.count, element('span', { class: 'row steps' }, at.undo, at.redo)),
    at.progress, at.message, keysHelp(), at.list));
  list = new CardList(at.list, at.count, makeCard);
  editor = new WordEditor({ change, hear: playPart, putAway, select });
  listenForKeys(at.search);
  document.addEventListener('keydown', event => { if (panel.offsetParent) onkey(event); });
}

export const shown = () => refresh();
export const hidden = () => { editor.flush(); clearTimeout(timer); };

function keysHelp() {
  const keys = [['J K', 'next and previous clip'], ['Space', 'play'], ['← →', 'move in time'], ['N P', 'next and previous word'], ['H', 'hear the word'],
    ['Enter', 'write it anew'], ['Shift ← →', 'its start, by 10 ms'], ['Shift ↓ ↑', 'its end, by 10 ms'], ['I', 'a word more, behind it'], ['X', 'remove it'],
    ['A', 'set the clip aside'], ['Delete', 'the clip to the bin'], ['U', 'undo'], ['R', 'redo'], ['/', 'search']];
  return element('details', { class: 'look-keys dim' }, element('summary', {}, 'Keys'),
    element('ul', {}, ...keys.map(([key, does]) => element('li', {}, ...key.split(' ').flatMap(one => [element('kbd', {}, one), ' ']), does))));
}

// ---- the list

const keyOf = clip => clip.number ?? clip.clip;

async function refresh() {
  let told;
  try {
    told = await ask('GET', 'api/look');
  } catch (error) { tell(error.message); return; }
  setKinds(told.titles, told.grave);
  const before = new Map(clips.map(clip => [keyOf(clip), clip]));
  const isSame = told.clips.length === clips.length && told.clips.every(clip => before.has(keyOf(clip)));
  clips = told.clips.map(clip => {
    const known = before.get(keyOf(clip));
    if (!known) return clip;
    if (known.stamp !== clip.stamp) forgetSound(known);
    return Object.assign(known, clip);
  });
  keeps = Object.fromEntries(Object.entries(filters()).map(([name, keep]) => [name, clip => !clip.away && keep(clip)]));
  for (const [away, name] of Object.entries({ aside: 'Set aside', bin: 'Bin' })) keeps[name] = clip => clip.away === away;
  if (!(chosen in keeps)) chosen = 'All';
  const totals = Object.fromEntries(Object.entries(keeps).map(([name, keep]) => [name, clips.filter(keep).length]));
  makeFilters(at.filters, totals, name => { chosen = name; showClips(); }, chosen);
  showSteps(told);
  if (isSame) at.list.querySelectorAll('.clip').forEach(card => { if (!card.clip.away) renew(card), redraw(card); });
  else showClips();
  watch();
}

function showClips() {
  editor.flush();
  const wanted = at.search.value.trim().toLowerCase();
  const shown = clips.map((clip, index) => [clip, index]).filter(([clip]) => keeps[chosen](clip) && (!wanted || searchedText(clip).includes(wanted)));
  list.show(shown.sort(([one], [other]) => ORDERS[at.order.value](one, other)), `${shown.length} of ${clips.filter(clip => !clip.away).length}`);
}

/** Say how many sounds have been listened to, and show what was found once all have been. */
async function watch() {
  clearTimeout(timer);
  try {
    const { heard, of, done } = await ask('GET', 'api/look/progress');
    const wasBusy = at.progress.textContent !== '';
    at.progress.textContent = done ? '' : `Listening for faults of the sound: ${heard} of ${of} clips`;
    if (!done) timer = setTimeout(watch, PROGRESS_MS);
    else if (wasBusy) await refresh();
  } catch { timer = setTimeout(watch, 4 * PROGRESS_MS); }
}

function makeCard(clip, index) {
  const made = datasetCard(clip, index, { draw, sound, press });
  if (clip.away) {
    const back = element('button', { type: 'button', class: 'button', onclick: () => step('undo', clip.number) }, 'Bring back');
    made.querySelector('.findings').replaceWith(element('p', { class: 'findings away' }, element('b', {}, AWAY[clip.away]), ' ', back));
    return made;
  }
  const edit = element('button', { type: 'button', class: 'button edit', 'aria-expanded': 'false', onclick: () => choose(made, editor.card === made ? null : clip.problems[0]?.[2][0] ?? 0) }, 'Edit');
  made.querySelector('.clip-head').append(edit);
  return made;
}

// ---- sound, from the studio

const whichSound = clip => new URLSearchParams(clip.away ? { number: clip.number } : { clip: clip.clip });

async function sound({ clip }) {
  if (!clip.url) {
    const answer = await fetch(`api/look/sound?${whichSound(clip)}`);
    if (!answer.ok) { tell((await answer.json()).error); return ''; }
    clip.url = URL.createObjectURL(await answer.blob());
  }
  return clip.url;
}

function forgetSound(clip) {
  if (clip.url) URL.revokeObjectURL(clip.url);
  clip.url = clip.outline = clip.peaks = undefined;
  const card = [...at.list.querySelectorAll('.clip')].find(card => card.clip === clip);
  if (card) unload(card);
}

async function fetchOutline(card) {
  const { clip } = card;
  clip.outline = '';
  try {
    const { outline, duration, mute } = await ask('GET', `api/look/outline?${whichSound(clip)}`);
    const { peaks, ...now } = { ...clip, outline, mute, duration: duration ?? clip.duration };
    Object.assign(clip, now, { peaks: undefined, viewEnd: Math.max(clip.viewEnd, now.duration) });
    if (!clip.away) renew(card);
    redraw(card);
  } catch { clip.outline = undefined; }
}

// ---- drawing

function draw(card) {
  const { clip } = card;
  if (clip.outline === undefined) fetchOutline(card);
  const view = drawClip(card);
  if (editor.card !== card || editor.word === null || !clip.words[editor.word]) return;
  const { pen } = view, [, start, end] = clip.words[editor.word];
  const top = WAVE.top, height = WORDS.top + WORDS.height - WAVE.top, left = within(view, start), right = within(view, end);
  pen.fillStyle = colours.number;
  pen.globalAlpha = 0.12;
  pen.fillRect(left, top, right - left, height);
  pen.globalAlpha = 1;
  for (const edge of [left, right]) {
    pen.fillRect(edge - 1, top, 2, height);
    pen.beginPath();
    pen.roundRect(edge - 3.5, top + 18, 7, 16, 3);
    pen.fill();
  }
}

// ---- choosing words, dragging edges

/** Show the editor at a word of a card, or nowhere. */
function choose(card, word) {
  const before = editor.card, top = card.getBoundingClientRect().top;
  editor.open(word === null ? null : card, word);
  for (const one of new Set([before, card])) one?.querySelector('.edit')?.setAttribute('aria-expanded', String(one === editor.card));
  if (before && before !== card) redraw(before);
  redraw(card);
  scrollBy(0, card.getBoundingClientRect().top - top); // an editor that closes above must not move the card away under the pointer
}

function select(card, word) {
  choose(card, word);
  const chosen = card.clip.words[word];
  if (chosen) announce(`Word ${word + 1} of ${card.clip.words.length}: ${chosen[0]}, ${chosen[1].toFixed(2)} to ${chosen[2].toFixed(2)} seconds`);
}

function press(card, time, event) {
  const { clip } = card, width = card.timeline.clientWidth, near = EDGE_PX * clip.viewEnd / width;
  const y = event.clientY - card.timeline.getBoundingClientRect().top;
  const isSelected = index => editor.card === card && editor.word === index;
  const isOnWords = y >= WORDS.top - 4 && y <= WORDS.top + WORDS.height + 4;
  if (clip.away || clip.mute) return false;
  const edges = clip.words.flatMap(([, start, end], index) => [[index, 'start', Math.abs(start - time)], [index, 'end', Math.abs(end - time)]])
    .filter(([index, , far]) => far <= near && (isOnWords || isSelected(index)))
    .sort((one, other) => isSelected(other[0]) - isSelected(one[0]) || one[2] - other[2]);
  const [word, edge] = edges[0] ?? [isOnWords ? clip.words.findIndex(([, start, end]) => time >= start && time <= end) : -1];
  if (word < 0 || !clip.words[word]) return false;
  choose(card, word);
  card.timeline.focus({ preventScroll: true });
  if (edge) drag(card, word, edge, event);
  event.preventDefault();
  return true;
}

function drag(card, word, edge, { pointerId, clientX }) {
  const { timeline, clip } = card;
  let isMoved = false;
  const move = event => {
    isMoved ||= Math.abs(event.clientX - clientX) > 2;
    const box = timeline.getBoundingClientRect();
    if (isMoved) editor.move(edge, xToTime(clip, box.width, event.clientX - box.left));
    redraw(card);
  };
  const end = () => {
    timeline.removeEventListener('pointermove', move);
    editor.flush();
  };
  timeline.setPointerCapture(pointerId);
  timeline.addEventListener('pointermove', move);
  timeline.addEventListener('pointerup', end, { once: true });
  timeline.addEventListener('pointercancel', end, { once: true });
}

// ---- changes

/** Put `words` in the place of `old` words from `place` on; the card shows what became of it. Returns whether it was done. */
async function change(card, place, old, words) {
  tell('');
  const { clip } = card;
  try {
    const told = await ask('POST', 'api/look/words', { clip: clip.clip, version: clip.version, at: place, old, words });
    Object.assign(clip, told.clip);
    showSteps(told);
    announce('Saved');
  } catch (error) {
    tell(error.message);
    announce(error.message);
    await refresh();
    return false;
  } finally {
    renew(card);
    redraw(card);
    editor.show();
  }
  return true;
}

async function putAway(card, where) {
  tell('');
  const cards = [...at.list.querySelectorAll('.clip')], next = cards[cards.indexOf(card) + 1] ?? cards[cards.indexOf(card) - 1];
  try {
    await editor.flush();
    await ask('POST', 'api/look/away', { clip: card.clip.clip, where });
    unload(card);
    announce(where === 'bin' ? 'In the bin. U brings it back.' : 'Set aside. U brings it back.');
  } catch (error) { tell(error.message); return; }
  editor.open(null, null);
  const wanted = next?.clip;
  await refresh();
  focusOn(wanted);
}

async function step(what, number) {
  tell('');
  try {
    await editor.flush();
    const told = await ask('POST', `api/look/${what}`, number === undefined ? {} : { number });
    announce(`${what === 'undo' ? 'Undone' : 'Done again'}: ${nameOf(told.did)}`);
    await refresh();
    editor.show();
    focusOn(clips.find(clip => !clip.away && clip.clip === told.did.clip));
  } catch (error) {
    tell(error.message);
    await refresh();
  }
}

function focusOn(clip) {
  const card = clip && [...at.list.querySelectorAll('.clip')].find(card => card.clip === clip);
  card?.timeline.focus({ preventScroll: true });
  card?.scrollIntoView({ block: 'nearest' });
}

const nameOf = ({ kind, clip }) => ({ words: 'words of ', aside: 'setting aside ', bin: 'throwing away ' })[kind] + clip;

function showSteps({ undo, redo }) {
  for (const [button, name, told] of [[at.undo, 'Undo', undo], [at.redo, 'Redo', redo]]) {
    button.disabled = !told;
    button.title = told ? `${name}: ${nameOf(told)}` : '';
  }
}

function tell(line) { at.message.textContent = line; }

// ---- keys

function onkey(event) {
  if (event.target.closest('input, select')) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z') {
    event.preventDefault();
    step(event.shiftKey ? 'redo' : 'undo');
    return;
  }
  if (isForControl(event)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, card = event.target.closest('.clip');
  if (key === 'u' || key === 'r') step(key === 'u' ? 'undo' : 'redo');
  else if (!card || card.clip.away || !onCardKey(event, key, card)) return;
  event.preventDefault();
}

/** Do what a key means on a card; returns whether it means anything. */
function onCardKey(event, key, card) {
  const { words } = card.clip, word = editor.card === card ? editor.word : null, has = word !== null && words[word];
  const edges = { ArrowLeft: ['start', -1], ArrowRight: ['start', 1], ArrowUp: ['end', 1], ArrowDown: ['end', -1] };
  if (key === 'n') select(card, word === null ? 0 : Math.min(word + 1, words.length - 1));
  else if (key === 'p') select(card, word === null ? words.length - 1 : Math.max(word - 1, 0));
  else if (key === 'a') putAway(card, 'aside');
  else if (key === 'Delete') putAway(card, 'bin');
  else if (key === 'Escape' && editor.card === card) choose(card, null);
  else if (key === 'i') { if (editor.card !== card) choose(card, words.length - 1); editor.insert(); }
  else if (!has) return false;
  else if (key === 'h') editor.hear();
  else if (key === 'x') editor.remove();
  else if (key === 'Enter') editor.write();
  else if (event.shiftKey && key in edges) { const [edge, by] = edges[key]; editor.nudge(edge, by); redraw(card); }
  else return false;
  return true;
}
