// What the service recommends. What is shown is an impression, a click on it a click: both are sent.
const STAGES = {
  ranker: "No ranking model scored these: they stand in the order of recall, without scores. `vidtopics train ranking` trains one for the release.",
  queues: "The queues of topics gave nothing: what is popular with all is shown.",
  user: "Nothing is known of this user's topics: what is popular in each topic group is shown.",
  events: "What users did of late isn't counted: events have waited for more than `online.max_event_lag` to be applied (see that `vidtopics events apply` runs), or this user's value in Redis is damaged.",
  labels: "The home's tables can't be read: topics are shown by number.",
};
let impressions = new Map(); // by video, of what is shown now

function drawRecommended(answer, videos, before) {
  const earlier = new Set(before?.videos.map((video) => video.video_id));
  const rows = answer.videos.map((recommended) => {
    const video = videos.get(recommended.video_id) ?? nobody(recommended.video_id);
    return recommendedRow(recommended, video, before && !earlier.has(video.id));
  });
  const list = rows.length ? el("ol", { class: "recommended" }, rows) : el("p", { class: "muted" }, "Nothing is recommended.");
  document.getElementById("recommended").replaceChildren(el("h2", {}, "Recommended: click one"), list);
  say("degraded", answer.degraded.map((stage) => STAGES[stage] ?? stage).join(" ") || null);
}

function recommendedRow(recommended, video, isNew) {
  const button = el("button", { type: "button", class: "watch", onclick: () => click(video, button) }, coverOf(video), titleNode(video));
  const score = recommended.score === null ? "no score" : `score ${recommended.score.toFixed(3)}`;
  return el(
    "li",
    { class: isNew ? "moved" : null, "data-video": video.id },
    button,
    el("p", { class: "muted" }, `${score} · CTR ${percent(ctrOf(video))}`, isNew ? el("span", { class: "badge" }, "new") : null),
    el("p", { class: "muted reason", dir: "auto" }, recommended.reason),
    el("ul", { class: "chips" }, recommended.topics.slice(0, 2).map((topic) => el("li", {}, topicButton(topic)))),
  );
}

async function sendImpressions(user, videos) {
  const request = crypto.randomUUID();
  const shown = new Date(now()).toISOString();
  impressions = new Map(videos.map(({ video_id, rank }) => [video_id, { event_id: crypto.randomUUID(), user_id: user, video_id, event_timestamp: shown, position: rank, request_id: request }]));
  const events = [...impressions.values()].map((impression) => ({ kind: "impression", ...impression }));
  if (events.length) await tried("events", () => sendEvents(events));
}

async function click(video, button) {
  const impression = impressions.get(video.id);
  if (!impression || button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  const event = { kind: "click", ...impression, clicked_at: new Date(Math.max(now(), Date.parse(impression.event_timestamp))).toISOString() };
  const sent = await tried("events", () => sendEvents([event]));
  if (sent?.refused.length) say("events", `The click was refused: ${sent.refused[0].detail}`);
  if (sent?.acknowledged) {
    await applied(video.id, event.clicked_at);
    const hadFocus = button === document.activeElement;
    await refresh();
    if (hadFocus) document.querySelector(".recommended button")?.focus({ preventScroll: true }); // its button is gone
  }
  button.removeAttribute("aria-busy");
}

// Waits until the click is in what is read; says so where nobody applies events.
const LOOK_MS = 60;
const LOOKS = 50;
async function applied(video, clickedAt) {
  const user = person.id;
  const isThere = ({ recent_clicks: clicks }) => clicks.some((one) => one.video_id === video && Date.parse(one.clicked_at) >= Date.parse(clickedAt));
  for (let look = 0; look < LOOKS; look++) {
    const answer = await tried("service", () => askUser(user));
    if (!answer || isThere(answer) || person.id !== user) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  await poll();
}
