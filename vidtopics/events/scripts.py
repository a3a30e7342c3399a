"""The scripts that apply entries of a stream: entries, cursor and state move together, or not.

A script reads its bucket's stream itself, from the cursor of the generation on. So an entry is
applied once whoever calls, however often and at the same time: no consumer holds anything, and
nothing has to be acknowledged.
"""

from __future__ import annotations

from vidtopics.contracts import MAX_ID_BYTES
from vidtopics.layout.live import CLICKED, FIELDS, NO_FLOOR, SHOWN, TAKEN_OUT, Part

CLOSED = "CLOSED"
"""Begins the error for a generation that isn't open, or that began at another time."""


def _names(part: Part) -> str:
    """The names of an entry's fields as a table of Lua."""
    return "{" + ", ".join(f"'{name}'" for name in FIELDS[part]) + "}"


# KEYS: the stream; `at`, `ids` and `state` of the generation. ARGV: as-of time, entries at most,
# how far a time may lie ahead of its entry; of users the limit of lists, of videos the half-life of
# decayed clicks, which stays as it is at a bucket's first call. Times are microseconds; doubles
# hold them exactly until the year 2255. `is_new` enters an id; an event of before the release is
# entered too, so that one which is sent again with another time isn't counted.
_BEGIN = f"""
local as_of, ahead = tonumber(ARGV[1]), tonumber(ARGV[3])
local at = redis.call('HMGET', KEYS[2], 'as_of', 'cursor')
if at[1] ~= ARGV[1] then return redis.error_reply('{CLOSED} ' .. KEYS[2]) end
local entries = redis.call(
  'XRANGE', KEYS[1], at[2] and '(' .. at[2] or '-', '+', 'COUNT', ARGV[2])
if #entries == 0 then return 0 end
local events, asked, counts, seen, added = {{}}, {{}}, {{}}, {{}}, {{}}
local function count(outcome) counts[outcome] = (counts[outcome] or 0) + 1 end
local function whole(text)
  if #text < 18 and string.find(text, '^%-?%d+$') then return tonumber(text) end
end
-- UTF-8 without control characters, as what is sent and what lands has it.
local function is_text(text)
  if #text > {MAX_ID_BYTES} then return false end
  if string.find(text, '^[ -~]*$') then return true end
  if string.find(text, '[%z\\1-\\31\\127]') then return false end
  local i = 1
  while i <= #text do
    local first, second = string.byte(text, i, i + 1)
    local more = first < 128 and 0 or first < 194 and 4 or first < 224 and 1
      or first < 240 and 2 or first < 245 and 3 or 4
    if i + more > #text or (first == 194 and second < 160) or (first == 224 and second < 160)
        or (first == 237 and second > 159) or (first == 240 and second < 144)
        or (first == 244 and second > 143) then return false end
    for j = i + 1, i + more do
      local byte = string.byte(text, j)
      if byte < 128 or byte > 191 then return false end
    end
    i = i + more + 1
  end
  return true
end
local function is_id(text) return #text > 0 and is_text(text) end
local function has_fields(entry, names)
  if #entry ~= 2 * #names then return false end
  for i = 1, #names do
    if entry[2 * i - 1] ~= names[i] then return false end
  end
  return true
end
-- Of a name that comes again the last value counts, as in the mapping that lands.
local function without_repeats(entry)
  if #entry <= {2 * len(FIELDS["user"])} then return entry end
  local places, fields = {{}}, {{}}
  for i = 1, #entry, 2 do
    local name = entry[i]
    if not places[name] then
      places[name] = #fields + 1
      fields[#fields + 1] = name
    end
    fields[places[name] + 1] = entry[i + 1]
  end
  return fields
end
local function latest(entry) return tonumber(string.match(entry[1], '^%d+')) * 1000 + ahead end
local first_latest = latest(entries[1])
for i = 1, #entries do
  local event = parse(without_repeats(entries[i][2]), has_fields, whole, is_id, is_text)
  if not event or event.own < event.shown
      or not (event.kind == 'c' or event.kind == 'w'
        or (event.kind == 'i' and event.own == event.shown)) then
    count('malformed')
  elseif event.own > first_latest and event.own > latest(entries[i]) then
    count('early')
  else
    events[#events + 1] = event
    asked[#asked + 1] = 'i' .. event.id
    if event.kind ~= 'i' then asked[#asked + 1] = 'c' .. event.id end
    if event.kind == 'w' then asked[#asked + 1] = 'w' .. event.id end
  end
end
if #asked > 0 then
  local flags = redis.call('SMISMEMBER', KEYS[3], unpack(asked))
  for i = 1, #asked do seen[asked[i]] = flags[i] == 1 end
end
local function is_new(id)
  if seen[id] then return false end
  seen[id], added[#added + 1] = true, id
  return true
end
local function judge(event)
  local is_shown = is_new('i' .. event.id)
  local is_clicked = event.kind ~= 'i' and is_new('c' .. event.id)
  local is_watched = event.kind == 'w' and is_new('w' .. event.id)
  local is_news = is_clicked or is_watched or (event.kind == 'i' and is_shown)
  if not is_news then count('duplicate')
  elseif event.own < as_of then count('late')
  else count('applied') end
  if is_shown and event.kind ~= 'i' then count('implied') end
  return is_shown and event.shown >= as_of, is_clicked, is_watched
end
"""

