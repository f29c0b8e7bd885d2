// One clip on a time line: waveform and what was said, where that is known, what each model wrote and when, and their pause curves.
// A transcript's word stands where it appeared in the stream, not where it was spoken: that is what an agent sees.

import { FONT, GUTTER, RIGHT, SMALL, colours, drawSeconds, drawWave, label, line, openView } from './clip_cards.js';

const HEIGHT = 272;
const WAVE = { top: 22, height: 46 }, SPOKEN = { top: 74 }, HEARD = { top: 100, row: 30 }, PAUSE = { top: 168, height: 80 };
const MAX_PUSH = 48; // a word that finds no room this near to its place is a mark without text: in long clips the card's head has the words

export function drawTimeline(canvas, clip, { roles, rule }) {
  const view = { ...openView(canvas, clip, HEIGHT), rule };
  drawNumberSpans(view);
  Object.values(clip.models).forEach(model => drawCutOffLine(view, model));
  drawWave(view, WAVE);
  if (clip.speechEnd !== null) drawSpeechEnd(view);
  if (clip.reference.length) drawSpokenWords(view);
  const models = Object.entries(clip.models);
  const drawn = models.map(([name, model], index) => drawHeardWords(view, name, model, colours[roles[name]], HEARD.top + index * HEARD.row));
  const withHeads = models.filter(([, model]) => model.pause.length);
  if (withHeads.length) drawPauseGrid(view);
  else drawSeconds(view, PAUSE.top + PAUSE.height + 16);
  withHeads.forEach(([name, model]) => drawPauseCurve(view, model, colours[roles[name]]));
  models.forEach(([name, model]) => drawVerdict(view, name, model, colours[roles[name]]));
  return drawn;
}

function drawNumberSpans({ pen, clip, colours, x }) {
  pen.globalAlpha = 0.13;
  pen.fillStyle = colours.number;
  for (const [start, end] of clip.spans) {
    pen.beginPath();
    pen.roundRect(x(start), WAVE.top - 4, x(end) - x(start), PAUSE.top + PAUSE.height - WAVE.top + 4, 5);
    pen.fill();
  }
  pen.globalAlpha = 1;
}

function drawSpeechEnd({ pen, clip, colours, x }) {
  pen.strokeStyle = colours.dim;
  pen.setLineDash([2, 3]);
  line(pen, x(clip.speechEnd), WAVE.top - 4, x(clip.speechEnd), PAUSE.top + PAUSE.height);
  pen.setLineDash([]);
  pen.font = SMALL;
  pen.fillStyle = colours.dim;
  pen.textBaseline = 'middle';
  pen.fillText('speech ends', x(clip.speechEnd) + 5, WAVE.top + 4);
}

function drawSpokenWords(view) {
  const { pen, clip, colours, x } = view;
  label(view, 'said', SPOKEN.top + 8, colours.dim);
  pen.font = FONT;
  let free = GUTTER;
  for (const [text, start, end] of clip.reference) {
    pen.fillStyle = colours.dim;
    pen.fillRect(x(start), SPOKEN.top - 2, Math.max(x(end) - x(start) - 1.5, 1), 1.5);
    const centred = (x(start) + x(end) - pen.measureText(text).width) / 2, left = Math.max(centred, free);
    if (left - centred > MAX_PUSH) continue;
    pen.fillStyle = colours.ink;
    pen.fillText(text, left, SPOKEN.top + 9);
    free = left + pen.measureText(text).width + 4;
  }
}

function drawHeardWords(view, name, model, colour, top) {
  const { pen, clip, colours, x, width } = view;
  label(view, name, top + 13, colour, '600');
  pen.strokeStyle = colours.line;
  line(pen, GUTTER, top, width - RIGHT, top);
  pen.font = `600 ${FONT}`;
  let free = GUTTER;
  for (const [text, appeared, right] of model.words) {
    const at = x(Math.min(appeared, clip.viewEnd)), wide = pen.measureText(text).width;
    const left = Math.min(Math.max(at, free), width - RIGHT - wide);
    pen.fillStyle = colour;
    pen.fillRect(at - 0.75, top - 3, 1.5, 6);
    if (left - at > MAX_PUSH) continue;
    pen.fillText(text, left, top + 14);
    if (!right) {
      pen.fillStyle = colours.alarm;
      pen.fillRect(left, top + 21.5, wide, 1.5);
    }
    free = left + wide + 5;
  }
  return model.words.length;
}

function drawPauseGrid(view) {
  const { pen, colours, rule, width } = view, bottom = PAUSE.top + PAUSE.height;
  label(view, 'pause', PAUSE.top + PAUSE.height - 34, colours.dim);
  label(view, 'probability', PAUSE.top + PAUSE.height - 20, colours.dim);
  label(view, String(rule.threshold), levelY(rule.threshold), colours.dim);
  pen.strokeStyle = colours.line;
  line(pen, GUTTER, bottom, width - RIGHT, bottom);
  pen.strokeStyle = colours.dim;
  pen.setLineDash([5, 4]);
  line(pen, GUTTER, levelY(rule.threshold), width - RIGHT, levelY(rule.threshold));
  pen.setLineDash([]);
  drawSeconds(view, bottom + 16);
}

const levelY = level => PAUSE.top + PAUSE.height * (1 - level);
const knownAt = row => (row + 1) * 0.08;

function drawPauseCurve({ pen, clip, rule, x }, model, colour) {
  const levels = model.pause[rule.head], shown = levels.filter((_, row) => knownAt(row) <= clip.viewEnd);
  pen.beginPath();
  shown.forEach((level, row) => pen[row ? 'lineTo' : 'moveTo'](x(knownAt(row)), levelY(level)));
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.lineJoin = 'round';
  pen.stroke();
  pen.lineWidth = 1;
  if (!shown.length) return;
  pen.lineTo(x(knownAt(shown.length - 1)), levelY(0));
  pen.lineTo(x(knownAt(0)), levelY(0));
  pen.globalAlpha = 0.1;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}

function drawCutOffLine({ pen, colours, x }, model) {
  if (model.cutOff === null) return;
  pen.strokeStyle = colours.alarm;
  pen.lineWidth = 1.5;
  line(pen, x(model.cutOff), 14, x(model.cutOff), PAUSE.top + PAUSE.height);
  pen.lineWidth = 1;
}

function drawVerdict({ pen, clip, colours, rule, x, width }, name, model, colour) {
  for (const ended of [model.ended].flat()) { // one turn, or all of a stream
    if (ended === null || ended > clip.viewEnd) continue;
    pen.beginPath();
    pen.arc(x(ended), levelY(rule.threshold), 4.5, 0, 7);
    pen.fillStyle = colours.panel;
    pen.strokeStyle = colour;
    pen.lineWidth = 2.5;
    pen.fill();
    pen.stroke();
    pen.lineWidth = 1;
  }
  if (model.cutOff === null) return;
  const at = x(model.cutOff), text = `${name} cuts off`;
  pen.fillStyle = colours.alarm;
  pen.beginPath();
  pen.arc(at, levelY(rule.threshold), 5, 0, 7);
  pen.fill();
  pen.font = `600 ${SMALL}`;
  const wide = pen.measureText(text).width + 14, left = Math.min(at - 0.75, width - wide);
  pen.beginPath();
  pen.roundRect(left, 0, wide, 17, [4, 4, 4, 0]);
  pen.fill();
  pen.fillStyle = colours.panel;
  pen.textBaseline = 'middle';
  pen.fillText(text, left + 7, 9);
}
