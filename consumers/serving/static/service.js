// The service's answers. The key is in this module's memory alone; times are those of Redis, by which events are judged.
let key = "";
let clockAhead = 0; // milliseconds of Redis's clock before this browser's
const now = () => Date.now() + clockAhead;

class Problem extends Error {
  constructor(status, body, retryAfter) {
    super((body?.errors ?? [`status ${status}`]).join("\n"));
    this.status = status;
    this.retryAfter = retryAfter;
    this.refused = body?.refused; // of events that were all refused
  }
}

async function ask(path, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, { errors: ["The service doesn't answer. It may be ending or restarting."] });
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => null);
  throw new Problem(answer.status, problem, Number(answer.headers.get("Retry-After") ?? 1));
}
const askJson = async (path, body) => (await ask(path, body)).json();

const askUser = (id) => askJson(`/users/${encodeURIComponent(id)}?limit=24`);
const askRecommended = (id) => askJson("/recommend", { user_id: id, limit: 12 });
const askUsers = async () => (await askJson("/users?limit=1")).user_ids;
const askQueue = (topic) => askJson(`/topics/${topic}?limit=10`);
async function sendEvents(events) {
  try {
    return await askJson("/events", events);
  } catch (error) {
    if (error.refused) return { acknowledged: 0, refused: error.refused };
    throw error;
  }
}

async function askVideos(ids) {
  const unique = [...new Set(ids)];
  if (!unique.length) return new Map();
  const query = unique.map((id) => `id=${encodeURIComponent(id)}`).join("&");
  const { videos } = await askJson(`/videos?${query}`);
  return new Map(videos.map((video) => [video.video_id, { ...video, id: video.video_id, title: video.title ?? "" }]));
}

async function askStatus() {
  const status = await askJson("/events/status");
  clockAhead = Date.parse(status.now) - Date.now();
  return status;
}

// What is wrong, by what it is about: each is said once, until it passes.
const troubles = new Map();
function say(about, text, isGrave = false) {
  if (troubles.get(about)?.text === text) return;
  if (text) troubles.set(about, { text, isGrave });
  else if (!troubles.delete(about)) return;
  document.getElementById("notices").replaceChildren(...[...troubles.values()].map(notice));
}
const notice = ({ text, isGrave }) => el("p", { class: isGrave ? "notice grave" : "notice" }, ...text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part)));

// Runs what asks the service; its failure is said, and gives null.
async function tried(about, call) {
  try {
    const result = await call();
    say("service", null);
    say(about, null);
    return result;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) askForKey();
    else if (error.status === 403) say(about, `${error.message}`);
    else say("service", inWords(error), true);
    return null;
  }
}
function inWords(error) {
  if (error.status === 429) return "This key has asked as often as it may; the page goes on in a moment.";
  if (error.status === 503) return `The service can't answer: ${error.message}`;
  return error.message;
}

function askForKey() {
  document.getElementById("key").hidden = false;
  say("key", "This service asks for an API key with the scope `read`, and `events` for what you click.");
}
