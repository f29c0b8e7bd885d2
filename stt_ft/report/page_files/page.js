// The list of clips: cards made as they are needed and drawn when they come into view, filters, sound and keys.

const { roles, rule, clips } = JSON.parse(document.getElementById('data').textContent);
const PLAY = '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2.5 0.8v12.4L13 7z"/></svg>';
const PAUSED = '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2 1h3.6v12H2zM8.4 1H12v12H8.4z"/></svg>';
const FILTERS = {
  'All': () => true,
  'Numbers': clip => clip.kind === 'number',
  'Ordinary': clip => clip.kind === 'ordinary',
  'Better': clip => ['no longer cut off', 'number newly right'].includes(clip.change),
  'Worse': clip => ['newly cut off', 'number newly wrong'].includes(clip.change),
  'Cut off': clip => Object.values(clip.models).some(model => model.cutOff !== null),
};
let colours = palette();
const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) name === 'class' ? made.className = value : made.setAttribute(name, value);
  made.append(...children);
  return made;
};

// ---- cards

function spokenText(clip) {
  const inNumber = ([, start, end]) => clip.spans.some(([from, to]) => start >= from - 1e-6 && end <= to + 1e-6);
  const parts = [];
  for (const word of clip.reference) {
    const marked = inNumber(word);
    if (parts.length && parts.at(-1).marked === marked) parts.at(-1).words.push(word[0]);
    else parts.push({ marked, words: [word[0]] });
  }
  return parts.flatMap(({ marked, words }) => [marked ? element('mark', {}, words.join(' ')) : words.join(' '), ' ']);
}

function outcome(model) {
  if (model.cutOff !== null) return [`cuts off at ${model.cutOff.toFixed(2)} s`, 'cut'];
  if (model.latency === null) return ['never ends the turn', 'cut'];
  return model.latency < 0 ? [`ends the turn ${(-model.latency).toFixed(2)} s early`, ''] : [`ends the turn after ${model.latency.toFixed(2)} s`, ''];
}

function makeCard(clip, index) {
  const play = element('button', { class: 'play', type: 'button', 'aria-label': 'Play' });
  play.innerHTML = PLAY;
  const meta = [clip.clip, clip.speaker, clip.change].filter(Boolean).join(' · ');
  const outcomes = element('dl', { class: 'outcomes' }, ...Object.entries(clip.models).map(([name, model]) => {
    const [text, tone] = outcome(model);
    return element('div', { class: roles[name] }, element('dt', {}, name), element('dd', { class: tone }, text));
  }));
  const canvas = element('canvas', { role: 'img', 'aria-label': describe(clip) });
  const playhead = element('div', { class: 'playhead' });
  const timeline = element('div', {
    class: 'timeline', role: 'slider', tabindex: '0', 'aria-label': `Time in ${clip.clip}`,
    'aria-valuemin': '0', 'aria-valuemax': clip.duration.toFixed(2), 'aria-valuenow': '0', 'aria-valuetext': '0 seconds',
  }, canvas, playhead);
  const said = element('div', { class: 'said' }, element('p', { class: 'text' }, ...spokenText(clip)), element('p', { class: 'meta' }, meta));
  const card = element('article', { class: 'clip', 'data-clip': clip.clip }, element('div', { class: 'clip-head' }, play, said, outcomes), timeline);
  Object.assign(card, { clip, index, canvas, playhead, timeline, play });
  play.addEventListener('click', () => toggle(card));
  timeline.addEventListener('pointerdown', event => {
    const box = timeline.getBoundingClientRect();
    seek(card, xToTime(clip, box.width, event.clientX - box.left));
  });
  timeline.addEventListener('keydown', event => onTimelineKey(event, card));
  inView.observe(card);
  return card;
}

function describe(clip) {
  const said = clip.reference.map(word => word[0]).join(' ');
  const models = Object.entries(clip.models).map(([name, model]) => `${name} wrote "${model.words.map(word => word[0]).join(' ')}" and ${outcome(model)[0]}`);
  return `Said: "${said}". ${models.join('. ')}.`;
}

