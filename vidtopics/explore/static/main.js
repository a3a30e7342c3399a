const main = document.getElementById("main");
const queryBox = document.getElementById("query");
const FINDINGS = { changes: changesPage, duplicates: duplicatesPage, misplaced: misplacedPage };

async function page(hash) {
  const [, kind = "", rest = ""] = hash.match(/^#\/(\w*)\/?(.*)$/s) ?? [];
  const [path, query = ""] = rest.split("?");
  const state = new URLSearchParams(query);
  const key = decoded(path);
  if (kind === "") return overview(null, state);
  if (kind === "group" && groups.has(key)) return overview(groups.get(key), state);
  if (kind === "topic" && topicById.has(key)) return topicPage(topicById.get(key));
  if (Object.hasOwn(FINDINGS, kind)) return FINDINGS[kind](await load(kind));
  if (kind === "search" && key) return searchPage(key);
  const video = kind === "video" ? await findId(key) : null;
  if (video) return videoPage(video);
  return el("div", { class: "page" }, el("h1", { tabindex: "-1" }, "Not here"), el("p", {}, `This release has no ${kind} ${key}. `, el("a", { href: "#/" }, "All topics")));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// The last pages stay as they were left: what was unfolded, and how far it was scrolled. The browser would restore the
// place while the page that is left, of another height, is still shown.
const RETAINED = 12;
const pages = new Map();
const places = new WeakMap();
let current = 0;
history.scrollRestoration = "manual";

async function show({ isNew = false } = {}) {
  if (location.hash === "#main") return;
  const hash = location.hash || "#/";
  const number = ++current;
  let shown = pages.get(hash);
  if (!shown) {
    main.setAttribute("aria-busy", "true");
    shown = await page(hash).catch((error) => plainPage("Not loaded", error.message));
    if (number !== current) return; // another page was asked for meanwhile
  }
  pages.delete(hash);
  pages.set(hash, shown);
  if (pages.size > RETAINED) pages.delete(pages.keys().next().value);
  const left = main.firstElementChild;
  if (left) places.set(left, scrollY);
  main.replaceChildren(shown);
  scrollTo(0, isNew ? 0 : (places.get(shown) ?? 0));
  main.removeAttribute("aria-busy");
  if (document.activeElement !== queryBox) queryBox.value = hash.startsWith("#/search/") ? decoded(hash.slice(9)) : "";
  document.title = `${shown.querySelector("h1").textContent} · vidtopics`;
  for (const link of document.querySelectorAll("#places a")) {
    if (hash.startsWith(link.hash)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// The address of the page as it is now: the same page under another name.
function replaceState(values) {
  const [path] = (location.hash || "#/").split("?");
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
  const hash = query ? `${path}?${query}` : path;
  pages.set(hash, main.firstElementChild);
  history.replaceState(null, "", hash);
}

// Going back keeps the place on the page; following a link starts at the top.
let followed = false;
addEventListener("popstate", async () => {
  const isNew = followed;
  followed = false;
  await show({ isNew });
  if (isNew) main.querySelector("h1").focus({ preventScroll: true });
});
document.addEventListener("click", (event) => {
  if (event.target.closest('a[href^="#/"]') && !event.ctrlKey && !event.metaKey && !event.shiftKey) followed = true;
});

async function search() {
  const query = queryBox.value.trim();
  const hash = query ? `#/search/${encodeURIComponent(query)}` : "#/";
  if (hash === location.hash) return;
  const again = location.hash.startsWith("#/search/"); // one entry in the history per search, not per letter
  history[again ? "replaceState" : "pushState"](null, "", hash);
  await show({ isNew: true });
}
queryBox.addEventListener("input", search);
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  queryBox.focus();
});

const parts = raw.folder === null ? "this file loads nothing from anywhere" : "it loads nothing but its own folder";
document.getElementById("foot").append(`Release ${raw.release.id}, as of ${raw.release.as_of.replace("T", " ").replace("+00:00", " UTC")}. Written by vidtopics explore; ${parts}.`);
show();
