const MODES = { slider: "s", side: "d", all: "a", blink: "b", map: "e" };
const BLINK_MS = 700;
const canvas = byId("canvas");
const handle = byId("handle");
const state = {
  scene: 0, mode: "slider", left: 0, right: 0, split: 0.5, blinkRight: false, held: false, kind: "absolute", place: -1, before: null,
};
const view = new View(canvas, paint);
const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
let mapCache = { key: "", image: null };
let lumaCache = new Map();
let timer = 0;

const scene = () => DATA.scenes[state.scene];
const section = () => document.querySelector(`.scene[data-scene="${state.scene}"]`);
const nameOf = (source) => (source === "truth" ? "truth" : DATA.methods[source]);
const sources = () => [...(scene().truth ? ["truth"] : []), ...DATA.methods.keys()];
const imageOf = (source) => section().querySelector(`img[data-image="${source}"]`);

/** Return the image of a method, or null while it is being decoded. */
function decodedImage(source) {
  const image = imageOf(source);
  if (image.complete && image.naturalWidth) return image;
  image.addEventListener("load", () => view.paint(), { once: true });
  return null;
}

function paint() {
  const [left, right] = state.held ? [state.right, state.left] : [state.left, state.right];
  const painters = {
    slider: () => paintSlider(left, right),
    side: () => paintPanes([left, right]),
    all: () => paintPanes(sources()),
    blink: () => paintPanes([state.blinkRight ? right : left]),
    map: () => paintMap(),
  };
  painters[state.mode]();
  byId("percent").textContent = `${Math.round((view.zoom / view.density) * 100)}%`;
}

function paintPanes(shown) {
  shown.forEach((source, k) => {
    const image = decodedImage(source);
    if (image) view.draw(image, view.panes[k]);
    tag(nameOf(source), view.panes[k].x, view.panes[k].y, "left", source);
  });
}

function paintSlider(left, right) {
  const pane = view.panes[0];
  const border = Math.round(pane.width * state.split);
  const [before, after] = [decodedImage(left), decodedImage(right)];
  if (before) view.draw(before, pane, { ...pane, width: border });
  if (after) view.draw(after, pane, { ...pane, x: border, width: pane.width - border });
  tag(nameOf(left), 0, 0, "left", left, border);
  tag(nameOf(right), pane.width, 0, "right", right, pane.width - border);
}

function paintMap() {
  const map = currentMap();
  if (map) view.draw(map, view.panes[0]);
  tag(`${nameOf(state.right)} against ${nameOf(state.left)}`, 0, 0, "left", state.right);
}

/** Draw a name on the image if there is room for it. */
function tag(text, x, y, side, source, room = Infinity) {
  const { context, density } = view;
  context.save();
  context.font = `600 ${12 * density}px system-ui, sans-serif`;
  const [pad, gap, height] = [8 * density, 10 * density, 22 * density];
  const width = context.measureText(text).width + 2 * pad + 12 * density;
  if (width + gap < room) {
    const left = side === "left" ? x + gap : x - gap - width;
    context.fillStyle = "rgb(15 17 21 / 0.78)";
    context.beginPath();
    context.roundRect(left, y + gap, width, height, height / 2);
    context.fill();
    context.fillStyle = source === "truth" ? "#fff" : cssColour(`--b${source % 8}`);
    context.beginPath();
    context.arc(left + pad + 3 * density, y + gap + height / 2, 4 * density, 0, 7);
    context.fill();
    context.fillStyle = "#fff";
    context.textBaseline = "middle";
    context.fillText(text, left + pad + 12 * density, y + gap + height / 2 + 0.5 * density);
  }
  context.restore();
}

function lumaOf(source) {
  const key = `${state.scene} ${source}`;
  if (!lumaCache.has(key)) {
    const image = decodedImage(source);
    if (!image) return null;
    const { width, height } = scene();
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    if (lumaCache.size > 3) lumaCache.delete(lumaCache.keys().next().value);
    lumaCache.set(key, maps.luma(context.getImageData(0, 0, width, height).data));
  }
  return lumaCache.get(key);
}

function currentMap() {
  const top = byId("gain").value / 255;
  const key = [state.scene, state.left, state.right, state.kind, state.kind === "ssim" ? "" : top].join();
  if (mapCache.key !== key) {
    const [a, b] = [lumaOf(state.right), lumaOf(state.left)];
    if (!a || !b) return null;
    const { width, height } = scene();
    const pixels = state.kind === "ssim" ? maps.ssim(a, b, width, height) : maps[state.kind](a, b, top);
    const image = new OffscreenCanvas(width, height);
    image.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    mapCache = { key, image };
  }
  return mapCache.image;
}

