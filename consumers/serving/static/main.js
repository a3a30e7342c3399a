// A user is the address's fragment, so that it can be sent and gone back to.
let recommended = null;

async function refresh() {
  const user = person.id;
  if (user === null) return;
  const [answer, list] = await Promise.all([tried("service", () => askUser(user)), tried("service", () => askRecommended(user))]);
  const ids = [...(answer?.recent_clicks ?? []).map((click) => click.video_id), ...(list?.videos ?? []).map((video) => video.video_id)];
  const videos = (await tried("service", () => askVideos(ids))) ?? new Map();
  if (user !== person.id) return;
  if (answer) offerTopics([...answer.topics, ...(list?.videos ?? []).flatMap((video) => video.topics)]);
  if (answer) {
    drawPerson(answer, person.answer);
    drawHistory(answer, videos, person.answer);
    person.answer = answer;
  }
  if (list) {
    drawRecommended(list, videos, recommended);
    recommended = list;
    await sendImpressions(user, list.videos);
  }
}

async function open() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (!id || id === "main") return;
  Object.assign(person, { id, answer: null });
  recommended = null;
  document.getElementById("user").value = id;
  document.title = `${id} · vidtopics live`;
  await poll();
  await refresh();
  await poll();
}

async function openRandom() {
  const users = await tried("service", askUsers);
  if (users === null) return;
  if (users.length) location.hash = encodeURIComponent(users[0]);
  else say("users", "The home knows no user who clicked: enter an id.");
}

document.getElementById("pick").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = document.getElementById("user").value;
  if (location.hash.slice(1) === encodeURIComponent(id)) open();
  else location.hash = encodeURIComponent(id);
});
document.getElementById("random").addEventListener("click", openRandom);
document.getElementById("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = document.getElementById("secret").value;
  document.getElementById("secret").value = "";
  document.getElementById("key").hidden = true;
  say("key", null);
  if (location.hash.length > 1) open();
  else openRandom();
});
addEventListener("hashchange", open);
document.addEventListener("visibilitychange", poll);

if (location.hash.length > 1) open();
else openRandom().then(poll);