const inView = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    target.visible = isIntersecting;
    if (isIntersecting) draw(target);
    else target.canvas.width = target.canvas.height = 0; // gives the pixels back: five hundred canvases are gigabytes
  }
}, { rootMargin: '300px' });

function draw(card) {
  drawTimeline(card.canvas, card.clip, { roles, rule, colours });
  placePlayhead(card);
}

function redrawAll() {
  colours = palette();
  document.querySelectorAll('.clip').forEach(card => card.visible && draw(card));
}

// ---- sound: one player for all clips

const player = new Audio();
let playing = null, cursor = 0;

function load(card) {
  if (playing === card) return;
  if (playing) playing.playhead.classList.remove('on');
  player.pause();
  player.src = document.getElementById(`audio-${card.index}`).textContent;
  playing = card;
  cursor = 0;
  card.playhead.classList.add('on');
}

function toggle(card) {
  load(card);
  if (player.paused) player.play().catch(() => placePlayhead(card));
  else player.pause();
}

function seek(card, time) {
  load(card);
  cursor = Math.min(Math.max(time, 0), card.clip.duration);
  if (player.readyState) player.currentTime = cursor;
  placePlayhead(card);
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

// ---- filters

const list = document.getElementById('list'), search = document.getElementById('search'), filters = document.getElementById('filters');
let chosen = 'All';

function showClips() {
  const wanted = search.value.trim().toLowerCase();
  const text = clip => [clip.clip, clip.speaker, clip.change, ...clip.reference.map(word => word[0]),
    ...Object.values(clip.models).flatMap(model => model.words.map(word => word[0]))].join(' ').toLowerCase();
  const shown = clips.map((clip, index) => [clip, index]).filter(([clip]) => FILTERS[chosen](clip) && (!wanted || text(clip).includes(wanted)));
  list.querySelectorAll('.clip').forEach(card => inView.unobserve(card));
  list.replaceChildren(...shown.map(([clip, index]) => makeCard(clip, index)));
  document.getElementById('count').textContent = `${shown.length} of ${clips.length}`;
  filters.querySelectorAll('button').forEach(button => button.setAttribute('aria-pressed', String(button.dataset.filter === chosen)));
}

for (const [name, keep] of Object.entries(FILTERS)) {
  const count = clips.filter(keep).length;
  if (!count) continue;
  const button = element('button', { type: 'button', 'data-filter': name }, name, element('span', { class: 'dim' }, String(count)));
  button.addEventListener('click', () => { chosen = name; showClips(); });
  filters.append(button);
}
search.addEventListener('input', showClips);

// ---- keys

function onTimelineKey(event, card) {
  const at = playing === card ? cursor : 0;
  const moves = { ArrowLeft: at - 0.25, ArrowRight: at + 0.25, Home: 0, End: card.clip.duration };
  if (event.key in moves) seek(card, moves[event.key]);
  else if (event.key === ' ') toggle(card);
  else return;
  event.preventDefault();
}

function step(direction) {
  const cards = [...document.querySelectorAll('.clip')], here = cards.findIndex(card => card.contains(document.activeElement));
  const next = cards[Math.min(Math.max(here + direction, 0), cards.length - 1)];
  if (!next) return;
  next.timeline.focus({ preventScroll: true });
  next.scrollIntoView({ block: 'nearest', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
}

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === search) { if (event.key === 'Escape') search.blur(); return; }
  if (event.key === 'j') step(1);
  else if (event.key === 'k') step(-1);
  else if (event.key === '/') { event.preventDefault(); search.focus(); }
});

// ---- light and dark

document.getElementById('theme').addEventListener('click', () => {
  const root = document.documentElement, dark = getComputedStyle(root).colorScheme === 'dark' ||
    (!root.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  root.dataset.theme = dark ? 'light' : 'dark';
  redrawAll();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawAll);
addEventListener('resize', redrawAll);

const closeup = clips.findIndex(clip => clip.change === 'no longer cut off');
document.getElementById('closeup').append(makeCard(clips[Math.max(closeup, 0)], Math.max(closeup, 0)));
showClips();
