// What pages do beyond links and forms: questions before what cannot be undone, ticking all, following events.
"use strict";

const MOST_EVENTS = 300;

function askFirst() {
  document.addEventListener("click", (event) => {
    const asks = event.target.closest("[data-confirm]");
    if (asks && !window.confirm(asks.dataset.confirm)) {
      event.preventDefault();
    }
  });
}

function tickAll() {
  for (const all of document.querySelectorAll("[data-tick-all]")) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of all.form.elements[all.dataset.tickAll] instanceof RadioNodeList
        ? all.form.elements[all.dataset.tickAll]
        : [all.form.elements[all.dataset.tickAll]]) {
        box.checked = all.checked;
      }
    });
  }
}

function tellWhenStale() {
  const stale = document.getElementById("stale");
  if (!stale) {
    return;
  }
  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.body.addEventListener(name, () => { stale.hidden = false; });
  }
  document.body.addEventListener("htmx:afterSwap", () => { stale.hidden = true; });
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) {
    made.className = kind;
  }
  return made;
}

// What an event says in a few words; empty for events that say nothing more than their topic.
function gist(value) {
  if (!value) {
    return "";
  }
  if (value.target) {
    return `${value.target}: ${value.previous_version || "none"} → ${value.version} by ${value.actor}`;
  }
  if (value.change) {
    const change = value.change.replace("RUN_CHANGE_", "").toLowerCase();
    return [value.run_name, change, value.status].filter(Boolean).join(" · ");
  }
  return [value.action, value.version && `version ${value.version}`].filter(Boolean).join(" · ");
}

class EventList {
  constructor(section) {
    this.section = section;
    this.list = document.getElementById("events");
    this.none = document.getElementById("events-none");
    this.state = document.getElementById("events-state");
    this.filter = document.getElementById("events-filter");
    this.pause = document.getElementById("events-pause");
    this.waiting = [];
    this.topics = Object.entries(section.dataset)
      .filter(([name]) => name.startsWith("topic-"))
      .map(([, topic]) => topic);
  }

  follow() {
    this.section.hidden = false;
    this.pause.addEventListener("click", () => this.togglePause());
    this.filter.addEventListener("input", () => this.applyFilter());
    document.getElementById("events-clear").addEventListener("click", () => this.clear());
    const query = new URLSearchParams(this.topics.map((topic) => ["topic", topic]));
    this.source = new EventSource(`${this.section.dataset.stream}?${query}`);
    this.source.addEventListener("open", () => this.tell("following"));
    this.source.addEventListener("error", () => this.tell("connection lost, trying again …"));
    this.source.addEventListener("missed", (event) => this.missed(JSON.parse(event.data)));
    for (const topic of this.topics) {
      this.source.addEventListener(topic, (event) => this.take(JSON.parse(event.data)));
    }
  }

  get paused() {
    return this.pause.getAttribute("aria-pressed") === "true";
  }

  togglePause() {
    this.pause.setAttribute("aria-pressed", String(!this.paused));
    if (!this.paused) {
      this.waiting.forEach((item) => this.add(item));
      this.waiting = [];
    }
    this.tell(this.paused ? "paused" : "following");
  }

  take(item) {
    if (!this.paused) {
      this.add(item);
      return;
    }
    this.waiting = [...this.waiting.slice(1 - MOST_EVENTS), item];
    this.tell(`paused, ${this.waiting.length} waiting`);
  }

  add(item) {
    this.none.hidden = true;
    this.list.prepend(this.row(item));
    while (this.list.childElementCount > MOST_EVENTS) {
      this.list.lastElementChild.remove();
    }
  }

  row(item) {
    const summary = document.createElement("summary");
    const time = element("time", new Date(item.time_ms).toISOString().slice(11, 23));
    time.dateTime = new Date(item.time_ms).toISOString();
    summary.append(time, element("span", item.topic, "badge info"), element("strong", item.key));
    summary.append(element("span", gist(item.value), "quiet"));
    const body = item.value === null ? `${item.size_bytes} bytes without a JSON form` : JSON.stringify(item.value, null, 2);
    const pre = element("pre", body);
    pre.tabIndex = 0;
    const details = document.createElement("details");
    details.append(summary, element("p", `${item.event_type} · ${item.partition}:${item.offset} · ${item.event_id}`, "quiet"), pre);
    const row = document.createElement("li");
    row.dataset.text = `${item.topic} ${item.key} ${item.event_type} ${body}`.toLowerCase();
    row.hidden = !this.matches(row);
    row.append(details);
    return row;
  }

  missed(hole) {
    const count = hole.count ? `${hole.count} events` : "some events";
    const row = element("li", `${count} ${hole.topic ? `of ${hole.topic} ` : ""}may be missing here: ${hole.reason}`, "problem-text");
    row.dataset.text = "";
    this.list.prepend(row);
  }

  matches(row) {
    return row.dataset.text.includes(this.filter.value.trim().toLowerCase());
  }

  applyFilter() {
    for (const row of this.list.children) {
      row.hidden = !this.matches(row);
    }
  }

  clear() {
    this.list.replaceChildren();
    this.none.hidden = false;
  }

  tell(text) {
    if (this.state.textContent !== text) {
      this.state.textContent = text;
    }
  }
}

askFirst();
tickAll();
tellWhenStale();
const stream = document.getElementById("stream");
if (stream) {
  new EventList(stream).follow();
}
