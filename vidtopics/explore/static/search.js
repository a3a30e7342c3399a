let haystack = null; // made at the first search: one plain text per video

function searchPage(query) {
  const found = find(query);
  const close = topics.filter(matches(query)).slice(0, 12);
  const chips = close.map((topic) => el("li", {}, el("a", { href: topicLink(topic), class: "chip" }, dot(topic), labelOf(topic))));
  return el(
    "div",
    { class: "page" },
    el("h1", { tabindex: "-1" }, `Results for “${query}”`),
    el("p", { class: "muted", role: "status" }, `${plural(found.length, "video")}, ${plural(close.length, "topic")}`),
    chips.length ? el("ul", { class: "chips" }, chips) : null,
    grow(el("ul", { class: "tiles" }), found.map((video) => ({ video })), videoTile, { step: 60, ahead: true }),
  );
}

// Videos whose id or title has every word: that very id first, then titles that begin so, then the rest.
function find(query) {
  haystack ??= videos.map((video) => plain(`${video.title}\n${video.id}`));
  const [wanted, id] = [plain(query).trim(), query.trim()];
  const parts = wanted.split(/\s+/).filter(Boolean);
  const rank = (video) => (video.id === id ? 0 : haystack[video.place].startsWith(wanted) ? 1 : 2);
  const found = parts.length ? videos.filter((video) => parts.every((part) => haystack[video.place].includes(part))) : [];
  return found.map((video) => [rank(video), video]).sort((a, b) => a[0] - b[0] || a[1].place - b[1].place).map(([, video]) => video);
}
