// Words as the index has them: lower case without accents; scripts without spaces as pairs of characters and the last one.
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]+/gu;
const plain = (text) => text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "").normalize("NFC");
function wordsOf(text) {
  const folded = plain(text);
  const runs = (folded.match(UNSPACED) ?? []).map((run) => [...run]);
  const pairs = runs.flatMap((signs) => (signs.length === 1 ? signs : signs.slice(1).map((sign, i) => signs[i] + sign)));
  return [...new Set([...(folded.replace(UNSPACED, " ").match(/[\p{L}\p{N}]+/gu) ?? []), ...pairs])];
}
const matches = (query) => {
  const parts = wordsOf(query);
  return (topic) => parts.every((part) => (topic.words ??= wordsOf(topic.terms.join(" "))).some((word) => word.startsWith(part)));
};

const PARTS_OF_A_WORD = 24; // a beginning that lies in more parts of the index than these counts as a whole word
const LAST = "\u{10ffff}";

async function searchPage(query) {
  const { places, whole } = await find(query);
  const close = topics.filter(matches(query)).slice(0, 24);
  const same = await findId(query.trim());
  const ordered = same ? [same.place, ...places.filter((place) => place !== same.place)] : places;
  return el(
    "div",
    { class: "page" },
    el("h1", { tabindex: "-1" }, `Results for “${query}”`),
    el("p", { class: "muted", role: "status" }, `${plural(ordered.length, "video")}, ${plural(close.length, "topic")}`),
    whole.length ? el("p", { class: "muted" }, `${whole.map((word) => `“${word}”`).join(", ")}: as a whole word, since too many begin so.`) : null,
    close.length ? el("ul", { class: "chips" }, close.map((topic) => topicChip(topic, plural(topic.videos, "video")))) : null,
    videoTiles(ordered.map((place) => ({ place, note: exposuresOf })), { step: 24, ahead: true }),
  );
}

// Places of the videos whose title and tags have, for each word, one that begins so; most exposed first.
async function find(query) {
  const whole = [];
  const lists = await Promise.all(wordsOf(query).map((word) => placesOf(word, whole)));
  if (!lists.length) return { places: [], whole };
  const [rarest, ...others] = lists.sort((a, b) => a.size - b.size);
  const { levels } = await load("shown");
  const bytes = (shownLevels ??= Uint8Array.from(atob(levels), (sign) => sign.charCodeAt(0)));
  const places = [...rarest].filter((place) => others.every((other) => other.has(place)));
  return { places: places.sort((a, b) => bytes[b] - bytes[a] || a - b), whole };
}
let shownLevels = null;

async function placesOf(word, whole) {
  const from = Math.max(lastUpTo(raw.firsts.words, word, byCodePoints), 0);
  const to = lastUpTo(raw.firsts.words, word + LAST, byCodePoints);
  const places = new Set();
  const isWhole = to - from >= PARTS_OF_A_WORD;
  if (isWhole) whole.push(word);
  const parts = await Promise.all(Array.from({ length: isWhole ? 1 : to - from + 1 }, (_, i) => load(`words/${from + i}`)));
  for (const { keys, gaps } of parts) {
    for (let at = 0; at < keys.length; at++) {
      if (isWhole ? keys[at] !== word : !keys[at].startsWith(word)) continue;
      let place = 0;
      for (const gap of gaps[at]) places.add((place += gap));
    }
  }
  return places;
}
