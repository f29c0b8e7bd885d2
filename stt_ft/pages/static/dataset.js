// The page of a dataset: its clips, filtered and in order.

import { CardList, embedded, listenForKeys, makeFilters, shownOf, switchesTheme } from './clip_cards.js';
import { ORDERS, datasetCard, filters, searchedText, setKinds, totalsOf } from './dataset_cards.js';
import { element } from './element.js';

const { clips, titles, grave, counts } = JSON.parse(embedded('data'));
setKinds(titles, grave);
clips.forEach((clip, index) => { clip.outline = embedded(`outline-${index}`); clip.mute = !embedded(`audio-${index}`); });

const keeps = filters(), totals = totalsOf(counts), order = document.getElementById('order'), search = document.getElementById('search');
const sound = ({ index }) => embedded(`audio-${index}`);
const list = new CardList(document.getElementById('list'), document.getElementById('count'), (clip, index) => datasetCard(clip, index, { sound }));
let chosen = 'All';

function showClips() {
  const wanted = search.value.trim().toLowerCase();
  const shown = clips.map((clip, index) => [clip, index]).filter(([clip]) => keeps[chosen](clip) && (!wanted || searchedText(clip).includes(wanted)));
  list.show(shown.sort(([one], [other]) => ORDERS[order.value](one, other)), shownOf(shown, { cards: clips.length, totals, chosen, wanted }));
}

makeFilters(document.getElementById('filters'), totals, name => { chosen = name; showClips(); });
Object.keys(titles).forEach(kind => document.querySelector(`[data-filter="${titles[kind]}"]`)?.classList.add('passing')); // chosen in the table above; it stands here while it is
order.append(...Object.keys(ORDERS).map(name => element('option', { value: name }, name)));
order.addEventListener('change', showClips);
search.addEventListener('input', showClips);
listenForKeys(search);
switchesTheme(document.getElementById('theme'));
document.querySelectorAll('[data-kind]').forEach(button => button.addEventListener('click', () => {
  document.querySelector(`[data-filter="${titles[button.dataset.kind]}"]`).click();
  document.getElementById('clips').scrollIntoView();
}));
showClips();
