"use strict";

const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const DATA = JSON.parse(byId("data").textContent);
const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Local storage, which some browsers refuse, with an exception, to pages from file://. */
const storage = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(key, value); } catch { /* not remembered */ }
  },
};

const theme = {
  isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  set(name) {
    document.documentElement.dataset.theme = name;
    storage.set("sr-theme", name);
    dispatchEvent(new Event("themechange"));
  },
  toggle() { theme.set(theme.isDark() ? "light" : "dark"); },
};

if (storage.get("sr-theme")) theme.set(storage.get("sr-theme"));
byId("theme").addEventListener("click", theme.toggle);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));

/** Return whether a key press is meant for a field or menu, not for the page. */
const isTyping = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=range]), textarea, select, dialog[open]");

const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
