// The panel: how fast events are applied, and a topic's queue as it is now.
const POLL_MS = 2_000;
const STALLED_MS = 3_000;
const WINDOW = 6; // polls that the rate is taken over
const NOBODY = "Events are accepted, but nobody applies them: start `vidtopics events apply`. Until then nothing changes here.";
const live = { topic: null, topics: new Map(), status: null, queue: null, counts: [], applied: null };
let polling = null;

const entriesOf = (part) => Object.entries(part.entries).reduce((sum, [outcome, count]) => (outcome === "implied" ? sum : sum + count), 0);

async function poll() {
  clearTimeout(polling);
  if (!document.hidden) {
    await tried("status", takeStatus);
    if (live.topic !== null) await tried("status", takeQueue);
    drawLive();
  }
  clearTimeout(polling);
  polling = setTimeout(poll, POLL_MS);
}

async function takeStatus() {
  const status = await askStatus();
  const [at, entries] = [performance.now(), entriesOf(status.user) + entriesOf(status.video)];
  if (live.status?.release !== status.release || entries < live.counts.at(-1)?.entries) live.counts = [];
  live.counts = [...live.counts.slice(-WINDOW), { at, entries, events: entriesOf(status.user) }];
  const isWaiting = status.user.waiting || status.video.waiting;
  if (!isWaiting || live.applied?.entries !== entries) live.applied = { at, entries };
  const isNobody = status.user.events_from === null || at - live.applied.at >= STALLED_MS;
  say("consumer", isNobody ? NOBODY : null);
  live.status = status;
}

function rate() {
  const [first, last] = [live.counts[0], live.counts.at(-1)];
  return first === last ? null : (1_000 * (last.events - first.events)) / (last.at - first.at);
}

async function takeQueue() {
  const topic = live.topic;
  const answer = await askQueue(topic);
  const videos = await askVideos(answer.videos);
  if (topic !== live.topic) return;
  const before = live.queue?.topic === topic ? live.queue : null;
  live.queue = { topic, terms: answer.label_terms, ids: answer.videos, videos, before };
}

function drawLive() {
  const panel = document.getElementById("live");
  if (!panel.firstChild) {
    panel.append(el("h2", {}, "Live"), el("dl", { class: "figures" }), el("p", { class: "muted", id: "model" }), el("div", {}, el("label", { for: "queues" }, "Queue of"), el("select", { id: "queues", onchange: (event) => chooseTopic(live.topics.get(Number(event.target.value))) })), el("div", { id: "queue" }));
  }
  drawFigures(panel.querySelector(".figures"));
  drawChoice(panel.querySelector("select"));
  if (live.queue) drawQueue(panel.querySelector("#queue"));
}

function drawFigures(list) {
  const { status } = live;
  if (!status) return;
  const perSecond = rate();
  const lag = Math.max(status.user.lag_ms ?? 0, status.video.lag_ms ?? 0);
  const waiting = status.user.waiting || status.video.waiting;
  list.replaceChildren(
    figure(perSecond === null ? "–" : perSecond < 10 ? perSecond.toFixed(1) : number(Math.round(perSecond)), "events/s"),
    figure(status.user.events_from === null ? "–" : waiting ? `${number(lag)} ms` : "none", "lag"),
    figure(number(live.counts.at(-1).events), "events so far"),
    figure(String(status.release), "release"),
  );
  const model = status.model ? `Ranking model ${status.model.version}, trained on release ${status.model.trained_on_release}` : "No ranking model";
  document.getElementById("model").textContent = model;
}

function drawChoice(select) {
  const options = [...live.topics.values()];
  const names = options.map((topic) => `${topic.topic_id} ${termsOf(topic)}`).join("\n");
  if (select.dataset.names !== names) {
    select.dataset.names = names;
    select.replaceChildren(...options.map((topic) => el("option", { value: topic.topic_id }, `${termsOf(topic)} (${topic.topic_id})`)));
  }
  if (live.topic !== null) select.value = String(live.topic);
}

function drawQueue(place) {
  const { ids, videos, before } = live.queue;
  if (!ids.length) return place.replaceChildren(el("p", { class: "muted" }, "The queue is empty."));
  place.replaceChildren(el("ol", { class: "queue" }, ids.map((id, at) => queueRow(at, videos.get(id) ?? nobody(id), before))));
}

function queueRow(at, video, before) {
  const earlier = before ? before.ids.indexOf(video.id) : at;
  const climbed = earlier < 0 ? null : earlier - at;
  const counted = before?.videos.get(video.id);
  const hasChanged = climbed !== 0 || (counted && counted.exposures !== video.exposures);
  const move = climbed === null ? el("span", { class: "move up" }, "new") : climbed > 0 ? el("span", { class: "move up" }, `▲ ${climbed}`) : climbed < 0 ? el("span", { class: "move down" }, `▼ ${-climbed}`) : el("span", { class: "move" });
  return el(
    "li",
    { class: hasChanged ? "moved" : null, "data-video": video.id },
    el("span", { class: "position" }, String(at + 1)),
    move,
    coverOf(video),
    el("div", {}, titleNode(video), el("p", { class: "muted" }, `CTR ${percent(ctrOf(video))} · ${plural(video.exposures, "impression")}`)),
  );
}

// Topics that can be chosen: those of the user and of what is recommended.
function offerTopics(topics) {
  live.topics = new Map(topics.map((topic) => [topic.topic_id, topic]));
  if (!live.topics.has(live.topic)) live.topic = topics[0]?.topic_id ?? null;
}

function chooseTopic(topic) {
  live.topic = topic.topic_id;
  if (!live.topics.has(topic.topic_id)) live.topics.set(topic.topic_id, topic);
  live.queue = null;
  for (const button of document.querySelectorAll("[data-topic]")) button.setAttribute("aria-pressed", String(Number(button.dataset.topic) === live.topic));
  poll();
}
