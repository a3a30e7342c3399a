// Covers come with the key, so that no address of an image has it; each is asked for once.
const images = new Map();
function coverOf(video) {
  const tile = placeholder(video);
  if (!video.has_cover) return tile;
  if (!images.has(video.id)) images.set(video.id, askImage(video.id));
  images.get(video.id).then((address) => {
    if (address) tile.replaceWith(el("span", { class: "cover" }, el("img", { src: address, alt: "", decoding: "async" })));
  });
  return tile;
}

async function askImage(id) {
  try {
    const answer = await ask(`/covers/${encodeURIComponent(id)}`);
    return answer.status === 204 ? null : URL.createObjectURL(await answer.blob());
  } catch {
    images.delete(id);
    return null;
  }
}

const titleOf = (video) => video.title || video.id;
const titleNode = (video) => el("span", { class: "title", dir: "auto", title: titleOf(video) }, titleOf(video));
const nobody = (id) => ({ id, title: "", has_cover: false, exposures: 0, clicks: 0 });
const ctrOf = (video) => (video.exposures ? video.clicks / video.exposures : null);
const termsOf = (topic) => topic.label_terms.slice(0, 2).join(", ") || `topic ${topic.topic_id}`;
