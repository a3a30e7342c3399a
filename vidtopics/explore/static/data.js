// The page's data as objects: columns become rows, places become references, ten-thousandths become numbers.
const raw = JSON.parse(document.getElementById("data").textContent);
const SCALE = 10_000;
const scaled = (number) => (number === null ? null : number / SCALE);

const topics = raw.topics.id.map((id, place) => ({
  id,
  place,
  terms: raw.topics.terms[place],
  nearest: raw.topics.nearest[place],
  born: raw.topics.born[place],
  className: raw.topics.class[place],
  ctr: scaled(raw.topics.ctr[place]),
  xy: raw.topics.xy[place],
  videos: [], // {video, weight}, the most central first
}));

const videos = raw.videos.id.map((id, place) => ({
  id,
  place,
  title: raw.videos.title[place],
  below: raw.videos.below[place] === 1,
  exposures: raw.videos.exposures[place],
  clicks: raw.videos.clicks[place],
  ctr: scaled(raw.videos.ctr[place]),
  topics: [], // {topic, weight}, by falling weight
}));

raw.videos.topics.forEach((row, place) => {
  for (let slot = 0; slot < row.length; slot += 2) {
    const [topic, weight] = [topics[row[slot]], row[slot + 1] / SCALE];
    videos[place].topics.push({ topic, weight });
    topic.videos.push({ video: videos[place], weight });
  }
});
for (const topic of topics) topic.videos.sort((a, b) => b.weight - a.weight || a.video.place - b.video.place);

const topicById = new Map(topics.map((topic) => [String(topic.id), topic]));
const videoById = new Map(videos.map((video) => [video.id, video]));
const words = (field, video) => raw.videos[field][video.place].map((number) => raw[field][number]);
const similarTo = (topic) =>
  raw.topics.similar[topic.place].map((place, i) => ({
    topic: topics[place],
    cosine: raw.topics.cosine[topic.place][i] / SCALE,
  }));

const hasQueues = raw.topics.queue !== null;
const queueOf = (topic) =>
  (hasQueues ? raw.topics.queue[topic.place] : []).map(([place, ctr, exposures, fresh], i) => ({
    video: videos[place],
    position: i + 1,
    ctr: ctr / SCALE,
    exposures,
    fresh: fresh === 1,
  }));

// The ten classes of most topics have a colour each; the others share a grey.
const PALETTE = ["#4e79a7", "#e07b1a", "#e15759", "#59a14f", "#b07aa1", "#17a2a8", "#b98900", "#e8718a", "#9c755f", "#8468c9"];
const GREY = "#8b8e98";
const classCounts = new Map();
for (const { className } of topics) if (className) classCounts.set(className, (classCounts.get(className) ?? 0) + 1);
const classesBySize = [...classCounts.keys()].sort((a, b) => classCounts.get(b) - classCounts.get(a) || (a < b ? -1 : 1));
const colours = new Map(classesBySize.slice(0, PALETTE.length).map((name, i) => [name, PALETTE[i]]));
const colourOf = (topic) => colours.get(topic.className) ?? GREY;
