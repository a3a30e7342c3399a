"""The scripts that change values in Redis: writing a version of a value, and dropping versions.

Both keep the rule of :mod:`vidtopics.layout.chain`; `docs/materialization.md` has it as a table.
"""

from __future__ import annotations

from vidtopics.layout import CHAINED, HEADER, LAYOUT, LAYOUTS
from vidtopics.materialization.lock import COUNTED, LOST

# Versions of a value as a list, newest first; an empty list where the value is absent or damaged.
# Doubles hold microseconds exactly until the year 2255. `shown`: of a list, the versions that one
# of the loads shows; load 0 is always visible.
CHAINS = f"""
local function version(body)
  local load, event, created = struct.unpack('<I4i8i8', body, 10)
  return {{body = body, load = load, event = event, created = created}}
end
local function is_whole(value)
  return #value >= {HEADER.itemsize} and string.byte(value, 1) % {LAYOUTS + 1} == {LAYOUT}
end
local function is_single(value)
  return is_whole(value) and string.byte(value, 1) % {2 * CHAINED} < {CHAINED}
end
local function split(value)
  local list = {{}}
  while value do
    if not is_whole(value) then return {{}} end
    local mark = string.byte(value, 1)
    if is_single(value) then
      list[#list + 1] = version(value)
      return list
    end
    local length = struct.unpack('<I4', value, #value - 3)
    if length < {HEADER.itemsize} or length > #value - {HEADER.itemsize + 4} then return {{}} end
    list[#list + 1] = version(string.char(mark - {CHAINED}) .. string.sub(value, 2, length))
    value = string.sub(value, length + 1, -5)
  end
  return list
end
local function on_top(head, value)
  return string.char(string.byte(head, 1) + {CHAINED}) .. string.sub(head, 2)
      .. value .. struct.pack('<I4', #head)
end
local function join(list)
  local value = list[#list].body
  for i = #list - 1, 1, -1 do value = on_top(list[i].body, value) end
  return value
end
local function visible(list, load)
  for i, v in ipairs(list) do
    if v.load <= load then return i end
  end
end
local function shown(list, loads)
  local is_shown, remaining = {{}}, {{}}
  for _, load in ipairs(loads) do
    is_shown[visible(list, load) or 0] = true
  end
  for i, v in ipairs(list) do
    if is_shown[i] then remaining[#remaining + 1] = v end
  end
  return remaining
end
local function numbers(text)
  local list = {{}}
  for number in string.gmatch(text, '%d+') do list[#list + 1] = tonumber(number) end
  return list
end
"""

