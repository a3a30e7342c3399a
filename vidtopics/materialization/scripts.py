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
local function split(value)
  local list = {{}}
  while value do
    local mark = string.byte(value, 1)
    if #value < {HEADER.itemsize} or mark % {LAYOUTS + 1} ~= {LAYOUT} then return {{}} end
    if mark % {2 * CHAINED} < {CHAINED} then
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
local function join(list)
  local value = list[#list].body
  for i = #list - 1, 1, -1 do
    local head = list[i].body
    value = string.char(string.byte(head, 1) + {CHAINED}) .. string.sub(head, 2)
        .. value .. struct.pack('<I4', #head)
  end
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
local function put(key, value, event)
  if stay > 0 then
    local until_ms = math.ceil(math.max(event + stay, least) / 1000)
    redis.call('SET', key, value, 'PXAT', string.format('%.0f', until_ms))
  else
    redis.call('SET', key, value)
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
for i = 4, #KEYS do
  local new, list = version(ARGV[i + 6]), split(redis.call('GET', KEYS[i]))
  local place = visible(list, load)
  if #list == 0 then
    put(KEYS[i], new.body, new.event)
    written = written + 1
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
      if v == new then
        put(KEYS[i], join(list), list[1].event)
        written = written + 1
      end
    end
  end
end
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
