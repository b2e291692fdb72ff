"use strict";

const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const DATA = JSON.parse(byId("data").textContent);
const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)").matches;

/** What the browser keeps for this page; from file:// some keep nothing, and say so by an exception. */
const memory = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(key, value); } catch { /* it will be asked for again */ }
  },
};

const theme = {
  isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  set(name) {
    document.documentElement.dataset.theme = name;
    memory.set("sr-theme", name);
    dispatchEvent(new Event("themechange"));
  },
  toggle() { theme.set(theme.isDark() ? "light" : "dark"); },
};

if (memory.get("sr-theme")) theme.set(memory.get("sr-theme"));
byId("theme").addEventListener("click", theme.toggle);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));

/** Whether a key is meant for a field or a menu and not for the page. */
const isTyping = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=range]), textarea, select, dialog[open]");

const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