_END = """
if #added > 0 then redis.call('SADD', KEYS[3], unpack(added)) end
if #changes > 0 then redis.call('HSET', KEYS[4], unpack(changes)) end
redis.call('HSET', KEYS[2], 'cursor', entries[#entries][1])
redis.call('HINCRBY', KEYS[2], 'entries', #entries)
for outcome, number in pairs(counts) do redis.call('HINCRBY', KEYS[2], outcome, number) end
return #entries
"""

# The entities of the batch, each once, with what Redis has of them.
_STATES = """
local names, current, changes = {}, {}, {}
for _, event in ipairs(events) do
  if not current[event.entity] then
    names[#names + 1], current[event.entity] = event.entity, true
  end
end
if #names > 0 then
  local values = redis.call('HMGET', KEYS[4], unpack(names))
  for i, name in ipairs(names) do current[name] = load(values[i]) end
end
"""

APPLY_VIDEOS = f"""
local names_of_fields = {_names("video")}
local function parse(f, has_fields, whole, is_id)
  if not has_fields(f, names_of_fields) then return end
  local shown, own = whole(f[8]), whole(f[10])
  if shown and own and is_id(f[4]) and is_id(f[6]) then
    return {{kind = f[2], id = f[4], entity = f[6], shown = shown, own = own}}
  end
end
local function load(value)
  local exposures, clicks, decayed = 0, 0, 0
  if value then exposures, clicks, decayed = struct.unpack('<I4I4d', value) end
  return {{exposures = exposures, clicks = clicks, decayed = decayed}}
end
{_BEGIN}{_STATES}
redis.call('HSETNX', KEYS[2], 'half_life', ARGV[4])
local half_life = tonumber(redis.call('HGET', KEYS[2], 'half_life'))
for _, event in ipairs(events) do
  local video = current[event.entity]
  local is_exposure, is_clicked = judge(event)
  if is_exposure then video.exposures, video.is_changed = video.exposures + 1, true end
  if is_clicked and event.own >= as_of then
    video.clicks, video.is_changed = video.clicks + 1, true
    video.decayed = video.decayed + 2 ^ ((event.own - as_of) / half_life)
  end
end
for _, name in ipairs(names) do
  local video = current[name]
  if video.is_changed then
    changes[#changes + 1] = name
    changes[#changes + 1] = struct.pack('<I4I4d', video.exposures, video.clicks, video.decayed)
  end
end
{_END}
"""

