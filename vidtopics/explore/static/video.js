function videoPage(video) {
  const classes = [...words("primary_classes", video), ...words("secondary_classes", video)];
  const facts = el(
    "dl",
    { class: "figures" },
    figure(number(video.exposures), "exposures"),
    figure(number(video.clicks), "clicks"),
    figure(percent(video.ctr), "CTR", "smoothed towards the mean of all videos"),
  );
  const text = el(
    "div",
    {},
    el("p", { class: "muted crumb" }, el("a", { href: "#/" }, "Topics"), ` / video ${video.id}`),
    el("h1", { tabindex: "-1", dir: "auto" }, video.title || "No title"),
    wordList("Classes", classes),
    wordList("Tags", words("tags", video)),
  );
  return el("div", { class: "page" }, el("div", { class: "hero" }, cover(video), text), facts, weights(video));
}

function wordList(name, entries) {
  if (!entries.length) return null;
  return el("div", { class: "words" }, el("h2", {}, name), el("ul", { class: "chips", dir: "auto" }, entries.map((word) => el("li", { class: "chip plain" }, word))));
}

function weights(video) {
  const note = video.below ? "No centre lies within the threshold; the nearest is given." : null;
  const rows = video.topics.map(({ topic, weight }) => {
    const position = queueOf(topic).find((row) => row.video === video)?.position;
    return el(
      "li",
      {},
      el("a", { href: topicLink(topic), dir: "auto" }, labelOf(topic)),
      el("span", { class: "bar-back" }, el("span", { class: "bar-fill", "--colour": colourOf(topic), "--share": Math.max(weight, 0) })),
      el("span", { class: "weight" }, weight.toFixed(3)),
      position === undefined ? null : el("span", { class: "muted place" }, `no. ${position} in its queue`),
    );
  });
  const list = rows.length ? el("ol", { class: "weights" }, rows) : el("p", { class: "muted" }, "No topics: neither its content nor its tags are known yet.");
  return el("section", {}, el("h2", {}, "Topics and weights"), note ? el("p", { class: "muted" }, note) : null, list);
}