/** Arrange the panes of the mode in the grid that shows most of the image. */
view.onLayout = () => {
  const count = { side: 2, all: sources().length }[state.mode] ?? 1;
  const { width, height } = canvas;
  const gap = Math.round(2 * view.density);
  const grids = Array.from({ length: count }, (_, k) => k + 1).map((columns) => {
    const rows = Math.ceil(count / columns);
    const [w, h] = [(width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows];
    return { columns, w, h, zoom: Math.min(w / scene().width, h / scene().height) };
  });
  const best = grids.reduce((a, b) => (b.zoom > a.zoom ? b : a));
  view.panes = Array.from({ length: count }, (_, k) => ({
    x: Math.round((k % best.columns) * (best.w + gap)),
    y: Math.round(Math.floor(k / best.columns) * (best.h + gap)),
    width: Math.floor(best.w),
    height: Math.floor(best.h),
  }));
};

function layout() {
  view.onLayout();
  view.fitted ? view.fit() : view.paint();
}

/** A map compares with the truth, if there is one; leaving the map restores the left side. */
function selectTruth(mode) {
  const entering = mode === "map" && state.mode !== "map";
  if (entering && scene().truth) {
    state.before = state.left;
    setPair("truth", state.right === "truth" ? state.left : state.right);
  } else if (mode !== "map" && state.before !== null) {
    setPair(state.left === "truth" ? state.before : state.left, state.right);
    state.before = null;
  }
}

function setMode(mode) {
  selectTruth(mode);
  state.mode = mode;
  all("[data-mode]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.mode === mode));
  byId("maps").hidden = mode !== "map";
  handle.hidden = mode !== "slider";
  const names = mode === "map" ? ["Against", "Map of"] : ["Left", "Right"];
  all(".side-name").forEach((label, k) => { label.textContent = mode === "blink" ? ["First", "Second"][k] : names[k]; });
  clearInterval(timer);
  if (mode === "blink" && !REDUCED_MOTION) timer = setInterval(blink, BLINK_MS);
  layout();
}

function blink() {
  state.blinkRight = !state.blinkRight;
  view.paint();
}

function setSplit(split) {
  state.split = clamp(split, 0, 1);
  handle.style.left = `${state.split * 100}%`;
  handle.setAttribute("aria-valuenow", Math.round(state.split * 100));
  view.paint();
}

function setPair(left, right) {
  Object.assign(state, { left, right });
  byId("left").value = left;
  byId("right").value = right;
  all("[data-show]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.show === String(right)));
  view.paint();
}

/** Parse a source from an attribute of the page. */
const parseSource = (text) => (text === "truth" ? text : Number(text));

function step(side, by) {
  const known = sources();
  const next = known[(known.indexOf(state[side]) + by + known.length) % known.length];
  side === "left" ? setPair(next, state.right) : setPair(state.left, next);
}

function setScene(index) {
  state.scene = (index + DATA.scenes.length) % DATA.scenes.length;
  state.place = -1;
  const { name, width, height } = scene();
  byId("name").textContent = name;
  byId("size").textContent = `${Math.round(width / DATA.scale)}×${Math.round(height / DATA.scale)} → ${width}×${height}`;
  all(".scene").forEach((one) => { one.hidden = one.dataset.scene !== String(state.scene); });
  all(".gallery button").forEach((one) => one.setAttribute("aria-pressed", one.dataset.scene === String(state.scene)));
  document.querySelector('.gallery [aria-pressed="true"]')?.scrollIntoView({ block: "nearest", inline: "nearest" });
  for (const id of ["left", "right"]) {
    byId(id).replaceChildren(...sources().map((source) => new Option(nameOf(source), source)));
  }
  const has = (source) => sources().includes(source);
  setPair(has(state.left) ? state.left : 0, has(state.right) ? state.right : DATA.methods.length - 1);
  canvas.style.aspectRatio = `${width} / ${height}`;
  view.show(width, height);
  view.resize();
  drawStrips();
}

/** Draw the crops at their own size; CSS magnifies them. */
function drawStrips() {
  for (const strip of all(".strip", section())) {
    const [x, y, width, height] = scene().places[strip.dataset.place];
    for (const button of all(".crop", strip)) {
      const image = imageOf(button.dataset.source);
      const drawn = () => {
        const target = button.querySelector("canvas");
        Object.assign(target, { width, height });
        target.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
      };
      image.complete && image.naturalWidth ? drawn() : image.addEventListener("load", drawn, { once: true });
    }
  }
}

function goToPlace(index) {
  const { places } = scene();
  if (!places.length) return;
  state.place = index % places.length;
  view.goTo(places[state.place]);
}

function sampleOf(source, { x, y }) {
  const image = decodedImage(source);
  if (!image) return [0, 0, 0];
  probe.drawImage(image, x, y, 1, 1, 0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

view.onHover = (place) => {
  const pixel = place && view.pixelAt(...place);
  const status = byId("status");
  if (!pixel) return status.replaceChildren(Object.assign(document.createElement("span"), { className: "hint", textContent: "Drag to pan, scroll or pinch to zoom, ? for shortcuts." }));
  const shown = [...new Set([...(scene().truth ? ["truth"] : []), ...(state.mode === "all" ? sources() : [state.left, state.right])])];
  const parts = shown.map((source) => part(source, sampleOf(source, pixel)));
  const where = document.createElement("span");
  where.className = "where";
  where.textContent = `${pixel.x}, ${pixel.y}`;
  status.replaceChildren(where, ...parts);
};

/** Build the status of a method: its name, its colour at the pixel, and the three samples. */
function part(source, sample) {
  const out = document.createElement("span");
  const swatch = document.createElement("i");
  swatch.className = "swatch";
  swatch.style.background = `rgb(${sample})`;
  const values = document.createElement("b");
  values.textContent = sample.map((v) => String(v).padStart(3, "\u2007")).join(" ");
  out.append(swatch, `${nameOf(source)} `, values);
  out.dataset.source = source;
  return out;
}

function setKind(kind) {
  state.kind = kind;
  all("[data-kind]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.kind === kind));
  byId("gain-label").hidden = kind === "ssim";
  setGain();
}

function setGain() {
  const top = byId("gain").value;
  byId("gain-value").textContent = `${top} levels`;
  byId("gain-label").firstElementChild.textContent = state.kind === "signed" ? "Full at" : "White at";
  byId("map-scale").textContent = {
    absolute: "Luma: black where equal, then red, yellow, white.",
    signed: "Luma: red where brighter, blue where darker, white where equal.",
    ssim: "White where the structure is the same, black where it is lost.",
  }[state.kind];
  view.paint();
}

all("[data-mode]").forEach((button) => button.addEventListener("click", () => setMode(button.dataset.mode)));
all("[data-kind]").forEach((button) => button.addEventListener("click", () => setKind(button.dataset.kind)));
all("[data-show]").forEach((button) => button.addEventListener("click", () => setPair(state.left, parseSource(button.dataset.show))));
all(".gallery button").forEach((button) => button.addEventListener("click", () => setScene(Number(button.dataset.scene))));
all(".crop").forEach((button) => button.addEventListener("click", () => {
  const source = parseSource(button.dataset.source);
  if (source !== state.left) setPair(state.left, source);
  goToPlace(Number(button.parentElement.dataset.place));
  byId("stage").scrollIntoView({ behavior: REDUCED_MOTION ? "auto" : "smooth", block: "nearest" });
}));
byId("left").addEventListener("change", (event) => setPair(parseSource(event.target.value), state.right));
byId("right").addEventListener("change", (event) => setPair(state.left, parseSource(event.target.value)));
byId("swap").addEventListener("click", () => setPair(state.right, state.left));
byId("in").addEventListener("click", () => view.key("+"));
byId("out").addEventListener("click", () => view.key("-"));
byId("fit").addEventListener("click", () => view.fit());
byId("one").addEventListener("click", () => view.zoomTo(view.density));
byId("gain").addEventListener("input", setGain);
byId("keys").addEventListener("click", () => byId("help").showModal());
addEventListener("themechange", () => view.paint());

// A button or menu used with the mouse gives up the focus, so that keyboard shortcuts keep working.
addEventListener("click", (event) => {
  if (event.detail) event.target.closest("button")?.blur();
});
for (const id of ["left", "right"]) byId(id).addEventListener("change", (event) => event.target.blur());

handle.addEventListener("pointerdown", (event) => {
  handle.setPointerCapture(event.pointerId);
  event.preventDefault();
  handle.focus();
});
handle.addEventListener("pointermove", (event) => {
  if (!handle.hasPointerCapture(event.pointerId)) return view.onHover(view.place(event));
  const box = canvas.getBoundingClientRect();
  setSplit((event.clientX - box.left) / box.width);
});

const KEYS = {
  ",": () => step("right", -1),
  ".": () => step("right", 1),
  "<": () => step("left", -1),
  ">": () => step("left", 1),
  1: () => view.zoomTo(view.density),
  x: () => setPair(state.right, state.left),
  p: () => goToPlace(state.place + 1),
  j: () => setScene(state.scene + 1),
  k: () => setScene(state.scene - 1),
  t: theme.toggle,
  "?": () => byId("help").showModal(),
};

function holdOrStep(event) {
  event.preventDefault();
  if (event.repeat) return;
  if (state.mode === "blink") {
    clearInterval(timer);
    blink();
  } else {
    state.held = true;
    view.paint();
  }
}

addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  const isArrow = event.key.startsWith("Arrow");
  if (event.key === " " && !event.target.closest("button")) return holdOrStep(event);
  if (isArrow && (event.target === handle || event.shiftKey)) {
    event.preventDefault();
    return setSplit(state.split + (["ArrowRight", "ArrowUp"].includes(event.key) ? 0.02 : -0.02));
  }
  if (isArrow && event.target !== canvas) return;
  const mode = Object.keys(MODES).find((name) => MODES[name] === event.key);
  if (mode) setMode(mode);
  else if (KEYS[event.key]) KEYS[event.key]();
  else if (view.key(event.key)) event.preventDefault();
});
addEventListener("keyup", (event) => {
  if (event.key !== " " || !state.held) return;
  state.held = false;
  view.paint();
});

state.left = 0;
state.right = DATA.methods.length - 1;
setKind("absolute");
setScene(0);
setMode("slider");