# A user's records are appended; past 5 lists' lengths they are folded to the newest of each list.
# Of skips a half more stays than the limit, as a click takes one out. Where more go, `floor` is the
# time of the newest that went: up to it skips may be missing.
APPLY_USERS = f"""
local limit = tonumber(ARGV[4])
local names_of_fields = {_names("user")}
local function parse(f, has_fields, whole, is_id, is_text)
  if not has_fields(f, names_of_fields) then return end
  local shown, own, watch, position = whole(f[10]), whole(f[12]), -1, -1
  if f[14] ~= '' then
    watch = string.find(f[14], '^%d[%d%.eE+-]*$') and tonumber(f[14]) or -2
  end
  if f[16] ~= '' then position = whole(f[16]) or -2 end
  if shown and own and is_id(f[4]) and is_id(f[6]) and is_id(f[8]) and is_text(f[18])
      and (watch == -1 or (watch >= 0 and watch <= 3.4028234663852886e38))
      and (position == -1 or (position > 0 and position < 2147483648)) then
    return {{kind = f[2], id = f[4], entity = f[6], video = f[8], shown = shown, own = own,
      watch = watch, position = position}}
  end
end
local function load(value)
  if not value then
    return {{exposures = 0, clicks = 0, floor = {NO_FLOOR}, records = 0, parts = {{}}}}
  end
  local exposures, clicks, floor, _, records = struct.unpack('<I4I4i8I2I2', value)
  return {{exposures = exposures, clicks = clicks, floor = floor, records = records,
    parts = {{string.sub(value, 21)}}}}
end
local function pack(kind, us, watch, position, video, id)
  return struct.pack('<Bi8fi4BB', kind, us, watch, position, #video, #id) .. video .. id
end
local function unpacked(text)
  local list, place = {{}}, 1
  while place <= #text do
    local kind, us, watch, position, video, id = struct.unpack('<Bi8fi4BB', text, place)
    local first = place + 19
    place = first + video + id
    list[#list + 1] = {{kind = kind, us = us, watch = watch, position = position,
      video = string.sub(text, first, first + video - 1),
      id = string.sub(text, first + video, place - 1)}}
  end
  return list
end
local function newest_first(a, b) return a.us > b.us end
local function fold(user)
  local clicked, last, clicks, skips, out = {{}}, {{}}, {{}}, {{}}, {{}}
  local list = unpacked(table.concat(user.parts))
  for _, r in ipairs(list) do
    if r.kind == {CLICKED} then
      if r.id ~= '' then clicked[r.id] = true end
      local best = last[r.video]
      if not best or r.us > best.us or (r.us == best.us and r.watch > best.watch) then
        last[r.video] = r
      end
    end
  end
  for _, r in ipairs(list) do
    if r.kind == {CLICKED} then
      if last[r.video] == r then clicks[#clicks + 1] = r end
    elseif r.kind == {SHOWN} then
      if not clicked[r.id] and r.us > user.floor then skips[#skips + 1] = r end
    else
      out[#out + 1] = r
    end
  end
  table.sort(clicks, newest_first)
  table.sort(skips, newest_first)
  table.sort(out, newest_first)
  local most = limit + math.ceil(limit / 2)
  if #skips > most then user.floor = skips[most + 1].us end
  user.parts, user.records = {{}}, 0
  local function keep(r, id)
    user.records = user.records + 1
    user.parts[user.records] = pack(r.kind, r.us, r.watch, r.position, r.video, id)
  end
  for i, r in ipairs(clicks) do
    -- Of one time the greater id is newer, which only readers compare: all of it stay.
    if i > 2 * limit or (i > limit and r.us < clicks[limit].us) then break end
    keep(r, '')
  end
  for _, r in ipairs(skips) do
    if r.us > user.floor then keep(r, r.id) end
  end
  for i, r in ipairs(out) do
    if i > limit then break end
    keep(r, '')
  end
end
{_BEGIN}{_STATES}
for _, event in ipairs(events) do
  local user = current[event.entity]
  local function add(kind, us, id)
    user.records, user.is_changed = user.records + 1, true
    user.parts[#user.parts + 1] = pack(kind, us, event.watch, event.position, event.video, id)
  end
  local is_exposure, is_clicked, is_watched = judge(event)
  if is_exposure then
    user.exposures, user.is_changed = user.exposures + 1, true
    if event.kind == 'i' then add({SHOWN}, event.shown, event.id) end
  end
  if event.own >= as_of then
    if is_clicked then user.clicks, user.is_changed = user.clicks + 1, true end
    if is_clicked or is_watched then add({CLICKED}, event.own, event.id) end
    if is_clicked and event.shown < as_of then add({TAKEN_OUT}, event.shown, '') end
  end
  if user.records > 5 * limit then fold(user) end
end
for _, name in ipairs(names) do
  local user = current[name]
  if user.is_changed then
    changes[#changes + 1] = name
    changes[#changes + 1] = struct.pack('<I4I4i8I2I2', user.exposures, user.clicks, user.floor,
      limit, user.records) .. table.concat(user.parts)
  end
end
{_END}
"""
