// The row below a clip in which one of its words is written anew, moved, heard, removed, and the clip put away. There is one; it goes from card to card.

import { element } from './element.js';

const STEP_S = 0.01, LEAST_S = 0.02;
const SAVE_AFTER_MS = 600; // keys that move an edge step by step are one change
const NEW_WORD_S = 0.3;

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
const rounded = time => Math.round(time * 1000) / 1000;

export class WordEditor {
  /**
   * `change(card, place, old, words)` saves, `hear(card, start, end)` plays, `putAway(card, where)` and `select(card, word)` do what they say.
   * `card` and `word` are where the editor stands, or null.
   */
  constructor({ change, hear, putAway, select }) {
    Object.assign(this, { change, play: hear, putAway, select, card: null, word: null });
    this.moved = null; // words whose edges have moved and are not saved: { place, words }
    const button = (name, text, does, attributes = {}) => element('button', { type: 'button', 'aria-label': name, title: name, onclick: does, ...attributes }, text);
    const seconds = (edge, name) => element('input', { type: 'number', step: STEP_S, min: 0, 'aria-label': name, class: 'seconds', onchange: () => this.#retime(edge) });
    this.text = element('input', { class: 'word', 'aria-label': 'Word', autocomplete: 'off', spellcheck: 'false', maxlength: 200, onchange: () => this.#rewrite(), onkeydown: event => this.#onTextKey(event) });
    this.start = seconds('start', 'Start in seconds');
    this.end = seconds('end', 'End in seconds');
    this.ofWord = element('span', { class: 'row of-word' },
      button('Previous word', '‹', () => select(this.card, Math.max(this.word - 1, 0))), this.text, button('Next word', '›', () => select(this.card, Math.min(this.word + 1, this.card.clip.words.length - 1))),
      element('span', { class: 'times' }, this.start, element('span', { 'aria-hidden': 'true' }, '–'), this.end, element('span', { class: 'dim' }, 's')),
      button('Hear the word', 'Hear', () => this.hear()), button('Remove the word', 'Remove', () => this.remove()));
    this.row = element('div', { class: 'row editor', role: 'group', 'aria-label': 'Correct' }, this.ofWord,
      button('Add a word behind this one', 'Add word', () => this.insert()), element('span', { class: 'grow' }),
      button('Set the clip aside', 'Set aside', () => putAway(this.card, 'aside')), button('Move the clip to the bin', 'Delete', () => putAway(this.card, 'bin')));
  }

  /** Go to a word of a card, or away. */
  open(card, word) {
    if (card !== this.card || word !== this.word) this.flush();
    Object.assign(this, { card, word: card?.clip.words.length ? word : null });
    if (card) card.append(this.row);
    else this.row.remove();
    this.show();
  }

  /** Show the word as it is now. */
  show() {
    this.#giveUp();
    if (!this.card) return;
    if (this.word !== null) this.word = this.card.clip.words.length ? Math.min(this.word, this.card.clip.words.length - 1) : null;
    this.ofWord.hidden = this.word === null;
    if (this.word === null) return;
    const [text, start, end] = this.card.clip.words[this.word];
    this.text.value = text;
    this.start.value = start.toFixed(3);
    this.end.value = end.toFixed(3);
  }

  hear() {
    const [, start, end] = this.card.clip.words[this.word];
    this.play(this.card, start, end);
  }

  write() {
    this.text.focus();
    this.text.select();
  }

  /** Move an edge to `time`. A neighbour in the way ends, or begins, where this word now begins, or ends. */
  move(edge, time) {
    const { clip } = this.card, words = clip.words, [text, start, end] = words[this.word], before = words[this.word - 1], after = words[this.word + 1];
    const near = [];
    if (edge === 'start') {
      const now = rounded(clamp(time, before ? before[1] + LEAST_S : 0, end - LEAST_S));
      if (before) near.push([before[0], before[1], Math.min(before[2], now)]);
      near.push([text, now, end]);
    } else {
      const now = rounded(clamp(time, start + LEAST_S, after ? after[2] - LEAST_S : Math.max(clip.duration, end)));
      near.push([text, start, now]);
      if (after) near.push([after[0], Math.max(after[1], now), after[2]]);
    }
    const place = edge === 'start' && before ? this.word - 1 : this.word;
    near.forEach((word, index) => this.#keep(place + index, word));
    this.show();
  }

  /** Move an edge by steps of 10 ms; it is saved when no further step follows. */
  nudge(edge, steps) {
    this.move(edge, this.card.clip.words[this.word][edge === 'start' ? 1 : 2] + steps * STEP_S);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), SAVE_AFTER_MS);
  }

  /** Save what has moved. */
  async flush() {
    clearTimeout(this.timer);
    const { moved } = this;
    this.moved = null;
    if (moved) await this.change(moved.card, moved.place, moved.words.length, moved.words);
  }

  async remove() {
    await this.flush();
    await this.change(this.card, this.word, 1, []);
    this.card?.timeline.focus({ preventScroll: true });
  }

  /** Add a word behind this one, where there is room, and let it be written. */
  async insert() {
    await this.flush();
    const { words, duration } = this.card.clip, place = this.word === null ? 0 : this.word + 1;
    const [text, from, to] = words[place - 1] ?? ['', 0, 0], limit = words[place]?.[1] ?? duration, half = rounded((from + to) / 2);
    const end = rounded(Math.min(to + NEW_WORD_S, limit));
    if (end - to >= LEAST_S) this.isNew = { place, old: 0, words: [['', to, end]] };
    else if (to - from >= 2 * LEAST_S) this.isNew = { place, old: 1, words: [[text, from, half], ['', half, to]] };
    else return;
    this.text.value = '';
    this.text.placeholder = 'the new word';
    this.ofWord.hidden = false;
    this.text.focus();
  }

  #keep(place, word) {
    this.card.clip.words[place] = word;
    const places = this.moved ? [this.moved.place, this.moved.place + this.moved.words.length - 1, place] : [place];
    const first = Math.min(...places), last = Math.max(...places);
    this.moved = { card: this.card, place: first, words: this.card.clip.words.slice(first, last + 1) };
  }

  async #rewrite() {
    const text = this.text.value.trim();
    if (this.isNew) {
      const { place, old, words } = this.isNew;
      if (!text) { this.show(); return; }
      words.at(-1)[0] = text;
      this.word = place;
      await this.change(this.card, place - old, old, words);
      return;
    }
    await this.flush();
    const [before, start, end] = this.card.clip.words[this.word];
    if (text !== before) await this.change(this.card, this.word, 1, [[text, start, end]]);
  }

  async #retime(edge) {
    const time = this[edge].valueAsNumber;
    if (Number.isFinite(time)) this.move(edge, time);
    await this.flush();
  }

  #onTextKey(event) {
    if (event.key === 'Escape') this.show();
    else if (event.key !== 'Enter') return;
    event.preventDefault();
    this.card.timeline.focus({ preventScroll: true }); // and with it, `change`
  }

  #giveUp() {
    this.isNew = null;
    this.text.placeholder = '';
  }
}
