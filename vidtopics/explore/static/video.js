function videoPage(video) {
  const facts = el(
    "dl",
    { class: "figures" },
    figure(number(video.exposures), "exposures"),
    figure(number(video.clicks), "clicks"),
    figure(percent(video.ctr), "CTR", "smoothed towards the mean of all videos"),
    figure(day(video.published), "published"),
  );
  const text = el(
    "div",
    {},
    el("p", { class: "muted crumb" }, el("a", { href: "#/" }, "Topics"), ` / video ${video.id}`),
    el("h1", { tabindex: "-1", dir: "auto" }, video.title || "No title"),
    wordList("Classes", video.classes),
    wordList("Tags", video.tags, (tag) => `#/search/${encodeURIComponent(tag)}`),
  );
  return el("div", { class: "page" }, el("div", { class: "hero" }, cover(video), text), facts, weights(video), neighbours("Nearest by tags", video.nearByTags), neighbours("Nearest by cover and title", video.nearByContent));
}

function wordList(name, entries, link) {
  if (!entries.length) return null;
  const entry = (word) => (link ? el("a", { href: link(word) }, word) : word);
  return el("div", { class: "words" }, el("h2", {}, name), el("ul", { class: "chips", dir: "auto" }, entries.map((word) => el("li", { class: "chip plain" }, entry(word)))));
}

function weights(video) {
  const note = video.below ? el("p", { class: "muted" }, "No centre lies within the threshold; the nearest is given.") : null;
  const list = video.topics.length ? el("ol", { class: "weights" }, video.topics.map((entry, slot) => weightRow(video, entry, slot))) : el("p", { class: "muted" }, "No topics: neither its content nor its tags are known yet.");
  return el("section", {}, el("h2", {}, "Why is it here?"), note, list);
}

function weightRow(video, { topic, weight }, slot) {
  const row = el("p", { class: "muted place" });
  return el(
    "li",
    {},
    el("a", { href: topicLink(topic), dir: "auto" }, labelOf(topic)),
    el("span", { class: "bar-back" }, el("span", { class: "bar-fill", "--colour": colourOf(topic), "--share": Math.max(weight, 0) })),
    el("span", { class: "weight", title: "cosine to the topic's centre" }, weight.toFixed(3)),
    blockCosines(video, slot),
    settle(row, load(`topics/${topic.place}`), ({ queue: rows }) => reasons(video, topic, rows).join(" · ")),
  );
}

// Terms of the topic's label that the video has, its classes beside the topic's, its place in the queue.
function reasons(video, topic, rows) {
  const own = new Set(wordsOf([video.title, ...video.tags].join(" ")));
  const shared = topic.terms.filter((term) => wordsOf(term).every((word) => own.has(word)));
  const position = rows.findIndex(([place]) => place === video.place) + 1;
  return [
    shared.length ? `shares ${shared.join(", ")}` : "shares no term of its label",
    topic.className !== null && video.classes.length ? (video.classes.includes(topic.className) ? `of its main class ${topic.className}` : `not of its main class ${topic.className}`) : null,
    position ? `no. ${position} in its queue` : null,
  ].filter(Boolean);
}

// Which of the two blocks brought it: the cosine of each to the centre's.
function blockCosines(video, slot) {
  if (!video.tagCosines) return null;
  const say = (value) => (value === null ? "none" : (value / SCALE).toFixed(2));
  return el("p", { class: "muted place", title: "cosines to the same block of the centre" }, `tags ${say(video.tagCosines[slot])}, cover and title ${say(video.jointCosines[slot])}`);
}

// Of the videos of the same first topic, those that one block alone is most like.
function neighbours(name, places) {
  if (!places?.length) return null;
  return el("section", {}, el("h2", {}, name), el("p", { class: "muted" }, "Of the videos of its first topic."), videoTiles(places.map((place) => ({ place, note: exposuresOf }))));
}
