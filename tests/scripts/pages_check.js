// Uses the pages in headless Chromium. pages.py starts it, once without and once with API keys.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const { QUERY, COMMAND, CHROMIUM, SCREENSHOTS, RETURNED, DECLINED, TO_SHIP, LIVE, SUBSCRIPTION, DESK, READER } = process.env;
const SIZES = { desk: { width: 1360, height: 900 }, phone: { width: 390, height: 844, isMobile: true } };

async function open(page, address) {
  const answer = await page.goto(QUERY + address, { waitUntil: "load" });
  return answer.status();
}

async function text(page) {
  return page.evaluate(() => document.querySelector("main").innerText);
}

// Clicks and waits for the page that follows.
async function click(page, selector) {
  await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.click(selector)]);
}

const faults = [];

// No page has a barrier that axe-core knows, is wider than the screen, or misses a style or a script.
async function look(browser, pages) {
  for (const theme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      const page = await browser.newPage();
      let place;
      const refuse = (text) => faults.push(`${place}: ${text}`);
      // A server without the feed answers 404, which pages bear.
      page.on("console", (line) => line.type() === "error" && !line.text().includes("404") && refuse(line.text()));
      page.on("pageerror", (error) => refuse(String(error)));
      await page.setViewport(viewport);
      // A part that has just changed is pale for a moment, unless its reader wants no motion.
      const calm = { name: "prefers-reduced-motion", value: "reduce" };
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }, calm]);
      for (const [name, address] of Object.entries(pages)) {
        place = `${name}, ${theme}, ${size}`;
        await open(page, address);
        if (SCREENSHOTS) {
          fs.mkdirSync(SCREENSHOTS, { recursive: true });
          await page.screenshot({ path: path.join(SCREENSHOTS, `${name}-${theme}-${size}.png`) });
        }
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        if (wide > 0) refuse(`${wide} pixels wider than the screen`);
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        for (const one of violations) {
          refuse(`${one.id}: ${one.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`);
        }
      }
      await page.close();
    }
  }
  assert.deepStrictEqual(faults, []);
  console.log(`ok: ${Object.keys(pages).length} pages, light and dark, at a desk and on a phone`);
}

async function command(address, body, key) {
  const headers = { "content-type": "application/json", "idempotency-key": key };
  const answer = await fetch(COMMAND + address, { method: "POST", headers, body: JSON.stringify(body) });
  assert(answer.ok, `${address}: ${answer.status}`);
}

// A page in a window of its own, so that it is visible, as soon as it follows the feed. It marks itself: a load takes
// the mark away.
async function watch(browser, address) {
  const page = await (await browser.createBrowserContext()).newPage();
  await open(page, address);
  await page.waitForFunction(() => document.getElementById("live").textContent === "Live");
  await page.evaluate(() => (window.isTheSame = true));
  return page;
}

// Waits until a part of a page that was not loaded again has a text.
async function until(page, selector, words) {
  const has = (selector, words) => document.querySelector(selector)?.innerText.includes(words);
  await page.waitForFunction(has, { timeout: 10_000 }, selector, words);
  assert(await page.evaluate(() => window.isTheSame), `${page.url()} was loaded again`);
}

// Until the returned function is called, the script of the page loads the page as it is now, as if its rows followed the log
// late.
async function late(page) {
  let body = await page.evaluate(async () => (await fetch(location.href, { headers: { Accept: "text/html" } })).text());
  page.on("request", (request) => {
    if (body && request.resourceType() === "fetch") request.respond({ status: 200, contentType: "text/html", body });
    else request.continue();
  });
  await page.setRequestInterception(true);
  return () => (body = null);
}

async function live(browser) {
  const order = await watch(browser, `/orders/${LIVE}`);
  const log = await watch(browser, "/log");
  const today = await watch(browser, "/");
  // What a reader has opened, and where the keyboard is, outlives a change.
  await log.click("#events li summary");
  const opened = await log.evaluate(() => document.activeElement.closest("details").dataset.key);
  const goOn = await late(order);
  await command(`/v1/orders/${LIVE}/shipments`, { carrier: "UPS" }, "ship-live");
  setTimeout(goOn, 700);
  await until(order, "#order", "UPS");
  await until(log, "#events", "UPS");
  await until(today, "#events", "UPS");
  const focused = () => document.activeElement.closest("details[open]")?.dataset.key;
  assert.strictEqual(await log.evaluate(focused), opened, "the log has lost the place of its reader");
  console.log("ok: an order, the log and today change without a load");

  await log.click("#pause");
  const asked = [];
  log.on("request", (request) => asked.push(request.url()));
  await command("/v1/stock/21730/adjustments", { delta: 1, reason: "found while paused" }, "adjust-live");
  await until(today, "#events", "found while paused");
  const texts = await log.$eval("#events", (part) => part.innerText);
  assert(!texts.includes("found while paused") && asked.length === 0, asked.join());
  await log.click("#pause");
  await until(log, "#events li", "found while paused");
  const lines = await log.$$eval("#events li", (lines) => lines.length);
  assert(lines <= 50, `${lines} lines`);
  console.log("ok: the log pauses, goes on, and keeps its length");
  await Promise.all([order, log, today].map((page) => page.browserContext().close()));
}

