// A line over the days; its figures stand in a table for who can't see it.
function sparkline(values, label, { width = 220, height = 44 } = {}) {
  const numbers = values.filter((value) => value !== null);
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const x = (i) => 4 + (i / Math.max(values.length - 1, 1)) * (width - 8);
  const y = (value) => height - 5 - ((value - low) / (high - low || 1)) * (height - 10);
  const points = values.map((value, i) => (value === null ? null : [x(i).toFixed(1), y(value).toFixed(1)])).filter(Boolean);
  const last = points.at(-1);
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    svg("polyline", { points: points.map((point) => point.join(",")).join(" ") }),
    ...(last ? [svg("circle", { cx: last[0], cy: last[1], r: 3 })] : []),
  );
}

// Differences of counts that only grow; the first day has none.
const daily = (counts) => counts.map((count, i) => (i === 0 || count === null || counts[i - 1] === null ? null : count - counts[i - 1]));

function historyOf(topic, content) {
  const [exposures, clicks] = [daily(content.exposures), daily(content.clicks)];
  const rates = exposures.map((count, i) => (count ? clicks[i] / count : null));
  const rows = days.map(({ as_of, release }, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", title: `release ${release}` }, day(as_of)),
      el("td", {}, number(topic.sizes[i])),
      el("td", {}, exposures[i] === null ? "–" : number(exposures[i])),
      el("td", {}, percent(rates[i])),
    ),
  );
  const heads = [["As of"], ["Videos"], ["Exposures since", "of the videos that it has today"], ["CTR since", "clicks over exposures of that time"]];
  const charts = el(
    "div",
    { class: "charts" },
    chart("Videos", topic.sizes, number),
    chart("Exposures", exposures, number),
    chart("CTR", rates, percent),
  );
  return el(
    "section",
    { class: "history" },
    el("h2", {}, "Over time"),
    days.length > 1 ? charts : null,
    el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map(([name, hint]) => el("th", { scope: "col", title: hint }, name)))), el("tbody", {}, rows))),
    raw.history.gone.length ? el("p", { class: "muted" }, `No figures of release ${raw.history.gone.join(", ")}: files of the tables are gone.`) : null,
  );
}

function chart(name, values, format) {
  const numbers = values.filter((value) => value !== null);
  if (numbers.length < 2) return null;
  const range = `${format(Math.min(...numbers))} to ${format(Math.max(...numbers))}`;
  return el("figure", {}, el("figcaption", {}, el("b", {}, name), el("span", { class: "muted" }, range)), sparkline(values, `${name}: ${range}, last ${format(numbers.at(-1))}`));
}
