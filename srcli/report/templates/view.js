/**
 * A position and zoom shared by all panes of a canvas, controlled by mouse, touch and keyboard.
 * `x` and `y` are the image pixel at the centre of every pane; `zoom` is screen pixels per image pixel.
 */
class View {
  constructor(canvas, onPaint) {
    Object.assign(this, { canvas, onPaint, x: 0, y: 0, zoom: 1, width: 1, height: 1, fitted: true });
    this.panes = [{ x: 0, y: 0, width: 1, height: 1 }];
    this.context = canvas.getContext("2d");
    this.pointers = new Map();
    this.onHover = () => {};
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
  }

  /** Screen pixels per CSS pixel. */
  get density() { return this.canvas.width / this.canvas.clientWidth || 1; }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    this.onLayout();
    this.fitted ? this.fit() : this.paint();
  }

  onLayout() { this.panes = [{ x: 0, y: 0, width: this.canvas.width, height: this.canvas.height }]; }

  show(width, height) {
    Object.assign(this, { width, height });
    this.fit();
  }

  get fitZoom() {
    const pane = this.panes[0];
    return Math.min(pane.width / this.width, pane.height / this.height);
  }

  fit() {
    Object.assign(this, { x: this.width / 2, y: this.height / 2, zoom: this.fitZoom, fitted: true });
    this.paint();
  }

  /** Zoom while the image pixel under (atX, atY) of the canvas stays in place. */
  zoomTo(zoom, atX, atY) {
    const pane = this.paneAt(atX, atY) ?? this.panes[0];
    const [px, py] = atX === undefined ? [0, 0] : [atX - pane.x - pane.width / 2, atY - pane.y - pane.height / 2];
    const next = clamp(zoom, Math.min(this.fitZoom, 1) / 2, 64);
    this.x += px / this.zoom - px / next;
    this.y += py / this.zoom - py / next;
    this.zoom = next;
    this.moved();
  }

  moveBy(dx, dy) {
    this.x -= dx / this.zoom;
    this.y -= dy / this.zoom;
    this.moved();
  }

  /** Show a rectangle of the image as large as it fits. */
  goTo([x, y, width, height]) {
    const pane = this.panes[0];
    this.x = x + width / 2;
    this.y = y + height / 2;
    this.zoom = clamp(Math.min(pane.width / width, pane.height / height), this.fitZoom, 64);
    this.moved();
  }

  moved() {
    this.x = clamp(this.x, 0, this.width);
    this.y = clamp(this.y, 0, this.height);
    this.fitted = false;
    this.paint();
  }

  paint() {
    // While the whole image is visible, one finger scrolls the page; otherwise it moves the image.
    this.canvas.style.touchAction = this.zoom <= this.fitZoom * 1.01 ? "pan-y" : "none";
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
      this.onPaint();
    });
  }

  /** Draw an image into a pane, without smoothing when it is magnified. */
  draw(image, pane, clip = pane) {
    const { context, zoom } = this;
    context.save();
    context.beginPath();
    context.rect(clip.x, clip.y, clip.width, clip.height);
    context.clip();
    context.imageSmoothingEnabled = zoom < 1;
    context.imageSmoothingQuality = "high";
    const left = Math.round(pane.x + pane.width / 2 - this.x * zoom);
    const top = Math.round(pane.y + pane.height / 2 - this.y * zoom);
    context.drawImage(image, left, top, Math.round(this.width * zoom), Math.round(this.height * zoom));
    context.restore();
  }

  paneAt(x, y) {
    return this.panes.find((p) => x >= p.x && x < p.x + p.width && y >= p.y && y < p.y + p.height);
  }

  /** Return the image pixel at a point of the canvas, or null outside the image. */
  pixelAt(canvasX, canvasY) {
    const pane = this.paneAt(canvasX, canvasY);
    if (!pane) return null;
    const x = Math.floor((canvasX - Math.round(pane.x + pane.width / 2 - this.x * this.zoom)) / this.zoom);
    const y = Math.floor((canvasY - Math.round(pane.y + pane.height / 2 - this.y * this.zoom)) / this.zoom);
    return x >= 0 && y >= 0 && x < this.width && y < this.height ? { x, y } : null;
  }

  /** Return the position of an event in canvas pixels. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * this.density, (event.clientY - box.top) * this.density];
  }

  listen() {
    const { canvas, pointers } = this;
    canvas.parentElement.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 30 : 1;
      this.zoomTo(this.zoom * Math.exp(-event.deltaY * lines * 0.0018), ...this.place(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, this.place(event));
    });
    canvas.addEventListener("pointermove", (event) => this.pointerMoved(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.onHover(null));
    canvas.addEventListener("dblclick", (event) => {
      this.fitted ? this.zoomTo(Math.max(this.zoom * 2, this.density), ...this.place(event)) : this.fit();
    });
  }

  pointerMoved(event) {
    const { pointers } = this;
    const now = this.place(event);
    if (!pointers.has(event.pointerId)) return this.onHover(now);
    const before = pointers.get(event.pointerId);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, now);
    if (other) {
      const length = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      this.moveBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.zoomTo((this.zoom * length(now)) / length(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else if (event.pointerType !== "touch" || this.canvas.style.touchAction === "none") {
      this.moveBy(now[0] - before[0], now[1] - before[1]);
    }
    this.onHover(now);
  }

  /** Pan or zoom by a key; return whether the key does so. */
  key(name) {
    const step = 60 * this.density;
    const actions = {
      "+": () => this.zoomTo(this.zoom * 1.4),
      "=": () => this.zoomTo(this.zoom * 1.4),
      "-": () => this.zoomTo(this.zoom / 1.4),
      "0": () => this.fit(),
      ArrowLeft: () => this.moveBy(step, 0),
      ArrowRight: () => this.moveBy(-step, 0),
      ArrowUp: () => this.moveBy(0, step),
      ArrowDown: () => this.moveBy(0, -step),
    };
    actions[name]?.();
    return name in actions;
  }
}
