function topicPage(topic) {
  const head = el(
    "div",
    { class: "head" },
    el("p", { class: "muted crumb" }, el("a", { href: "#/" }, "Topics"), ` / ${topic.id}`),
    el("h1", { tabindex: "-1", dir: "auto" }, labelOf(topic)),
    el("p", { class: "muted terms", dir: "auto" }, topic.terms.slice(2).join(", ")),
  );
  const facts = el(
    "dl",
    { class: "figures" },
    figure(number(topic.videos.length), "videos", "videos that carry the topic"),
    figure(number(topic.nearest), "nearest", "videos whose nearest centre it is"),
    figure(percent(topic.ctr), "CTR", "clicks over exposures of its videos together"),
    figure(day(topic.born), "born", "as-of date of the run that found it"),
    figure(topic.className ?? "–", "main class", "the primary class of most of its videos"),
  );
  return el("div", { class: "page" }, head, facts, similarTopics(topic), el("div", { class: "columns" }, central(topic), queue(topic)));
}

function similarTopics(topic) {
  const entries = similarTo(topic).map(({ topic: other, cosine }) =>
    el("li", {}, el("a", { href: topicLink(other), class: "chip" }, dot(other), labelOf(other), el("span", { class: "muted", title: "cosine of the centres" }, cosine.toFixed(2)))),
  );
  return el("section", {}, el("h2", {}, "Similar topics"), el("ul", { class: "chips" }, entries));
}

function central(topic) {
  const list = el("ul", { class: "tiles" });
  return el("section", { class: "central" }, el("h2", {}, "Most central videos"), grow(list, topic.videos, videoTile, { step: 30 }));
}

function queue(topic) {
  const rows = queueOf(topic);
  const none = hasQueues ? "No video passes the queue's rules." : "This release has no queues yet; vidtopics run makes them.";
  const list = el("ol", { class: "queue" });
  return el("section", { class: "queued" }, el("h2", {}, "Queue"), rows.length ? grow(list, rows, queueRow, { step: 25 }) : el("p", { class: "muted" }, none));
}

function queueRow({ video, position, ctr, exposures, fresh }) {
  return el(
    "li",
    {},
    el("span", { class: "position" }, String(position)),
    cover(video),
    el(
      "div",
      {},
      el("a", { href: videoLink(video), dir: "auto" }, video.title || video.id),
      el("p", { class: "muted" }, `CTR ${percent(ctr)} · ${plural(exposures, "exposure")}`, fresh ? el("span", { class: "badge" }, "fresh") : null),
    ),
  );
}
