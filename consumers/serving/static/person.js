// Who is looked at: counts, topics of the recent clicks, and the clicks themselves.
const person = { id: null, answer: null };

function drawPerson(answer, before) {
  const facts = el(
    "dl",
    { class: "figures" },
    figure(number(answer.exposures), "impressions", before && answer.exposures - before.exposures),
    figure(number(answer.clicks), "clicks", before && answer.clicks - before.clicks),
    figure(percent(answer.exposures ? answer.clicks / answer.exposures : null), "CTR"),
  );
  const topics = answer.topics.length
    ? el("ul", { class: "chips", "aria-label": "Topics of the recent clicks" }, answer.topics.map((topic) => el("li", {}, topicButton(topic, `${topic.parent_label_terms[0] ?? ""} ${number(topic.clicks)}`.trim()))))
    : el("p", { class: "muted" }, answer.clicks ? "No recent click has a current topic." : "Nobody knows this user yet: what is popular is shown.");
  document.getElementById("person").replaceChildren(el("h1", { tabindex: "-1" }, answer.user_id), facts, el("h2", {}, "Topics of the recent clicks"), topics);
}

function figure(value, name, change) {
  return el("div", { class: "figure" }, el("dt", {}, name), el("dd", {}, value, change ? el("span", { class: "change" }, ` ${signed(change)}`) : null));
}

// A topic's words, and what stands behind them; a click on it shows its queue beside.
function topicButton(topic, note) {
  const parent = topic.parent_label_terms?.length ? `, in ${topic.parent_label_terms.slice(0, 3).join(", ")}` : "";
  const hint = `topic ${topic.topic_id}: ${topic.label_terms.join(", ")}${parent}`;
  const chosen = live.topic === topic.topic_id;
  return el(
    "button",
    { type: "button", class: "chip", dir: "auto", title: hint, "data-topic": topic.topic_id, "aria-pressed": String(chosen), onclick: () => chooseTopic(topic) },
    termsOf(topic),
    note === undefined ? null : el("span", { class: "muted" }, note),
  );
}

function drawHistory(answer, videos, before) {
  const earlier = new Set(before?.recent_clicks.map((click) => click.video_id + click.clicked_at));
  const rows = answer.recent_clicks.map((click) => {
    const video = videos.get(click.video_id) ?? nobody(click.video_id);
    const isNew = before && !earlier.has(click.video_id + click.clicked_at);
    return el("li", { class: isNew ? "moved" : null, "data-video": video.id }, coverOf(video), titleNode(video), el("p", { class: "muted" }, timeNode(click.clicked_at)));
  });
  const list = rows.length ? el("ol", { class: "history", tabindex: "0", "aria-label": "Clicked, newest first" }, rows) : el("p", { class: "muted" }, "No clicks.");
  document.getElementById("history").replaceChildren(el("h2", {}, "Clicked, newest first"), list);
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];
function ago(iso) {
  const seconds = Math.min(0, (Date.parse(iso) - now()) / 1_000);
  const [unit, size] = UNITS.find(([, size]) => -seconds >= size) ?? UNITS.at(-1);
  return relative.format(Math.round(seconds / size), unit);
}
const timeNode = (iso) => el("time", { datetime: iso, title: iso }, ago(iso));
