function changesPage(content) {
  if (!content) return plainPage("Changes", "There is no release of an earlier day in this topic epoch to compare with.");
  const { since, compared, same_first, same_set, arrived, departed } = content;
  return el(
    "div",
    { class: "page" },
    el("h1", { tabindex: "-1" }, "Changes"),
    el("p", { class: "muted" }, `Since release ${since.release}, as of ${day(since.as_of)}.`),
    el(
      "dl",
      { class: "figures" },
      figure(number(arrived), "new videos"),
      figure(number(departed), "videos gone"),
      figure(number(content.born.length), "topics born"),
      figure(number(content.retired.length), "topics retired"),
      figure(percent(rate(same_first, compared)), "kept their first topic", `of ${plural(compared, "video")} that had topics then and have now`),
      figure(percent(rate(same_set, compared)), "kept their set of topics", "what rankers read"),
    ),
    growthSection("Grew most", (a, b) => b.growth - a.growth),
    growthSection("Shrank most", (a, b) => a.growth - b.growth),
    section("Topics born", content.born, (place) => topicChip(topics[place], `${plural(topics[place].videos, "video")}${topics[place].splitFrom ? `, split from ${topics[place].splitFrom}` : ""}`)),
    retiredTopics(content.retired),
    section("Where new videos went", content.arrivals_by_topic, ([place, count]) => topicChip(topics[place], signed(count))),
    content.moves.length ? el("section", {}, el("h2", {}, "Moved videos"), el("ul", { class: "moves" }, content.moves.map(moveRow))) : null,
    content.arrivals.length ? el("section", {}, el("h2", {}, "New videos"), videoTiles(content.arrivals.map((place) => ({ place, note: exposuresOf })))) : null,
  );
}

function growthSection(name, order) {
  const sign = name === "Grew most" ? 1 : -1;
  const rows = topics.filter((topic) => topic.growth * sign > 0).sort((a, b) => order(a, b) || a.place - b.place);
  return section(name, rows.slice(0, 12), (topic) => topicChip(topic, signed(topic.growth), "videos since then"));
}

const section = (name, items, make) => (items.length ? el("section", {}, el("h2", {}, name), el("ul", { class: "chips" }, items.map(make))) : null);

function retiredTopics(retired) {
  if (!retired.length) return null;
  const row = ({ id, terms, went }) => el("li", {}, el("b", { dir: "auto" }, terms.slice(0, 2).join(", ") || `Topic ${id}`), el("span", { class: "muted" }, went.length ? " its videos went to " : " its videos are gone"), el("ul", { class: "chips" }, went.map(([place, count]) => topicChip(topics[place], number(count)))));
  return el("section", {}, el("h2", {}, "Topics retired"), el("ul", { class: "moves" }, retired.map(row)));
}

function moveRow({ from, to, videos, examples }) {
  const origin = topicById.get(String(from));
  const name = origin ? el("a", { href: topicLink(origin), dir: "auto" }, labelOf(origin)) : `topic ${from}, retired`;
  return el(
    "li",
    {},
    el("p", {}, `${plural(videos, "video")} from `, name, " to ", el("a", { href: topicLink(topics[to]), dir: "auto" }, labelOf(topics[to]))),
    el("ul", { class: "tiles small" }, examples.map((place) => videoTile({ place, note: exposuresOf }))),
  );
}

const NEAR = 0.9; // cosine of two centres from which the topics are shown as nearly the same
function duplicatesPage(content) {
  const pairs = topics
    .flatMap((topic) => similarTo(topic).filter(({ topic: other, cosine }) => other.place > topic.place && cosine >= NEAR).map(({ topic: other, cosine }) => ({ topic, other, cosine })))
    .sort((a, b) => b.cosine - a.cosine || a.topic.place - b.topic.place);
  const pair = ({ topic, other, cosine }) => el("li", {}, el("a", { href: topicLink(topic), dir: "auto" }, labelOf(topic)), " and ", el("a", { href: topicLink(other), dir: "auto" }, labelOf(other)), el("span", { class: "muted" }, ` ${cosine.toFixed(2)}`));
  const group = ({ places, videos, topics: count }) =>
    el("li", {}, el("p", {}, plural(videos, "copy").replace("copys", "copies"), count > 1 ? el("span", { class: "badge" }, `in ${count} topics`) : null), el("ul", { class: "tiles small" }, places.map((place) => videoTile({ place, note: inTopic }))));
  return el(
    "div",
    { class: "page" },
    el("h1", { tabindex: "-1" }, "Duplicates"),
    el("dl", { class: "figures" }, figure(number(content.contents), "contents with copies", "cover and title are equal"), figure(number(content.videos), "videos among them"), figure(number(content.apart), "copies in different topics"), figure(number(pairs.length), "pairs of like topics", `cosine of the centres at least ${NEAR}`)),
    content.alike.length ? el("section", {}, el("h2", {}, "Videos with nearly the same cover and title"), content.recall < 1 ? el("p", { class: "muted" }, `Found by an index that sees ${Math.round(100 * content.recall)}% of each video's neighbours.`) : null, grow(el("ul", { class: "moves" }), content.alike, alikePair, { step: 12 })) : null,
    pairs.length ? el("section", {}, el("h2", {}, "Topics that are nearly the same"), grow(el("ul", { class: "pairs" }), pairs, pair, { step: 24 })) : null,
    el("section", {}, el("h2", {}, "Videos with one cover and title"), content.groups.length ? grow(el("ul", { class: "moves" }), content.groups, group, { step: 12, ahead: true }) : el("p", { class: "muted" }, "None.")),
  );
}

const inTopic = (video) => (video.topics[0] ? labelOf(video.topics[0].topic) : "no topic");
function alikePair([cosine, ...places]) {
  return el("li", {}, el("p", { class: "muted" }, `cosine ${cosine.toFixed(3)}`), el("ul", { class: "tiles small" }, places.map((place) => videoTile({ place, note: inTopic }))));
}

function misplacedPage(content) {
  const first = (video) => (video.topics[0] ? `${exposuresOf(video)}; in ${labelOf(video.topics[0].topic)}` : exposuresOf(video));
  const list = (name, note, places, count) =>
    el("section", {}, el("h2", {}, name), el("p", { class: "muted" }, `${note} ${places.length < count ? `The ${number(places.length)} most exposed of ${number(count)}.` : plural(count, "video")}`), places.length ? videoTiles(places.map((place) => ({ place, note: first }))) : null);
  return el(
    "div",
    { class: "page" },
    el("h1", { tabindex: "-1" }, "Misplaced?"),
    el("p", { class: "muted" }, "Videos to look at, those that most people see first."),
    list("Of another class than their topic", "At least half of the topic's videos are of one class, and this one isn't.", content.other_class, content.other_class_count),
    content.disagreeing.length ? list("Brought by one block alone", "Tags say one thing, cover and title another: their cosines to the topic's centre differ most.", content.disagreeing, content.disagreeing.length) : null,
    list("Far from every centre", "No centre lies within the threshold.", content.below, content.below_count),
  );
}

const plainPage = (title, text) => el("div", { class: "page" }, el("h1", { tabindex: "-1" }, title), el("p", {}, text));
