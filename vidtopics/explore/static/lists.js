// Fills `list` with the first `step` items and more on demand: by its button, and with `ahead` when its end comes near.
function grow(list, items, make, { step = 48, ahead = false } = {}) {
  let shown = 0;
  const button = el("button", { type: "button", class: "more", onclick: () => more(true) });
  const more = (focus) => {
    const from = list.children.length;
    list.append(...items.slice(shown, shown + step).map(make));
    shown = Math.min(shown + step, items.length);
    button.textContent = `Show more (${number(items.length - shown)} left)`;
    button.hidden = shown === items.length;
    if (focus && button.hidden) list.children[from]?.querySelector("a")?.focus();
  };
  more(false);
  if (ahead) new IntersectionObserver(([seen]) => seen.isIntersecting && more(false), { rootMargin: "600px" }).observe(button);
  return [list, button];
}

// A tile of the video at a place; `note` is what is said below its title.
function videoTile({ place, note, hint }) {
  const tile = el("li", { class: "tile" }, el("span", { class: "cover" }));
  return settle(tile, loadVideo(place), (video) => [
    cover(video),
    el("a", { href: videoLink(video), dir: "auto", title: video.title }, video.title || video.id),
    note === undefined ? null : el("span", { class: "muted", title: hint }, typeof note === "function" ? note(video) : note),
  ].filter(Boolean));
}

const videoTiles = (items, options = { step: 24 }) => grow(el("ul", { class: "tiles" }), items, videoTile, options);
const exposuresOf = (video) => plural(video.exposures, "exposure");

function figure(value, name, hint, change) {
  const note = change === undefined ? null : el("span", { class: "change" }, ` ${change}`);
  return el("div", { class: "figure", title: hint }, el("dt", {}, name), el("dd", {}, value, note));
}

const labelled = (name, control) => el("label", { for: control.id }, el("span", {}, name), control);
