const SECOND = 1000;
const canvas = byId("canvas");
const newSession = [...crypto.getRandomValues(new Uint8Array(8))].map((n) => n.toString(16).padStart(2, "0")).join("");
// The browser stores the answers until they are saved, in case the window is closed.
const STORAGE_KEY = `sr-ratings ${DATA.comparison} ${DATA.kind} ${DATA.seed}`;
const stored = JSON.parse(storage.get(STORAGE_KEY) || "null");
const answers = stored?.answers ?? new Array(DATA.trials.length).fill(null);
const started = stored?.started ?? new Date().toISOString();
const session = stored?.session ?? newSession;
const state = { trial: -1, reference: false, since: 0 };
const view = new View(canvas, paint);

const itemsOf = (trial) => DATA.trials[trial];
const sceneOf = (trial) => DATA.items[itemsOf(trial)[0]];
const imageOf = (item) => document.querySelector(`img[data-item="${item}"]`);
const truthOf = (trial) => document.querySelector(`img[data-truth="${sceneOf(trial)}"]`);

function paint() {
  if (state.trial < 0 || state.trial >= DATA.trials.length) return;
  const images = itemsOf(state.trial).map((item) => (state.reference && truthOf(state.trial)) || imageOf(item));
  images.forEach((image, k) => {
    if (image.complete && image.naturalWidth) view.draw(image, view.panes[k]);
    else image.addEventListener("load", () => view.paint(), { once: true });
  });
}

/** One pane, or two: side by side in a wide window, stacked in a tall one. */
view.onLayout = () => {
  const { width, height } = canvas;
  const gap = Math.round(3 * view.density);
  const two = DATA.kind === "pairs";
  const [w, h] = !two ? [width, height] : width >= height ? [(width - gap) / 2, height] : [width, (height - gap) / 2];
  view.panes = [{ x: 0, y: 0, width: Math.floor(w), height: Math.floor(h) }];
  if (two) view.panes.push({ ...view.panes[0], x: width >= height ? Math.ceil(w + gap) : 0, y: width >= height ? 0 : Math.ceil(h + gap) });
};

/** Show actual pixels: the region where the methods differ, or the whole image if it fits. */
function placeView() {
  const { width, height, place } = DATA.scenes[sceneOf(state.trial)];
  const pane = view.panes[0];
  view.show(width, height);
  if (view.fitZoom >= view.density) return view.zoomTo(view.density);
  Object.assign(view, { x: place[0] + place[2] / 2, y: place[1] + place[3] / 2, zoom: view.density });
  const keep = (at, side, room) => (side * view.zoom <= room ? side / 2 : clamp(at, room / 2 / view.zoom, side - room / 2 / view.zoom));
  view.x = keep(view.x, width, pane.width);
  view.y = keep(view.y, height, pane.height);
  view.moved();
}

function goTo(trial) {
  state.trial = trial;
  state.since = performance.now();
  state.reference = false;
  const done = trial >= DATA.trials.length;
  byId("intro").hidden = true;
  byId("trial").hidden = done;
  byId("end").hidden = !done;
  byId("progress").hidden = byId("count").hidden = false;
  byId("progress").setAttribute("aria-valuenow", trial);
  byId("progress").firstElementChild.style.width = `${(trial / DATA.trials.length) * 100}%`;
  byId("count").textContent = done ? "done" : `${trial + 1} of ${DATA.trials.length}`;
  byId("back").disabled = trial === 0;
  if (done) return byId("save").focus();
  byId("reference").hidden = !truthOf(trial);
  all("[data-answer]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.answer === String(answers[trial]?.answer)));
  view.resize();
  placeView();
  canvas.focus();
}

const firstOpen = () => (answers.includes(null) ? answers.indexOf(null) : answers.length);

function answer(value) {
  const seconds = (performance.now() - state.since) / SECOND;
  answers[state.trial] = { answer: value, seconds: Math.round(seconds * 100) / 100 };
  storage.set(STORAGE_KEY, JSON.stringify({ answers, session, started, rater: byId("rater").value }));
  goTo(state.trial + 1);
}

function back() {
  if (state.trial > 0) goTo(state.trial - 1);
}

function setReference(shown) {
  state.reference = shown;
  view.paint();
}

function result() {
  const { format, comparison, kind, seed, key } = DATA;
  const ratings = DATA.trials.map((items, k) => {
    const { answer: given, seconds } = answers[k];
    return kind === "scores" ? { item: items[0], score: Number(given), seconds } : { left: items[0], right: items[1], choice: given, seconds };
  });
  const rater = byId("rater").value.trim();
  return { format, version: 1, comparison, kind, seed, rater, session, started, finished: new Date().toISOString(), key, ratings };
}

function save() {
  const name = byId("rater").value.trim().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || session.slice(0, 6);
  const url = URL.createObjectURL(new Blob([JSON.stringify(result(), null, 1)], { type: "application/json" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: `ratings-${name}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10 * SECOND);
  storage.set(STORAGE_KEY, "");
  byId("saved").textContent = `Saved as ${link.download}.`;
}

byId("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  goTo(firstOpen());
});
if (stored) {
  byId("rater").value = stored.rater;
  byId("start").textContent = `Continue: ${firstOpen()} of ${DATA.trials.length} done`;
}
all("[data-answer]").forEach((button) => button.addEventListener("click", () => answer(button.dataset.answer)));
byId("back").addEventListener("click", back);
byId("review").addEventListener("click", back);
byId("save").addEventListener("click", save);
for (const [kind, shown] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false], ["pointercancel", false]]) {
  byId("reference").addEventListener(kind, () => setReference(shown));
}

const ANSWER_KEYS = DATA.kind === "scores"
  ? { 1: "1", 2: "2", 3: "3", 4: "4", 5: "5" }
  : { ArrowLeft: "left", ArrowDown: "tie", ArrowRight: "right" };

addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  const rating = !byId("trial").hidden;
  if (event.key === "t") theme.toggle();
  else if (event.key === "Backspace" && state.trial > 0) back();
  else if (!rating || event.repeat) return;
  else if (ANSWER_KEYS[event.key]) answer(ANSWER_KEYS[event.key]);
  else if (event.key === "r") setReference(true);
  else if (!view.key(event.key)) return;
  event.preventDefault();
});
addEventListener("keyup", (event) => {
  if (event.key === "r") setReference(false);
});