# KEYS: the bucket's fence and count, its watermark, then keys of it. ARGV: the writer's number or
# "", sender and number of the batch, the new watermark or "", what other senders of the run have
# sent (sender and number, again and again), how long Redis keeps a value from its event time on
# (microseconds; 0: for ever) and how long from now on at least, the load, the retained loads, then
# the values. A watermark doesn't go back to an earlier version unless it is of another table (a
# home made anew; releases may also be counted anew, from a backup). A writer with load 0 doesn't
# know what is retained, so every load may be. Gives the number of values that weren't older.
# Most keys have no value, or older versions that some retained load shows: those take no list of
# versions. All keys are read by one command and, without expiry, written by one.
WRITE = f"""{COUNTED}{CHAINS}
for sender, number in string.gmatch(ARGV[5], '(%S+) (%d+)') do
  if (redis.call('HGET', KEYS[2], sender) or '0') ~= number then
    return redis.error_reply('{LOST}')
  end
end
local written, stay, least = 0, tonumber(ARGV[6]), 0
if stay > 0 then
  local now = redis.call('TIME')
  least = now[1] * 1000000 + now[2] + ARGV[7]
end
local current, lasting = {{}}, {{}}
if #KEYS > 3 then
  local values = redis.call('MGET', unpack(KEYS, 4))
  for i = 4, #KEYS do current[KEYS[i]] = values[i - 3] end
end
local function put(key, value, event)
  current[key], written = value, written + 1
  if stay > 0 then
    local until_ms = math.ceil(math.max(event + stay, least) / 1000)
    redis.call('SET', key, value, 'PXAT', string.format('%.0f', until_ms))
  else
    lasting[#lasting + 1] = key
    lasting[#lasting + 1] = value
  end
end
local function is_later(a, b)
  return a.event > b.event or (a.event == b.event and a.created > b.created)
end
local function is_copy(a, b)
  return a.event == b.event and a.created == b.created
      and string.sub(a.body, 1, 9) == string.sub(b.body, 1, 9)
      and string.sub(a.body, 14) == string.sub(b.body, 14)
end
local load, retained = tonumber(ARGV[8]), numbers(ARGV[9])
retained[#retained + 1] = load
local function is_shown(own, below)
  for _, other in ipairs(retained) do
    if own <= other and other < below then return true end
  end
end
local function are_all_shown(value)
  local at, stop, below = 1, #value, load
  while stop - at + 1 >= {HEADER.itemsize} do
    local mark, own = string.byte(value, at), struct.unpack('<I4', value, at + 9)
    if mark % {LAYOUTS + 1} ~= {LAYOUT} or not is_shown(own, below) then return false end
    if mark % {2 * CHAINED} < {CHAINED} then return true end
    local length = struct.unpack('<I4', value, stop - 3)
    if length < {HEADER.itemsize} then return false end
    at, stop, below = at + length, stop - 4, math.min(below, own)
  end
  return false
end
local function insert(key, body, list)
  local new, place = version(body), visible(list, load)
  if #list == 0 then
    put(key, body, new.event)
  elseif place and is_copy(list[place], new) then
    written = written + 1
  else
    place = 1
    while list[place] and is_later(list[place], new) do place = place + 1 end
    table.insert(list, place, new)
    local loads = retained
    if load == 0 then
      loads = {{}}
      for _, v in ipairs(list) do loads[#loads + 1] = v.load end
    end
    list = shown(list, loads)
    for _, v in ipairs(list) do
      if v == new then put(key, join(list), list[1].event) end
    end
  end
end
for i = 4, #KEYS do
  local key, body = KEYS[i], ARGV[i + 6]
  local old, event, created = current[key], struct.unpack('<i8i8', body, 14)
  local old_event, old_created = event, created
  if old and is_whole(old) then old_event, old_created = struct.unpack('<i8i8', old, 14) end
  local is_last = event > old_event or (event == old_event and created > old_created)
  if not old then
    put(key, body, event)
  elseif is_last and are_all_shown(old) then
    put(key, on_top(body, old), event)
  elseif is_last and is_single(old) then
    put(key, body, event)
  else
    insert(key, body, split(old))
  end
end
if #lasting > 0 then redis.call('MSET', unpack(lasting)) end
if ARGV[4] ~= '' then
  local old = redis.call('GET', KEYS[3])
  local pattern = '^%d+ (%d+) (%S+)'
  local version, table_id = string.match(ARGV[4], pattern)
  local old_version, old_table_id = string.match(old or '', pattern)
  if not old or tonumber(old_version) <= tonumber(version) or old_table_id ~= table_id then
    redis.call('SET', KEYS[3], ARGV[4])
  end
end
return written
"""

# KEYS: the bucket's fence and count, then keys of it. ARGV: the writer's number or "", sender and
# number of the batch, the retained loads. Gives the number of versions that were dropped.
TRIM = f"""{COUNTED}{CHAINS}
local dropped, retained = 0, numbers(ARGV[4])
for i = 3, #KEYS do
  local list = split(redis.call('GET', KEYS[i]))
  local remaining = shown(list, retained)
  dropped = dropped + #list - #remaining
  if #remaining == 0 and #list > 0 then
    redis.call('DEL', KEYS[i])
  elseif #remaining < #list then
    redis.call('SET', KEYS[i], join(remaining), 'KEEPTTL')
  end
end
return dropped
"""
