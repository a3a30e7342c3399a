// Elements are built from nodes, never from markup: a title is text wherever it goes.
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  fill(node, properties);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, properties = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(node, properties);
  node.append(...children);
  return node;
}

function fill(node, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
}

const english = new Intl.NumberFormat("en");
const number = (value) => english.format(value);
const signed = (value) => (value > 0 ? `+${number(value)}` : value < 0 ? `−${number(-value)}` : "±0");
const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)}%`);
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const day = (iso) => new Date(iso).toLocaleDateString("en", { dateStyle: "medium", timeZone: "UTC" });

const topicLink = (topic) => `#/topic/${topic.id}`;
const groupLink = (group) => `#/group/${encodeURIComponent(group.key)}`;
const videoLink = (video) => `#/video/${encodeURIComponent(video.id)}`;
const labelOf = (topic) => topic.terms.slice(0, 2).join(", ") || `Topic ${topic.id}`;
const dot = (topic) => el("i", { class: "dot", "--colour": colourOf(topic), "aria-hidden": "true" });
const topicChip = (topic, note, hint) =>
  el("li", {}, el("a", { href: topicLink(topic), class: "chip", dir: "auto" }, dot(topic), labelOf(topic), note === undefined ? null : el("span", { class: "muted", title: hint }, note)));

// Shows what a promise gives in the place of `node`; what fails is said there.
function settle(node, promise, make) {
  promise.then(
    (content) => node.replaceChildren(...[make(content)].flat()),
    (error) => node.replaceChildren(el("p", { class: "failure", role: "alert" }, error.message)),
  );
  return node;
}

// Calls once a node comes near the window.
const watched = new WeakMap();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      watched.get(target)();
    }
  },
  { rootMargin: "300px" },
);
function whenNear(node, call) {
  watched.set(node, call);
  watcher.observe(node);
}
