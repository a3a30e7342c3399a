const ORDERS = {
  size: ["Most videos", (a, b) => b.videos.length - a.videos.length],
  ctr: ["Highest click-through rate", (a, b) => (b.ctr ?? -1) - (a.ctr ?? -1)],
  label: ["Label, A to Z", (a, b) => labelOf(a).localeCompare(labelOf(b), "en")],
  id: ["Topic number", () => 0],
};

function overview() {
  const grid = el("div");
  const filter = el("input", { type: "search", id: "filter", placeholder: "Filter by label", autocomplete: "off", spellcheck: "false", oninput: update });
  const order = el("select", { id: "order", onchange: update }, Object.entries(ORDERS).map(([key, [name]]) => el("option", { value: key }, name)));
  const count = el("p", { class: "muted", role: "status" });
  function update() {
    const found = topics.filter(matches(filter.value)).sort((a, b) => ORDERS[order.value][1](a, b) || a.place - b.place);
    count.textContent = plural(found.length, "topic");
    grid.replaceChildren(...grow(el("ul", { class: "cards" }), found, topicCard, { step: 36, ahead: true }));
  }
  update();
  return el(
    "div",
    { class: "page" },
    el("h1", { tabindex: "-1" }, "Topics"),
    totals(),
    topicMap(),
    el("div", { class: "tools" }, labelled("Filter", filter), labelled("Sort by", order), count),
    grid,
  );
}

function totals() {
  const { id, as_of, epoch, mean_topics } = raw.release;
  return el(
    "dl",
    { class: "figures" },
    figure(number(videos.length), "videos"),
    figure(number(topics.length), "topics"),
    figure(mean_topics.toFixed(2), "topics per video", "slots in use, on average over videos with topics"),
    figure(String(id), "release"),
    figure(day(as_of), "as of", as_of),
    figure(String(epoch), "topic epoch", "topic numbers are comparable within one epoch"),
  );
}

const labelled = (name, control) => el("label", { for: control.id }, el("span", {}, name), control);
const matches = (text) => {
  const parts = plain(text).split(/\s+/).filter(Boolean);
  return (topic) => parts.every((part) => plain(topic.terms.join(" ")).includes(part));
};
// Lower case without accents, as people type.
const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

function topicCard(topic) {
  return el(
    "li",
    { class: "card" },
    el("div", { class: "mosaic" }, topic.videos.slice(0, 8).map(({ video }) => cover(video))),
    el("h2", {}, el("a", { href: topicLink(topic), dir: "auto" }, labelOf(topic))),
    el("p", { class: "muted terms", dir: "auto" }, topic.terms.slice(2).join(", ")),
    el("p", { class: "facts" }, dot(topic), plural(topic.videos.length, "video"), topic.ctr === null ? null : el("span", { class: "ctr" }, `CTR ${percent(topic.ctr)}`)),
  );
}