async function audit(page) {
  await open(page, "/audit");
  await click(page, "form[action='/audit/verify'] button");
  await page.waitForFunction(() => document.querySelector("#verified").innerText.includes("No difference."));
  await click(page, "form[action='/audit/totals'] button");
  await page.waitForFunction(() => document.querySelector("#totals").innerText.includes("GBP"));
  await click(page, "form[action='/audit/export'] button");
  await page.waitForSelector("#exported a[href='/audit/export/orders.csv']");
  const file = await page.evaluate(async () => (await fetch("/audit/export/orders.csv")).text());
  assert(file.includes(LIVE), file);
  console.log("ok: the page of audits verifies, adds up and exports");
}

async function withoutKeys(browser) {
  await live(browser);
  const page = await browser.newPage();
  await page.setViewport(SIZES.desk);
  await open(page, "/");
  await page.keyboard.press("/");
  await page.keyboard.type(TO_SHIP);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert(page.url().includes(`/orders/${TO_SHIP}`), page.url());

  await click(page, `a[href="/orders/${TO_SHIP}/ship"]`);
  assert((await text(page)).includes("leave the shelf"));
  await page.type("#carrier", "DPD");
  await page.waitForFunction(() => document.querySelector("[name=body]").value.includes("DPD"));
  await click(page, ".effects button.primary");
  assert((await text(page)).includes("The shipment is recorded."));
  assert((await text(page)).includes("DPD"));
  console.log("ok: an order is found and shipped");

  await click(page, `a[href="/orders/${TO_SHIP}/refund"]`);
  await page.type("#amount", "1.00");
  await page.waitForFunction(() => !document.querySelector(".effects button.primary").disabled);
  assert((await text(page)).includes("goes back to the customer"));
  await click(page, ".effects button.primary");
  assert((await text(page)).includes("The refund is requested."));
  console.log("ok: it is refunded");

  await Promise.all([
    page.waitForNavigation(),
    page.$eval("#revision", (input) => {
      input.value = "1";
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }),
  ]);
  assert((await text(page)).includes("after event 1 of"));
  console.log("ok: its earlier state is shown");

  await audit(page);
  await page.setJavaScriptEnabled(false);
  await open(page, `/orders/${RETURNED}/refund`);
  await page.type("#amount", "1");
  await click(page, "button[name=preview]");
  await click(page, ".effects button.primary");
  assert((await text(page)).includes("The refund is requested."));
  console.log("ok: actions work without a script");
  await page.close();

  const timeline = await (await fetch(`${QUERY}/v1/orders/${RETURNED}/timeline`)).json();
  const [first] = timeline.items;
  const payment = (await (await fetch(`${QUERY}/v1/orders/${DECLINED}`)).json()).payment_id;
  const pages = {
    today: "/", orders: "/orders", order: `/orders/${RETURNED}`, declined: `/orders/${DECLINED}`,
    past: `/orders/${RETURNED}?revision=2`, ship: `/orders/${TO_SHIP}/ship`, refund: `/orders/${RETURNED}/refund`,
    stock: "/stock", sku: "/stock/85123A", payments: "/payments", payment: `/payments/${payment}`, stuck: "/stuck",
    compared: "/reconciliations/latest", system: "/system", webhooks: `/system/webhooks/${SUBSCRIPTION}`,
    log: "/log", tree: `/log/${first.correlation_id}?around=${first.position}`, audit: "/audit",
    then: "/audit/then?of=85123A", login: "/login", missing: "/orders/none",
  };
  await look(browser, pages);
}

async function logIn(browser, key) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await open(page, `/orders/${RETURNED}`);
  assert(page.url().includes("/login"), page.url());
  await page.type("#key", key);
  await page.type("#person", "Ann Lee");
  await click(page, "form.stack button");
  assert(page.url().endsWith(`/orders/${RETURNED}`), page.url());
  return page;
}

async function withKeys(browser) {
  const desk = await logIn(browser, DESK);
  const cookies = await desk.evaluate(() => document.cookie);
  assert(!cookies.includes("session"), "a script can read the session");
  assert((await text(desk)).includes("Timeline"));
  assert.strictEqual(await open(desk, `/orders/${RETURNED}/refund`), 403);
  assert((await text(desk)).includes("refunds:write"));
  const reader = await logIn(browser, READER);
  assert.strictEqual(await reader.$(".head .buttons"), null);
  await click(reader, "form[action='/logout'] button");
  await open(reader, "/orders");
  assert(reader.url().includes("/login"), reader.url());
  console.log("ok: log-in, scopes and log-out");
}

async function main() {
  const flags = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"];
  const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: flags });
  try {
    await (process.argv[2] === "open" ? withoutKeys(browser) : withKeys(browser));
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
