"use strict";
/* Keeps the page up to date: each event has the HTML of the sections that have changed. Only the differences are put
   into the page, so that what is folded out, selected or scrolled stays so. */

const LOST_AFTER = 15000; // ms without an event; the server sends one at least every 5 s
const RETRY_AFTER = 2000; // ms

let source = null;
let aliveAt = 0;
let hasEnded = false;

function clock() {
  return new Date().toISOString().slice(11, 19) + " UTC";
}

function connect() {
  source = new EventSource("events");
  aliveAt = Date.now();
  source.onmessage = (event) => {
    markAlive();
    show(JSON.parse(event.data));
  };
  source.addEventListener("tick", markAlive);
  source.addEventListener("end", () => {
    hasEnded = true;
    lose();
  });
  source.onerror = lose;
}

function markAlive() {
  aliveAt = Date.now();
  hasEnded = false;
  document.body.className = "live";
  setStatus("");
}

function lose() {
  source.close();
  if (document.body.className !== "lost") {
    document.body.className = "lost";
    setStatus(hasEnded ? `The monitor was stopped at ${clock()}.` : `Connection lost at ${clock()}. Reconnecting…`);
  }
  setTimeout(connect, RETRY_AFTER);
}

function setStatus(words) {
  const status = document.getElementById("connection");
  if (status.textContent !== words) status.textContent = words;
}

function show(sections) {
  for (const [name, html] of Object.entries(sections)) {
    const place = document.getElementById(name);
    if (place !== null) fill(place, new DOMParser().parseFromString(html, "text/html").body);
  }
  const title = document.querySelector("[data-title]");
  if (title !== null && document.title !== title.dataset.title) document.title = title.dataset.title;
}

function fill(place, wanted) {
  const nodes = [...wanted.childNodes];
  nodes.forEach((node, n) => {
    const there = place.childNodes[n];
    if (there === undefined) place.append(document.importNode(node, true));
    else if (there.nodeName !== node.nodeName) there.replaceWith(document.importNode(node, true));
    else if (node.nodeType === Node.ELEMENT_NODE) change(there, node);
    else if (there.data !== node.data) there.data = node.data;
  });
  while (place.childNodes.length > nodes.length) place.lastChild.remove();
}

function change(element, wanted) {
  for (const { name } of [...element.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") element.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  fill(element, wanted);
}

setInterval(() => {
  // A phone that was asleep has a connection that looks open, and gets nothing.
  if (source.readyState !== EventSource.CLOSED && Date.now() - aliveAt > LOST_AFTER) lose();
}, 1000);

connect();
