// Parts: JSON that is loaded when it is shown, from elements of this page or from scripts in its folder.
const inlineParts = new Map([...document.querySelectorAll("script[data-part]")].map((element) => [element.dataset.part, element]));
const contents = new Map(); // name -> promise
const arrivals = new Map(); // name -> content that a script has handed over
globalThis.part = (name, content) => arrivals.set(name, content);

function load(name) {
  if (!contents.has(name)) contents.set(name, raw.folder === null ? inlinePart(name) : scriptPart(name));
  return contents.get(name);
}

async function inlinePart(name) {
  return JSON.parse(inlineParts.get(name).textContent);
}

function scriptPart(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${raw.folder}${name}.js`;
    script.onload = () => {
      resolve(arrivals.get(name));
      arrivals.delete(name);
      script.remove();
    };
    script.onerror = () => {
      contents.delete(name);
      script.remove();
      reject(new Error(`${raw.folder}${name}.js can't be read. Reload: the page may have been written anew. If it was moved, move the folder beside it too.`));
    };
    document.head.append(script);
  });
}

// The last index of a rising list whose entry isn't above the value.
function lastUpTo(list, value, compare = (a, b) => a - b) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(list[middle], value) <= 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const VIDEOS_OF_A_PART = 256;
async function loadVideo(place) {
  const shelf = lastUpTo(raw.shelves.start, place);
  const number = raw.shelves.first_part[shelf] + Math.floor((place - raw.shelves.start[shelf]) / VIDEOS_OF_A_PART);
  const content = await load(`videos/${number}`);
  return videoOf(content, place);
}

function videoOf(content, place) {
  const column = (name) => content[name]?.[place - content.first] ?? null;
  const [globalRate, weight] = raw.release.prior;
  const [exposures, clicks] = [column("exposures"), column("clicks")];
  const slots = column("topics");
  return {
    place,
    id: column("id"),
    title: column("title"),
    below: column("below") === 1,
    exposures: exposures ?? 0,
    clicks: clicks ?? 0,
    ctr: exposures === null ? null : (clicks + weight * globalRate) / (exposures + weight),
    published: column("published"),
    classes: [...column("primary"), ...column("secondary")],
    tags: column("tags"),
    topics: Array.from({ length: slots.length / 2 }, (_, i) => ({ topic: topics[slots[2 * i]], weight: slots[2 * i + 1] / SCALE })),
    tagCosines: column("tag"), // by topic of `topics`; null without vectors
    jointCosines: column("joint"),
    nearByTags: column("near_tag"),
    nearByContent: column("near_joint"),
    file: content.covers?.[place] ?? null,
  };
}

// Order by code points, which is that of UTF-8 bytes.
function byCodePoints(a, b) {
  const [left, right] = [[...a], [...b]];
  const at = left.findIndex((sign, i) => sign !== right[i]);
  if (at < 0) return left.length - right.length;
  return right[at] === undefined ? 1 : left[at].codePointAt(0) - right[at].codePointAt(0);
}

async function findId(id) {
  const number = lastUpTo(raw.firsts.ids, id, byCodePoints);
  if (number < 0) return null;
  const { keys, places } = await load(`ids/${number}`);
  const at = lastUpTo(keys, id, byCodePoints);
  return keys[at] === id ? loadVideo(places[at]) : null;
}
