// The page's own data as objects: columns become rows, places become references, ten-thousandths become numbers.
const raw = JSON.parse(document.getElementById("data").textContent);
const SCALE = 10_000;
const scaled = (number) => (number === null ? null : number / SCALE);
const rate = (clicks, exposures) => (exposures ? clicks / exposures : null);

const days = raw.history.days; // {release, as_of}, oldest first
const topics = raw.topics.id.map((id, place) => {
  const column = (name) => raw.topics[name]?.[place] ?? null;
  const sizes = raw.history.sizes[place];
  return {
    id,
    place,
    terms: column("terms"),
    videos: column("videos"),
    nearest: column("nearest"),
    below: column("below"),
    exposures: column("exposures"),
    clicks: column("clicks"),
    ctr: rate(column("clicks"), column("exposures")),
    closeness: scaled(column("closeness")),
    born: column("born"),
    splitFrom: column("split_from"),
    className: column("class"),
    classShare: scaled(column("class_share")),
    xy: column("xy"),
    sizes,
    growth: sizes.length > 1 ? sizes.at(-1) - sizes.at(-2) : 0,
    start: raw.shelves.start[place],
  };
});
const topicById = new Map(topics.map((topic) => [String(topic.id), topic]));
const similarTo = (topic) =>
  raw.topics.similar[topic.place].map((place, i) => ({
    topic: topics[place],
    cosine: raw.topics.cosine[topic.place][i] / SCALE,
  }));

// Groups of topics: a topic's parent, or where there are no parents its main class.
const groups = new Map();
for (const topic of topics) {
  const parent = raw.topics.parent[topic.place];
  const name = raw.groups ? (raw.groups[parent]?.join(", ") || (parent === null ? "no group" : `group ${parent}`)) : (topic.className ?? "no class");
  const key = raw.groups && parent !== null ? String(parent) : name;
  if (!groups.has(key)) groups.set(key, { key, name, topics: [], videos: 0 });
  topic.group = groups.get(key);
  topic.group.topics.push(topic);
  topic.group.videos += topic.nearest;
}
const groupsBySize = [...groups.values()].sort((a, b) => b.videos - a.videos || (a.key < b.key ? -1 : 1));

// The ten largest groups have a colour each; the others share a grey.
const PALETTE = ["#4e79a7", "#e07b1a", "#e15759", "#59a14f", "#b07aa1", "#17a2a8", "#b98900", "#e8718a", "#9c755f", "#8468c9"];
const GREY = "#8b8e98";
const colours = new Map(groupsBySize.slice(0, PALETTE.length).map((group, i) => [group, PALETTE[i]]));
const colourOf = (topic) => colours.get(topic.group) ?? GREY;
