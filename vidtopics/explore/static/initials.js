// A tile with the title's initials, in a colour of the id.
function placeholder(video) {
  return el("span", { class: "cover empty", "--hue": hueOf(video.id), "aria-hidden": "true" }, el("b", {}, initials(video)));
}

function initials(video) {
  const names = (video.title || video.id).match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  return names.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}

function hueOf(text) {
  let hash = 0;
  for (const sign of text) hash = (hash * 31 + sign.codePointAt(0)) % 3600;
  return hash / 10;
}
