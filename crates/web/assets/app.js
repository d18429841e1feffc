// What pages do beyond plain links and forms: countdowns, seats as they change, and telling the zone.
// Without scripts the pages work all the same.
(() => {
  "use strict";
  const lang = document.documentElement.lang;
  const number = new Intl.NumberFormat(lang);
  const status = document.getElementById("status");

  // The server can't know the browser's zone; pages are in it from the next one on.
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  if (timeZone && !document.cookie.split("; ").includes(`zone=${timeZone}`)) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `zone=${timeZone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  }

  // Seconds come from the server and run by the monotonic clock: what the browser's calendar says
  // doesn't matter. Each is when the countdown ends, by that clock.
  const ends = new WeakMap();
  const arrived = performance.getEntriesByType("navigation")[0]?.responseStart ?? 0;

  function dress(since) {
    for (const clock of document.querySelectorAll("[data-countdown]")) {
      const { countdown } = clock.dataset;
      const known = ends.get(clock);
      // What the server hasn't said anew still runs: a look that failed leaves the page as it was.
      if (known?.countdown === countdown) continue;
      const left = Number(countdown);
      ends.set(clock, { at: since + 1000 * left, said: known?.said ?? milestoneOf(left), countdown });
    }
    tick();
  }

  /** The milestone that was passed last, in seconds before the end. */
  function milestoneOf(left) {
    return [0, 30, 60, 300].find((at) => left <= at) ?? Infinity;
  }

  /** As the server writes it: minutes and seconds, and hours from one on. */
  function clockText(left) {
    const two = (count) => String(count).padStart(2, "0");
    const minutes = Math.floor(left / 60);
    const front = minutes < 60 ? minutes : `${Math.floor(minutes / 60)}:${two(minutes % 60)}`;
    return `${front}:${two(left % 60)}`;
  }

  function tick() {
    for (const clock of document.querySelectorAll("[data-countdown]")) {
      const end = ends.get(clock);
      if (!end) continue;
      const left = Math.max(0, Math.ceil((end.at - performance.now()) / 1000));
      const text = clockText(left);
      if (clock.textContent !== text) clock.textContent = text;
      clock.closest(".hold")?.classList.toggle("urgent", left <= 60);
      // Announced when it is passed, not when the page is opened beyond it.
      const milestone = milestoneOf(left);
      if (milestone < end.said) {
        // What became of it then, the page asks the server.
        if (milestone === 0) soon("expired");
        else status.textContent = clock.dataset[`say${milestone}`] ?? "";
      }
      end.said = milestone;
    }
  }

  /** Announces what became of holds since the page was shown; a new part isn't read out by itself. */
  const told = new Set();
  function announceFates(isNews) {
    const fates = [...document.querySelectorAll("[data-fate]")].filter((fate) => !told.has(fate.id));
    for (const fate of fates) told.add(fate.id);
    if (isNews && fates.length) status.textContent = fates.map((fate) => fate.textContent).join(" ");
  }

  /** Has the parts of the page that show bookings looked up again. */
  function look(name) {
    // Rows don't move under somebody's pointer or focus: then only those are asked for that are there.
    for (const rows of document.querySelectorAll("[data-still]")) {
      const { still, again } = rows.dataset;
      rows.closest("[hx-get]").setAttribute("hx-get", rows.matches(":hover, :focus-within") ? still : again);
    }
    document.body.dispatchEvent(new Event(name));
  }

  function soon(name) {
    setTimeout(() => look(name), 300);
  }

  function show(part, event) {
    const { freeSeats: free, capacity, cancelled } = event;
    const words = part.querySelector("[data-words]");
    const text = words.dataset.words
      .replace("{free}", number.format(free)).replace("{capacity}", number.format(capacity));
    if (words.textContent !== text) words.textContent = text;
    const taken = capacity > 0 ? 100 * (capacity - free) / capacity : 0;
    part.querySelector("rect").setAttribute("width", taken.toFixed(2));
    for (const note of part.querySelectorAll("[data-sold-out]")) note.hidden = cancelled || free > 0;
    for (const note of part.querySelectorAll("[data-cancelled]")) note.hidden = !cancelled;
    for (const form of part.querySelectorAll("[data-open]")) form.hidden = cancelled;
  }

  // A browser keeps few connections to one host, so a page has one stream for all events on it, and
  // only while it is seen.
  const COME_BACK_MS = 5000;
  let stream = null;
  let watched = "";
  // What each event's last message was: a part that was asked for before may come after it.
  const latest = new Map();
  function listen() {
    const parts = document.hidden ? [] : [...document.querySelectorAll("[data-live]")];
    const ids = [...new Set(parts.map((part) => part.dataset.live))].join("&id=");
    if (ids === watched) return;
    stream?.close();
    stream = null;
    watched = ids;
    if (!ids) return;
    stream = new EventSource(`/events/live?id=${ids}`);
    stream.onmessage = (message) => {
      const event = JSON.parse(message.data);
      latest.set(String(event.id), event);
      for (const part of document.querySelectorAll(`[data-live="${event.id}"]`)) show(part, event);
    };
    // A browser comes back by itself when a stream ends, but not when it was refused one.
    stream.onerror = ({ target }) => {
      if (target.readyState !== EventSource.CLOSED || target !== stream) return;
      watched = "";
      setTimeout(listen, COME_BACK_MS);
    };
  }

  document.addEventListener("visibilitychange", () => {
    listen();
    if (document.hidden) return;
    soon("look");
    soon("back");
  });
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
    // What was searched for while it was typed is in the address, so that one can come back to it.
    if (ctx.sourceElement.matches("form[role=search]") && ctx.response.status === 200) {
      history.replaceState(null, "", ctx.response.raw.url);
    }
    dress(performance.now());
    announceFates(true);
    // Other events may be shown now.
    listen();
    for (const part of document.querySelectorAll("[data-live]")) {
      if (latest.has(part.dataset.live)) show(part, latest.get(part.dataset.live));
    }
    for (const back of document.querySelectorAll("form[action='/language'] [name=back]")) {
      back.value = location.pathname + location.search;
    }
  });
  // Whoever isn't signed in any more is told so, unless something has been typed.
  document.addEventListener("htmx:response:error", ({ detail }) => {
    const typed = [...document.querySelectorAll("main input, main textarea")];
    const isTouched = typed.some((field) => field.value !== field.defaultValue);
    if (detail.ctx.response.status === 401 && !isTouched) location.reload();
  });
  setInterval(tick, 250);
  setInterval(() => document.hidden || look("look"), 3000);
  dress(arrived);
  announceFates(false);
  listen();
})();
