// Keeps a page fresh, and saves some clicks. Every page works without it.
"use strict";

// The least time between two refreshes of a page, in milliseconds. A page that takes longer is refreshed less often, so
// that a busy server is asked less.
const REFRESH_EVERY = 250;
const PAUSE_PER_TIME = 4;
// The rows of a page follow the log: a page that is loaded at an event may still be without it. So it is loaded again after
// these times, in milliseconds, unless another event comes first.
const AGAIN_AFTER = [1000, 5000, 20000];

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const live = document.getElementById("live");
const say = (text) => {
  if (live) live.textContent = text;
};

// Puts the marked parts of a newer copy of the page in place of the present ones. What its reader has opened or
// typed stays.
function swap(html, shines) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const part of document.querySelectorAll("[data-live][id]")) {
    const newer = fresh.getElementById(part.id);
    if (!newer) continue;
    const open = new Set([...part.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
    for (const one of newer.querySelectorAll("details[data-key]")) one.open = open.has(one.dataset.key);
    if (newer.isEqualNode(part)) continue;
    const focus = part.contains(document.activeElement) ? document.activeElement : null;
    if (focus?.matches("input, select, textarea")) continue;
    const copy = document.importNode(newer, true);
    const known = new Set([...part.querySelectorAll("[data-list] > [id]")].map((one) => one.id));
    announce(part, copy);
    part.replaceWith(copy);
    if (focus) sameAs(focus, copy)?.focus();
    // Figures change all the time.
    if (!shines || calm.matches || part.dataset.live === "quiet") continue;
    for (const one of changed(copy, known)) one.animate([{ opacity: 0.5 }, { opacity: 1 }], 400);
  }
}

// The place of the reader in a newer copy: in the same line of a list, if it is in one.
function sameAs(focus, copy) {
  const line = focus.closest("[data-list] > [id]");
  const place = line ? copy.querySelector(`#${CSS.escape(line.id)}`) : copy;
  const address = focus.getAttribute("href");
  if (address) return place?.querySelector(`[href="${CSS.escape(address)}"]`);
  const key = focus.closest("details")?.dataset.key;
  const is = key && focus.matches("summary, pre") ? focus.localName : null;
  return is && place?.querySelector(`details[data-key="${CSS.escape(key)}"] > ${is}`);
}

// What has changed: the new lines of a list, else the whole part.
function changed(copy, known) {
  const lines = [...copy.querySelectorAll("[data-list] > [id]")];
  return known.size > 0 ? lines.filter((one) => !known.has(one.id)) : [copy];
}

// Tells those who cannot see the page that a state has changed.
function announce(part, copy) {
  const words = (of) => of.querySelector("[data-announce]")?.textContent.trim();
  const now = words(copy);
  if (now && now !== words(part)) document.getElementById("announce").textContent = now;
}

// Loads the page again, as often as it may.
const page = { timer: null, again: [], next: 0, missed: false, paused: false };

async function refresh() {
  const begun = Date.now();
  page.missed = false;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.redirected) return location.reload();
    if (answer.ok && !page.paused) swap(await answer.text(), true);
  } catch {
    // The next event asks again.
  }
  page.next = Date.now() + Math.max(REFRESH_EVERY, PAUSE_PER_TIME * (Date.now() - begun));
  page.timer = null;
  if (page.missed) soon();
  else watch();
}

function soon() {
  page.missed = page.timer !== null;
  if (page.timer === null && !document.hidden && !page.paused) {
    page.timer = setTimeout(refresh, Math.max(0, page.next - Date.now()));
  }
}

// Loads the page now, and some times more until its rows surely have what was recorded.
function recorded() {
  page.again.forEach(clearTimeout);
  page.again = AGAIN_AFTER.map((after) => setTimeout(soon, after));
  soon();
}

// A part that no event changes says how often it is to be loaded, in milliseconds, while it changes.
function watch() {
  const every = document.querySelector("[data-every]")?.dataset.every;
  if (every) setTimeout(soon, Number(every));
}

// Follows the feed of the page.
function follow(address) {
  let failed = 0;
  const feed = new EventSource(address);
  feed.addEventListener("open", () => {
    failed = 0;
    say("Live");
    // Events between the page and its feed would be missed.
    recorded();
  });
  feed.addEventListener("recorded", recorded);
  // The browser connects again and names the last event that it has.
  feed.addEventListener("dropped", recorded);
  feed.addEventListener("error", () => {
    failed += 1;
    if (feed.readyState === EventSource.CLOSED || failed > 20) {
      feed.close();
      say("");
    } else {
      say("Connecting…");
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && feed.readyState !== EventSource.CLOSED) soon();
  });
}

// Lets the reader hold a page that changes often.
function pausable(button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    page.paused = !page.paused;
    button.textContent = page.paused ? "Go on" : "Pause";
    say(page.paused ? "Paused" : "Live");
    if (!page.paused) soon();
  });
}

// Shows what the fields of a form would do, while they are changed.
function preview(form) {
  let timer = null;
  let asked = 0;
  const show = async () => {
    const mine = (asked += 1);
    const body = new URLSearchParams(new FormData(form));
    body.set("preview", "1");
    try {
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
      if (answer.ok && mine === asked) swap(await answer.text(), false);
    } catch {
      // The button of the form does the same.
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 250);
  });
}

// One click, one request.
function once(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 3000);
  });
}

const feed = document.body.dataset.feed;
if (feed && window.EventSource) {
  follow(feed);
  const pause = document.getElementById("pause");
  if (pause) pausable(pause);
}
watch();
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) watch();
});

for (const form of document.querySelectorAll("form[data-preview]")) preview(form);
for (const form of document.querySelectorAll("form[method=post]")) once(form);

document.addEventListener("input", (event) => {
  const output = event.target.matches?.("input[type=range]") && event.target.form?.querySelector("output");
  if (output) output.textContent = `${event.target.value} of ${event.target.max}`;
});
document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-send]")) event.target.form.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  const types = event.target.matches?.("input, select, textarea");
  if (event.key === "/" && !types && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("search")?.focus();
  }
  if (event.key === "Escape" && event.target.id === "search") event.target.blur();
});

// A browser that has chosen no time zone uses its own.
if ("chooseZone" in document.documentElement.dataset) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const address = new URL(location.href);
  if (zone && zone !== "UTC" && navigator.cookieEnabled && !sessionStorage.getItem("zone")) {
    sessionStorage.setItem("zone", zone);
    address.searchParams.set("tz", zone);
    location.replace(address);
  }
}
