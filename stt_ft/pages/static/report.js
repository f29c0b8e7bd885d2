// The report's clips: what was said and what became of it, filters, and which clip is shown up close.

import { CardList, card, embedded, listenForKeys, makeFilters, shownOf, switchesTheme } from './clip_cards.js';
import { element } from './element.js';
import { drawTimeline } from './timeline.js';

const { roles, rule, clips, totals } = JSON.parse(embedded('data'));

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
  if (!model.pause.length) return ['has no pause heads', ''];
  if (model.cutOff !== null) return [`cuts off${model.cutsLastWord ? ' the last word' : ''} at ${model.cutOff.toFixed(2)} s`, 'cut'];
  if (model.latency === null) return ['never ends the turn', 'cut'];
  return [`ends the turn after ${model.latency.toFixed(2)} s`, ''];
}

function makeCard(clip, index) {
  const meta = [clip.clip, clip.speaker, clip.slices.find(name => name === 'hesitant' || name === 'people'), clip.change].filter(Boolean).join(' · ');
  const outcomes = element('dl', { class: 'outcomes' }, ...Object.entries(clip.models).map(([name, model]) => {
    const [text, tone] = outcome(model);
    return element('div', { class: roles[name] }, element('dt', {}, name), element('dd', { class: tone }, text));
  }));
  const said = element('div', { class: 'said' }, element('p', { class: 'text' }, ...spokenText(clip)), element('p', { class: 'meta' }, meta));
  return card(clip, index, { said, aside: outcomes, description: describe(clip), draw, sound: ({ index }) => embedded(`audio-${index}`) });
}

function describe(clip) {
  const said = clip.reference.map(word => word[0]).join(' ');
  const models = Object.entries(clip.models).map(([name, model]) => `${name} wrote "${model.words.map(word => word[0]).join(' ')}" and ${outcome(model)[0]}`);
  return `Said: "${said}". ${models.join('. ')}.`;
}

function draw(card) {
  drawTimeline(card.canvas, card.clip, { roles, rule });
}

// ---- filters

const search = document.getElementById('search');
const list = new CardList(document.getElementById('list'), document.getElementById('count'), makeCard);
let chosen = 'All';

function showClips() {
  const wanted = search.value.trim().toLowerCase();
  const text = clip => [clip.clip, clip.speaker, clip.change, ...clip.reference.map(word => word[0]),
    ...Object.values(clip.models).flatMap(model => model.words.map(word => word[0]))].join(' ').toLowerCase();
  const shown = clips.map((clip, index) => [clip, index]).filter(([clip]) => clip.filters.includes(chosen) && (!wanted || text(clip).includes(wanted)));
  list.show(shown, shownOf(shown, { cards: clips.length, totals, chosen, wanted }));
}

makeFilters(document.getElementById('filters'), totals, name => { chosen = name; showClips(); });
search.addEventListener('input', showClips);
listenForKeys(search);
switchesTheme(document.getElementById('theme'));

const closeup = clips.findIndex(clip => clip.change === 'no longer cut off');
document.getElementById('closeup').append(makeCard(clips[Math.max(closeup, 0)], Math.max(closeup, 0)));
showClips();
