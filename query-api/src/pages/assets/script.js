// Keeps a page fresh, and saves some clicks. Every page works without it.
"use strict";

// The least time between two refreshes of a page, in milliseconds. A page that takes longer is refreshed less often, so
// that a busy server is asked less.
const REFRESH_EVERY = 250;
const PAUSE_PER_TIME = 4;

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
    announce(part, copy);
    part.replaceWith(copy);
    const address = focus?.getAttribute("href");
    if (address) copy.querySelector(`[href="${CSS.escape(address)}"]`)?.focus();
    if (shines && !calm.matches) copy.animate([{ opacity: 0.5 }, { opacity: 1 }], 400);
  }
}

// Tells those who cannot see the page that a state has changed.
function announce(part, copy) {
  const words = (of) => of.querySelector("[data-announce]")?.textContent.trim();
  const now = words(copy);
  if (now && now !== words(part)) document.getElementById("announce").textContent = now;
}

// Follows the feed of the page.
function follow(address) {
  let timer = null;
  let next = 0;
  let failed = 0;
  let missed = false;
  const refresh = async () => {
    const begun = Date.now();
    missed = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.redirected) return location.reload();
      if (answer.ok) swap(await answer.text(), true);
    } catch {
      // The next event asks again.
    }
    next = Date.now() + Math.max(REFRESH_EVERY, PAUSE_PER_TIME * (Date.now() - begun));
    timer = null;
    if (missed) soon();
  };
  const soon = () => {
    missed = timer !== null;
    if (timer === null && !document.hidden) {
      timer = setTimeout(refresh, Math.max(0, next - Date.now()));
    }
  };
  const feed = new EventSource(address);
  feed.addEventListener("open", () => {
    failed = 0;
    say("Live");
    // Events between the page and its feed would be missed.
    soon();
  });
  feed.addEventListener("recorded", soon);
  // The browser connects again and names the last event that it has.
  feed.addEventListener("dropped", soon);
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
if (feed && window.EventSource) follow(feed);

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
