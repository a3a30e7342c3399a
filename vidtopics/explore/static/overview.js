const byPlace = (order) => (a, b) => order(a, b) || a.place - b.place;
const ORDERS = {
  size: ["Most videos", (a, b) => b.videos - a.videos],
  grew: ["Grew most", (a, b) => b.growth - a.growth],
  shrank: ["Shrank most", (a, b) => a.growth - b.growth],
  loose: ["Loosest", (a, b) => (a.closeness ?? 2) - (b.closeness ?? 2)],
  exposures: ["Most exposures", (a, b) => b.exposures - a.exposures],
  ctr: ["Highest click-through rate", (a, b) => (b.ctr ?? -1) - (a.ctr ?? -1)],
  low: ["Lowest click-through rate", (a, b) => (a.ctr ?? 2) - (b.ctr ?? 2)],
  born: ["Newest", (a, b) => (a.born < b.born ? 1 : a.born > b.born ? -1 : 0)],
  label: ["Label, A to Z", (a, b) => labelOf(a).localeCompare(labelOf(b), "en")],
  id: ["Topic number", () => 0],
};

// All topics, or those of a group; the order and the filter stand in the address.
function overview(group, state) {
  const shownTopics = group ? group.topics : topics;
  const grid = el("div");
  const filter = el("input", { type: "search", id: "filter", placeholder: "Filter by label", autocomplete: "off", spellcheck: "false", value: state.get("filter") ?? "", oninput: () => update(true) });
  const order = el("select", { id: "order", onchange: () => update(true) }, Object.entries(ORDERS).map(([key, [name]]) => el("option", { value: key, selected: key === state.get("sort") }, name)));
  const count = el("p", { class: "muted", role: "status" });
  function update(store) {
    const rows = shownTopics.filter(matches(filter.value)).sort(byPlace(ORDERS[order.value][1]));
    count.textContent = plural(rows.length, "topic");
    grid.replaceChildren(...grow(el("ul", { class: "cards" }), rows, (topic) => topicCard(topic, order.value), { step: 24, ahead: true }));
    if (store) replaceState({ sort: order.value === "size" ? "" : order.value, filter: filter.value });
  }
  update(false);
  const head = group
    ? el("div", { class: "head" }, el("p", { class: "muted crumb" }, el("a", { href: "#/" }, "Topics"), ` / ${raw.groups ? "group" : "class"}`), el("h1", { tabindex: "-1", dir: "auto" }, group.name))
    : el("h1", { tabindex: "-1" }, "Topics");
  return el(
    "div",
    { class: "page" },
    head,
    group ? groupFigures(group) : totals(),
    group ? null : morning(),
    group || groups.size < 2 ? null : groupChips(),
    topicMap(shownTopics),
    el("div", { class: "tools" }, labelled("Filter", filter), labelled("Sort by", order), count),
    grid,
  );
}

function totals() {
  const { id, as_of, epoch, mean_topics, videos, below } = raw.release;
  return el(
    "dl",
    { class: "figures" },
    figure(number(videos), "videos"),
    figure(number(topics.length), "topics"),
    figure(mean_topics.toFixed(2), "topics per video", "slots in use, on average over videos with topics"),
    figure(percent(rate(below, videos)), "below threshold", "videos with no centre within the threshold"),
    figure(String(id), "release"),
    figure(day(as_of), "as of", as_of),
    figure(String(epoch), "topic epoch", "topic numbers are comparable within one epoch"),
  );
}

function groupFigures(group) {
  const sum = (name) => group.topics.reduce((total, topic) => total + topic[name], 0);
  return el("dl", { class: "figures" }, figure(number(group.topics.length), "topics"), figure(number(group.videos), "videos", "by their first topic"), figure(number(sum("exposures")), "exposures", "a video counts in each of its topics"), figure(percent(rate(sum("clicks"), sum("exposures"))), "CTR"));
}

// What to look at first: each line leads to its page.
function morning() {
  const line = (link, name, part, say) => settle(el("li", {}, el("a", { href: link }, name)), load(part), (content) => [el("a", { href: link }, name), el("span", { class: "muted" }, say(content))]);
  return el(
    "nav",
    { class: "panel morning", "aria-label": "What to look at" },
    el(
      "ul",
      {},
      line("#/changes", "Changes", "changes", (content) => (content ? `${plural(content.arrived, "new video")}, ${plural(content.born.length, "topic")} born, ${content.retired.length} retired, ${percent(rate(content.compared - content.same_first, content.compared))} moved` : "nothing to compare with")),
      line("#/misplaced", "Misplaced?", "misplaced", (content) => `${plural(content.other_class_count, "video")} of another class, ${number(content.below_count)} far from every centre`),
      line("#/duplicates", "Duplicates", "duplicates", (content) => `${plural(content.contents, "content")} with copies, ${number(content.apart)} in different topics`),
    ),
  );
}

function groupChips() {
  const chip = (group) => el("li", {}, el("a", { href: groupLink(group), class: "chip", dir: "auto" }, el("i", { class: "dot", "--colour": colours.get(group) ?? GREY, "aria-hidden": "true" }), group.name, el("span", { class: "muted" }, plural(group.topics.length, "topic"))));
  return el("section", {}, el("h2", {}, raw.groups ? "Groups" : "Topics by main class"), grow(el("ul", { class: "chips" }), groupsBySize, chip, { step: 24 }));
}

const FACTS = {
  grew: (topic) => `${signed(topic.growth)} videos`,
  shrank: (topic) => `${signed(topic.growth)} videos`,
  loose: (topic) => `closeness ${topic.closeness === null ? "–" : topic.closeness.toFixed(3)}`,
  exposures: (topic) => plural(topic.exposures, "exposure"),
  born: (topic) => `born ${day(topic.born)}`,
};

function topicCard(topic, order) {
  const places = Array.from({ length: Math.min(8, topic.nearest) }, (_, i) => topic.start + i);
  const mosaic = el("div", { class: "mosaic", "--rows": Math.ceil(places.length / 4) }); // as high before as with covers
  whenNear(mosaic, () => settle(mosaic, Promise.all(places.map(loadVideo)), (loaded) => loaded.map(cover)));
  const fact = FACTS[order] ? FACTS[order](topic) : topic.ctr === null ? null : `CTR ${percent(topic.ctr)}`;
  return el(
    "li",
    { class: "card" },
    mosaic,
    el("h2", {}, el("a", { href: topicLink(topic), dir: "auto" }, labelOf(topic))),
    el("p", { class: "muted terms", dir: "auto" }, topic.terms.slice(2).join(", ")),
    el("p", { class: "facts" }, dot(topic), plural(topic.videos, "video"), fact === null ? null : el("span", { class: "ctr" }, fact)),
  );
}
