const CENTRAL_NOTE = "cosine to the topic's centre";

function topicPage(topic) {
  const head = el(
    "div",
    { class: "head" },
    el("p", { class: "muted crumb" }, el("a", { href: "#/" }, "Topics"), " / ", el("a", { href: groupLink(topic.group), dir: "auto" }, topic.group.name), ` / ${topic.id}`),
    el("h1", { tabindex: "-1", dir: "auto" }, labelOf(topic)),
    el("p", { class: "muted terms", dir: "auto" }, topic.terms.slice(2).join(", ")),
  );
  const content = load(`topics/${topic.place}`);
  const columns = el(
    "div",
    { class: "columns" },
    el("div", { class: "stack" }, central(topic, content), rim(topic)),
    settle(el("section", { class: "queued" }), content, (loaded) => queue(topic, loaded)),
  );
  const over = settle(el("div"), content, (loaded) => historyOf(topic, loaded));
  return el("div", { class: "page" }, head, topicFigures(topic), similarTopics(topic), over, columns);
}

function topicFigures(topic) {
  const origin = topicById.get(String(topic.splitFrom));
  return el(
    "dl",
    { class: "figures" },
    figure(number(topic.videos), "videos", "videos that carry the topic", days.length > 1 ? signed(topic.growth) : undefined),
    figure(number(topic.nearest), "nearest", "videos whose nearest centre it is"),
    figure(number(topic.exposures), "exposures", "of its videos together"),
    figure(percent(topic.ctr), "CTR", "clicks over exposures of its videos together"),
    figure(topic.closeness === null ? "–" : topic.closeness.toFixed(3), "closeness", "mean cosine to its centre of the videos that are nearest to it; a loose topic has a low one"),
    figure(number(topic.below), "below threshold", "nearest videos with no centre within the threshold"),
    figure(day(topic.born), "born", "as-of date of the run that found it"),
    topic.splitFrom ? figure(origin ? el("a", { href: topicLink(origin) }, labelOf(origin)) : String(topic.splitFrom), "split from") : null,
    figure(topic.className === null ? "–" : `${topic.className} ${Math.round(100 * topic.classShare)}%`, "main class", "the primary class of most of its videos, and their share"),
  );
}

function similarTopics(topic) {
  const entries = similarTo(topic).map(({ topic: other, cosine }) => topicChip(other, cosine.toFixed(2), "cosine of the centres"));
  return el("section", { class: "similar" }, el("h2", {}, "Similar topics"), el("ul", { class: "chips" }, entries));
}

function central(topic, content) {
  return settle(el("section", { class: "central" }), content, ({ central: places, weights }) => [
    el("h2", {}, "At its centre"),
    places.length < topic.videos ? el("p", { class: "muted" }, `The ${number(places.length)} nearest of ${plural(topic.videos, "video")}.`) : null,
    ...videoTiles(places.map((place, i) => ({ place, note: (weights[i] / SCALE).toFixed(3), hint: CENTRAL_NOTE })), { step: 18 }),
  ].filter(Boolean));
}

// The last of the videos whose nearest centre it is: they lie by falling weight.
function rim(topic) {
  const count = Math.min(12, Math.floor(topic.nearest / 2));
  if (!count) return null;
  const places = Array.from({ length: count }, (_, i) => topic.start + topic.nearest - 1 - i);
  const weight = (video) => video.topics[0].weight.toFixed(3);
  return el("section", { class: "rim" }, el("h2", {}, "At its rim"), el("p", { class: "muted" }, "Nearest to this centre, and yet far: is one of them misplaced?"), videoTiles(places.map((place) => ({ place, note: weight, hint: CENTRAL_NOTE }))));
}

function queue(topic, { queue: rows, queued }) {
  const none = raw.queues ? "No video passes the queue's rules." : "This release has no queues yet; vidtopics run makes them.";
  const list = el("ol", { class: "queue" });
  return [
    el("h2", {}, "Queue"),
    queued > rows.length ? el("p", { class: "muted" }, `The first ${number(rows.length)} of ${number(queued)} places.`) : null,
    ...(rows.length ? grow(list, rows.map((row, i) => [i + 1, ...row]), queueRow, { step: 25 }) : [el("p", { class: "muted" }, none)]),
  ].filter(Boolean);
}

function queueRow([position, place, ctr, exposures, fresh]) {
  const facts = `CTR ${percent(ctr / SCALE)} · ${plural(exposures, "exposure")}`;
  const row = el("li", {}, el("span", { class: "position" }, String(position)), el("span", { class: "cover" }));
  return settle(row, loadVideo(place), (video) => [
    el("span", { class: "position" }, String(position)),
    cover(video),
    el("div", {}, el("a", { href: videoLink(video), dir: "auto" }, video.title || video.id), el("p", { class: "muted" }, facts, fresh ? el("span", { class: "badge" }, "fresh") : "")),
  ]);
}
